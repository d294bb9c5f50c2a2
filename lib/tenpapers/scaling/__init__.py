"""Scaling laws in linear regression (Lin, Wu, Kakade, Bartlett, Lee; NeurIPS 2024)."""
