"""Learning one ReLU neuron with one pass over the data (Wu, Zou, Chen, Braverman, Gu, Kakade; ICML 2023).

y = relu(x.w*) + noise, in more dimensions than samples. GLM-tron and SGD as estimators and as fast simulators, the
bounds between which GLM-tron's risk lies, and its exact value where it has one. torch float64, on the device of the
eigenvalues.
"""

from tenpapers.one_pass.schedule import effective_dimension, effective_samples, geometric_schedule

from ._density import density_evolution, finer_splines
from ._estimators import GLMTron, ReLUSGD
from ._risk import excess_risk_bernoulli, excess_risk_gaussian, matching_loss
from ._sandwich import glmtron_noiseless_risk, risk_sandwich, stability_threshold
from ._simulate import gaussian_pass, run_sequence, simulate

__all__ = [
    "GLMTron",
    "ReLUSGD",
    "density_evolution",
    "effective_dimension",
    "effective_samples",
    "excess_risk_bernoulli",
    "excess_risk_gaussian",
    "finer_splines",
    "gaussian_pass",
    "geometric_schedule",
    "glmtron_noiseless_risk",
    "matching_loss",
    "risk_sandwich",
    "run_sequence",
    "simulate",
    "stability_threshold",
]
