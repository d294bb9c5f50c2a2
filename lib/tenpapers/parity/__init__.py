"""Sign-SGD meets the statistical-query bound for k-sparse parity (Kou, Chen, Gu, Kakade; NeurIPS 2024).

The task: x uniform on {-1, +1}^d and y = prod_{j in A} x_j for an unknown support A of k coordinates. The network:
f(W, x) = sum_r a_r <w_r, x>^k with m hidden neurons, W of shape (m, d), output signs a in {-1, +1}^m fixed.
"""

from ._baselines import Baseline, train_relu
from ._data import all_inputs, sample
from ._gf2 import solve_gf2
from ._measure import (
    accuracy_exponent,
    batch_reaching,
    counted_gradient,
    crossing,
    ideal_accuracy,
    ideal_margins,
    sign_agreement,
    slope,
)
from ._network import (
    accuracy,
    coverage,
    dead_zone_sign,
    good_neurons,
    gradient,
    margin,
    population_gradient,
    predict,
    read_support,
)
from ._sq import SqAdversary, greedy_game
from ._theory import (
    Guarantee,
    absolute_moment,
    bad_neuron,
    batch_for_sign,
    guarantee,
    noise_tolerance,
    rademacher_moment,
    sign_probability,
    width_for_coverage,
)
from ._train import DivergenceError, Run, population_path, train

__all__ = [
    "Baseline",
    "DivergenceError",
    "Guarantee",
    "Run",
    "SqAdversary",
    "absolute_moment",
    "accuracy",
    "accuracy_exponent",
    "all_inputs",
    "bad_neuron",
    "batch_for_sign",
    "batch_reaching",
    "counted_gradient",
    "coverage",
    "crossing",
    "dead_zone_sign",
    "good_neurons",
    "gradient",
    "greedy_game",
    "guarantee",
    "ideal_accuracy",
    "ideal_margins",
    "margin",
    "noise_tolerance",
    "population_gradient",
    "population_path",
    "predict",
    "rademacher_moment",
    "read_support",
    "sample",
    "sign_agreement",
    "sign_probability",
    "slope",
    "solve_gf2",
    "train",
    "train_relu",
    "width_for_coverage",
]
