"""Ten machine-learning papers, derived and run: one subpackage per paper and a few shared modules."""

__version__ = "0.1.0"
