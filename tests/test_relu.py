"""One ReLU neuron: every result against an independent road.

The independent roads are plain Python loops over samples, trees of all draws, sampled features, quadrature and closed
forms by hand. None of them uses the library's own evaluation.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, stats
from tenpapers import relu
from tenpapers.relu import _simulate

STEPS_8 = [0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625]  # N = 8, gamma = 1/2, written out


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def power_law(d, a=2.0):
    lam = torch.arange(1, d + 1, dtype=torch.float64) ** -a
    return lam / lam.sum()


def stepsizes(N, gamma):
    """gamma / 2^floor(t log2 N / N), t = 1..N, for N a power of two."""
    phases = N.bit_length() - 1
    return [gamma / 2 ** ((t * phases) // N) for t in range(1, N + 1)]


def one_pass(algorithm, samples, w_star, w, steps, gate=0.0):
    """GLM-tron or SGD over samples (x, epsilon), plain Python."""
    w = list(w)
    for (x, epsilon), gamma in zip(samples, steps, strict=True):
        z = sum(a * b for a, b in zip(x, w, strict=True))
        y = max(sum(a * b for a, b in zip(x, w_star, strict=True)), 0.0) + epsilon
        factor = 1.0 if algorithm == "glmtron" or z > 0 else gate if z == 0 else 0.0
        w = [wi - gamma * factor * (max(z, 0.0) - y) * xi for wi, xi in zip(w, x, strict=True)]
    return w


def tree(lam, N, values):
    """Every sequence of N draws (index, sign, noise) with noise in `values`, as arrays, and their probabilities."""
    draws = list(itertools.product(range(len(lam)), (1.0, -1.0), values))
    leaves = np.array(list(itertools.product(range(len(draws)), repeat=N)))
    table = np.array(draws)
    probability = np.array([lam[int(i)] / (2 * len(values)) for i, _, _ in draws])
    parts = table[leaves]
    return (
        torch.tensor(parts[..., 0], dtype=torch.int64),
        torch.tensor(parts[..., 1]),
        torch.tensor(parts[..., 2]),
        torch.tensor(probability[leaves].prod(axis=1)),
    )


# Risks in closed form


def test_gaussian_risk_of_special_pairs():
    lam = vector(1.0, 1.0)
    risk = relu.excess_risk_gaussian(vector(1.0, 0.0), vector(0.0, 1.0), lam)
    assert_allclose(float(risk), 1 - 1 / math.pi, rtol=1e-14)  # orthogonal
    assert_allclose(float(relu.excess_risk_gaussian(vector(1.0, 0), vector(-1.0, 0), lam)), 1.0, rtol=1e-14)  # opposite
    assert float(relu.excess_risk_gaussian(vector(1.0, 2.0), vector(1.0, 2.0), lam)) == 0.0  # angle 0
    assert_allclose(float(relu.excess_risk_gaussian(vector(0.0, 0), vector(3.0, 4.0), lam)), 12.5, rtol=1e-15)
    assert float(relu.excess_risk_gaussian(vector(0.0, 0), vector(0.0, 0), lam)) == 0.0
    near = relu.excess_risk_gaussian(vector(1.0, 1e-9), vector(1.0, 0.0), lam)
    assert_allclose(float(near), 0.5e-18, rtol=1e-6)


@pytest.mark.parametrize("angle", [1e-3, 0.1, 0.299, 0.301, 1.0, 2.0, 3.1])
def test_gaussian_risk_is_the_integral(angle):
    s, t = 1.3, 0.7
    u, v = (s, 0.0), (t * math.cos(angle), t * math.sin(angle))

    def radial(phi):  # E r^2 = 2 for r e^(i phi) standard normal in the plane
        p = u[0] * math.cos(phi) + u[1] * math.sin(phi)
        q = v[0] * math.cos(phi) + v[1] * math.sin(phi)
        return 2 * (max(p, 0) - max(q, 0)) ** 2 / (2 * math.pi)

    kinks = sorted(x % (2 * math.pi) for x in (math.pi / 2, 3 * math.pi / 2, angle + math.pi / 2, angle - math.pi / 2))
    whole, _ = integrate.quad(radial, 0, 2 * math.pi, points=kinks, epsabs=1e-14, epsrel=1e-13)
    lam = vector(4.0, 0.25)
    w, w_star = vector(*u) / lam.sqrt(), vector(*v) / lam.sqrt()
    assert_allclose(float(relu.excess_risk_gaussian(w, w_star, lam)), whole, rtol=1e-11)


def test_bernoulli_risk_by_enumeration():
    lam = power_law(5)
    w = torch.randn(7, 5, generator=generator(), dtype=torch.float64)
    w_star = torch.randn(5, generator=generator(1), dtype=torch.float64)
    by_hand = [
        sum(
            float(lam[i]) / 2 * (max(s * float(row[i]), 0) - max(s * float(w_star[i]), 0)) ** 2
            for i in range(5)
            for s in (1, -1)
        )
        for row in w
    ]
    assert_allclose(relu.excess_risk_bernoulli(w, w_star, lam).numpy(), by_hand, rtol=1e-14)
    # half the squared norm is too much for opposite signs, by twice where the lengths agree
    half = ((w - w_star) ** 2 @ lam) / 2
    assert bool((relu.excess_risk_bernoulli(w, w_star, lam) <= half + 1e-15).all())
    assert_allclose(float(relu.excess_risk_bernoulli(-w_star, w_star, lam)), float(w_star**2 @ lam), rtol=1e-14)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_the_risk_is_between_a_quarter_and_a_half(seed, d):
    g = generator(seed)
    lam = torch.rand(d, generator=g, dtype=torch.float64) + 1e-3
    w, w_star = torch.randn(2, d, generator=g, dtype=torch.float64)
    for risk, values in (
        (relu.excess_risk_gaussian(w, w_star, lam), lam),
        (relu.excess_risk_bernoulli(w, w_star, lam / lam.sum()), lam / lam.sum()),
    ):
        norm = float((w - w_star) ** 2 @ values)
        assert norm / 4 * (1 - 1e-12) <= float(risk) <= norm / 2 * (1 + 1e-12)


# The algorithms on given draws


def test_tree_of_one_coordinate():
    indices, signs, noise, probability = tree([1.0], 4, (0.3, -0.3))
    steps = stepsizes(4, 0.5)
    assert steps == [0.5, 0.25, 0.25, 0.125]
    for algorithm, start in itertools.product(("glmtron", "sgd"), (0.0, -0.75, 0.2)):
        w = relu.run_sequence(algorithm, indices, signs, noise, vector(1.0), vector(start), 0.5)
        by_hand = [
            one_pass(algorithm, [((float(s),), float(e)) for s, e in zip(*row, strict=True)], (1.0,), (start,), steps)[
                0
            ]
            for row in zip(signs, noise, strict=True)
        ]
        assert_allclose(w[:, 0].numpy(), by_hand, rtol=0, atol=1e-15)
        if algorithm == "glmtron":  # the mean is linear, with half the stepsize
            shrink = math.prod(1 - g / 2 for g in steps)
            assert_allclose(float(probability @ w[:, 0]), 1 + (start - 1) * shrink, rtol=0, atol=1e-12)


def test_mean_iterate_over_eight_steps():
    """Enumerated forward as a distribution: N = 8 has 4^8 leaves."""
    assert [g for g, count in relu.geometric_schedule(8, 0.5) for _ in range(count)] == STEPS_8
    for start, expected in ((0.0, 0.6791508048772803), (-0.75, 0.43851391)):
        leaves = {start: 1.0}
        for gamma in STEPS_8:
            after = {}
            for w, p in leaves.items():
                for s, e in itertools.product((1, -1), (0.3, -0.3)):
                    v = w - gamma * (max(s * w, 0) - max(s, 0) - e) * s
                    after[v] = after.get(v, 0.0) + p / 4
            leaves = after
        mean = sum(w * p for w, p in leaves.items())
        assert_allclose(mean, 1 + (start - 1) * math.prod(1 - g / 2 for g in STEPS_8), rtol=0, atol=1e-12)
        assert_allclose(mean, expected, atol=5e-9)


def test_two_coordinates_by_enumeration():
    lam, w_star, start = (0.7, 0.3), (1.0, -0.5), (-0.2, 0.4)
    indices, signs, noise, probability = tree(lam, 3, (0.4, -0.4))
    steps = [g for g, count in relu.geometric_schedule(3, 0.8) for _ in range(count)]
    for algorithm, gate in (("glmtron", 0.0), ("sgd", 0.0), ("sgd", 1.0)):
        w = relu.run_sequence(algorithm, indices, signs, noise, vector(*w_star), vector(*start), 0.8, gate_at_zero=gate)
        for k in range(0, len(w), 7):
            samples = [
                (tuple(float(s) if i == j else 0.0 for j in range(2)), float(e))
                for i, s, e in zip(indices[k].tolist(), signs[k], noise[k], strict=True)
            ]
            assert_allclose(w[k].numpy(), one_pass(algorithm, samples, w_star, start, steps, gate), atol=1e-15)
        assert_allclose(float(probability.sum()), 1.0, rtol=1e-12)


def test_gate_at_zero_decides_from_zero():
    indices, signs, noise = torch.zeros(5, dtype=torch.int64), torch.ones(5), torch.zeros(5)
    run = {
        gate: relu.run_sequence("sgd", indices, signs, noise, vector(1.0), vector(0.0), 0.5, gate_at_zero=gate)
        for gate in (0.0, 0.5, 1.0)
    }
    assert float(run[0.0]) == 0.0  # the strict gate never opens
    assert 0 < float(run[0.5]) < float(run[1.0]) < 1
    lam, one, zero = vector(1.0), vector(1.0), vector(0.0)
    for gate, moved in ((0.0, False), (1.0, True)):
        risk = relu.simulate("sgd", "bernoulli", lam, one, zero, 64, 0.5, 0.0, 200, generator(), gate_at_zero=gate)
        assert bool((risk < 0.4).all()) is moved
        if not moved:
            assert bool((risk == 0.5).all())


def test_matching_loss_is_glmtrons_and_the_square_is_sgds():
    g = generator(3)
    X, y = torch.randn(20, 4, generator=g, dtype=torch.float64), torch.randn(20, generator=g, dtype=torch.float64)
    for x, target in zip(X, y, strict=True):
        w = torch.randn(4, generator=g, dtype=torch.float64, requires_grad=True)
        z = x @ w
        (gradient,) = torch.autograd.grad(relu.matching_loss(z, target), w, retain_graph=True)
        assert_allclose(gradient.numpy(), ((torch.relu(z) - target) * x).detach().numpy(), atol=1e-14)
        (square,) = torch.autograd.grad((torch.relu(z) - target) ** 2 / 2, w)
        assert_allclose(square.numpy(), (gradient * (z > 0)).detach().numpy(), atol=1e-14)
    z = torch.linspace(-2, 2, 201, dtype=torch.float64)
    curve = relu.matching_loss(z, torch.tensor(0.7, dtype=torch.float64))
    assert bool((curve[2:] - 2 * curve[1:-1] + curve[:-2] >= -1e-12).all())  # convex


# Simulation against enumeration, the recursions and the loop


@pytest.mark.parametrize("algorithm", ["glmtron", "sgd"])
def test_simulation_has_the_law_of_the_tree(algorithm):
    """All 4 moments of the risk without noise, at N = 4 on two coordinates, against every sequence."""
    lam, w_star, start = (0.7, 0.3), vector(1.0, -0.5), vector(-0.2, -0.4)
    indices, signs, noise, probability = tree(lam, 4, (0.0,))
    w = relu.run_sequence(algorithm, indices, signs, noise, w_star, start, 0.9)
    exact = relu.excess_risk_bernoulli(w, w_star, vector(*lam))
    runs = relu.simulate(algorithm, "bernoulli", vector(*lam), w_star, start, 4, 0.9, 0.0, 40_000, generator(5))
    for power in (1, 2, 3, 4):
        z = (runs**power).mean() - probability @ exact**power
        assert abs(float(z)) < 4.5 * float((runs**power).std()) / 200
    values, counts = torch.unique((runs * 1e10).round(), return_counts=True)
    mass = {}
    for value, p in zip((exact * 1e10).round().tolist(), probability.tolist(), strict=True):
        mass[value] = mass.get(value, 0.0) + p
    assert set(values.tolist()) <= set(mass)
    expected = np.array([mass[v] for v in values.tolist()]) * 40_000
    assert stats.chisquare(counts.numpy(), expected * 40_000 / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("algorithm", ["glmtron", "sgd"])
def test_batched_simulation_and_single_runs_agree(algorithm):
    """Same mean and spread as sampling rows (index, sign, noise) and running them through `run_sequence`."""
    lam, N, seeds = power_law(12), 96, 4000
    w_star = torch.where(torch.arange(12) % 3 == 0, -1.0, 0.7).double()
    start = 0.3 * torch.randn(seeds, 12, generator=generator(1), dtype=torch.float64)
    g = generator(2)
    indices = torch.multinomial(lam, seeds * N, replacement=True, generator=g).reshape(seeds, N)
    signs = torch.where(torch.rand(seeds, N, generator=g) < 0.5, -1.0, 1.0)
    noise = 0.4 * torch.randn(seeds, N, generator=g, dtype=torch.float64)
    one = relu.excess_risk_bernoulli(
        relu.run_sequence(algorithm, indices, signs, noise, w_star, start, 0.6), w_star, lam
    )
    two = relu.simulate(algorithm, "bernoulli", lam, w_star, start, N, 0.6, 0.4, seeds, generator(3))
    z = (one.mean() - two.mean()) / math.sqrt(float(one.var() + two.var()) / seeds)
    assert abs(float(z)) < 4
    assert stats.ks_2samp(one.numpy(), two.numpy()).pvalue > 1e-4


def test_simulation_in_small_groups_is_the_same_law(monkeypatch):
    args = ("glmtron", "bernoulli", power_law(20), torch.ones(20).double(), torch.zeros(20).double(), 200, 0.5, 0.5)
    whole = relu.simulate(*args, 3000, generator(1))
    monkeypatch.setitem(_simulate._NUMBERS, "cpu", 512)
    parts = relu.simulate(*args, 3000, generator(2))
    assert stats.ks_2samp(whole.numpy(), parts.numpy()).pvalue > 1e-4
