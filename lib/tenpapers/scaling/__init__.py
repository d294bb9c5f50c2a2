"""Scaling laws in linear regression (Lin, Wu, Kakade, Bartlett, Lee; NeurIPS 2024).

A linear model that sees M random measurements of its input, trained by one pass of SGD over N samples: its expected
risk, exactly and by simulation, and the power laws that it follows. torch float64; every result lives on the device
of its problem, whose device is that of the tensors or the generator that it was built from.
"""

from ._approximation import approximation_constant, approximation_equivalent, fixed_point
from ._fit import Law, fit_law, optimal_allocation
from ._problem import Problem, logarithmic_problem, problem_from_sketch, sketched_problem
from ._risk import (
    Risk,
    averaged_risk,
    effective_dimension,
    exact_risk,
    growth_factor,
    mean_bias,
    ols_risk,
    risk_curve,
    stability_threshold,
)
from ._schedule import effective_samples, geometric_schedule
from ._simulate import simulate

__all__ = [
    "Law",
    "Problem",
    "Risk",
    "approximation_constant",
    "approximation_equivalent",
    "averaged_risk",
    "effective_dimension",
    "effective_samples",
    "exact_risk",
    "fit_law",
    "fixed_point",
    "geometric_schedule",
    "growth_factor",
    "logarithmic_problem",
    "mean_bias",
    "ols_risk",
    "optimal_allocation",
    "problem_from_sketch",
    "risk_curve",
    "simulate",
    "sketched_problem",
    "stability_threshold",
]
