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
from sklearn.utils.estimator_checks import check_estimator
from tenpapers import relu, scaling
from tenpapers.relu import _density, _simulate, study, theory

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
            one_pass(algorithm, [((s,), e) for s, e in zip(*row, strict=True)], (1.0,), (start,), steps)[0]
            for row in zip(signs.tolist(), noise.tolist(), strict=True)
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


# The sandwich and what is exact


def by_steps(lam, start, steps, noise, fraction, design):
    """Second moments step by step: the full matrix for Gaussian features, coordinates for the Bernoulli design."""
    lam, B = lam.numpy(), np.diag(np.array(start, dtype=float))
    H = np.diag(lam)
    for g in steps:
        fourth = 2 * H @ B @ H + np.trace(H @ B) * H if design == "gaussian" else np.diag(lam * np.diag(B))
        B = B - g / 2 * (H @ B + B @ H) + g**2 * fraction * fourth + g**2 * noise * H
    return float(np.trace(H @ B))


@pytest.mark.parametrize("design", ["gaussian", "bernoulli"])
def test_sandwich_is_the_recursion_step_by_step(design):
    lam, N, gamma, sigma = power_law(6), 256, 0.7, 0.4
    w_star = vector(1.0, -2.0, 0.5, 1.0, 0.0, 3.0)
    w0 = vector(0.0, 1.0, 1.0, -1.0, 2.0, 0.0)
    lower, upper = relu.risk_sandwich(lam, w_star, w0, N, gamma, sigma, design)
    start = ((w0 - w_star) ** 2).tolist()
    steps = stepsizes(N, gamma)
    assert_allclose(upper, by_steps(lam, start, steps, sigma**2, 0.5, design) / 2, rtol=1e-11)
    assert_allclose(lower, by_steps(lam, start, steps, sigma**2, 0.25, design) / 4, rtol=1e-11)


def test_sandwich_holds_the_tree():
    """Exact risk of GLM-tron over every sequence, inside; w* of either sign, noise of either sign."""
    lam, w_star, start = (0.7, 0.3), vector(1.0, -0.5), vector(-0.2, 0.4)
    indices, signs, noise, probability = tree(lam, 4, (0.4, -0.4))
    w = relu.run_sequence("glmtron", indices, signs, noise, w_star, start, 0.9)
    exact = float(probability @ relu.excess_risk_bernoulli(w, w_star, vector(*lam)))
    lower, upper = relu.risk_sandwich(vector(*lam), w_star, start, 4, 0.9, 0.4, "bernoulli")
    assert lower < exact < upper
    mean = probability @ w - w_star
    shrink = torch.stack([(1 - g / 2 * vector(*lam)) for g, n in relu.geometric_schedule(4, 0.9) for _ in range(n)])
    assert_allclose(mean.numpy(), ((start - w_star) * shrink.prod(dim=0)).numpy(), rtol=0, atol=1e-12)


def test_sandwich_reference_values():
    """Measured independently when the chapter was planned."""
    lam, ones, zeros = power_law(200), torch.ones(200).double(), torch.zeros(200).double()
    assert_allclose(relu.risk_sandwich(lam, ones, zeros, 256, 0.5, 0.5, "bernoulli"), (0.036415, 0.076558), atol=3e-6)
    assert_allclose(relu.risk_sandwich(lam, ones, zeros, 2048, 0.3, 1.0, "bernoulli"), (0.022727, 0.046784), atol=2e-6)
    assert_allclose(relu.risk_sandwich(lam, ones, zeros, 256, 0.3, 0.5, "gaussian"), (0.04383, 0.09075), atol=1e-5)
    assert_allclose(relu.risk_sandwich(lam, ones, zeros, 1024, 0.3, 0.5, "gaussian"), (0.02389, 0.04878), atol=1e-5)
    exact = [relu.glmtron_noiseless_risk(lam, ones, N, 0.5) for N in (64, 256, 1024, 4096)]
    assert_allclose(exact, [0.114863, 0.0658776, 0.0359614, 0.0190017], rtol=4e-6)


def test_simulated_glmtron_lies_in_the_sandwich():
    lam, ones, zeros = power_law(50), torch.ones(50).double(), torch.zeros(50).double()
    for design, N, gamma, sigma in (("bernoulli", 256, 0.5, 0.5), ("gaussian", 128, 0.5, 0.5)):
        risk = relu.simulate("glmtron", design, lam, ones, zeros, N, gamma, sigma, 1000, generator())
        lower, upper = relu.risk_sandwich(lam, ones, zeros, N, gamma, sigma, design)
        error = float(risk.std()) / math.sqrt(1000)
        assert lower + 4 * error < float(risk.mean()) < upper - 2 * error


def test_gaussian_mean_iterate_is_linear():
    """The mean of 20000 runs, from any start, contracts with H / 2."""
    lam, w_star, w0 = vector(0.6, 0.3, 0.1), vector(1.0, -1.0, 0.5), vector(-1.0, 0.5, 2.0)
    g = generator(4)

    def label(x):
        return torch.relu(x @ w_star) + 0.3 * _simulate.normal(g, *x.shape[:-1])

    w = relu.gaussian_pass("glmtron", lam, label, w0, 32, 0.6, 20_000, g)
    shrink = torch.stack([1 - s / 2 * lam for s in stepsizes(32, 0.6)]).prod(dim=0)
    z = (w.mean(dim=0) - w_star - shrink * (w0 - w_star)) / (w.std(dim=0) / math.sqrt(20_000))
    assert float(z.abs().max()) < 4
    linear = torch.stack([1 - s * lam for s in stepsizes(32, 0.6)]).prod(dim=0)  # the drift H would be far off
    assert float(((w.mean(dim=0) - w_star - linear * (w0 - w_star)) / (w.std(dim=0) / 141)).abs().max()) > 20


@pytest.mark.parametrize("algorithm", ["glmtron", "sgd"])
@pytest.mark.parametrize("N", [1, 8, 9])
def test_gaussian_pass_is_the_algorithm(algorithm, N):
    """Last iterate, and mean of the last N // 2, of the samples that the pass itself drew."""
    w_star, w0, lam = vector(1.0, -0.5, 0.2), vector(0.3, 0.4, -0.2), vector(0.5, 0.3, 0.2)
    for average in (False, True):
        seen = []

        def label(x, seen=seen):
            seen.append(x.clone())
            return torch.relu(x @ w_star) + 0.1

        w = relu.gaussian_pass(algorithm, lam, label, w0, N, 0.4, 3, generator(1), average=average)
        steps = [0.4] * N if average else [g for g, n in relu.geometric_schedule(N, 0.4) for _ in range(n)]
        samples = torch.cat(seen)
        for k in range(3):
            rows = [(tuple(x.tolist()), 0.1) for x in samples[:, k]]
            first = N - max(1, N // 2) + 1 if average else N
            iterates = [
                one_pass(algorithm, rows[:t], w_star.tolist(), w0.tolist(), steps[:t]) for t in range(first, N + 1)
            ]
            assert_allclose(w[k].numpy(), np.mean(iterates, axis=0), atol=1e-14)


def test_stability_threshold():
    for lam in (power_law(30), torch.ones(4).double(), vector(3.0)):
        edge = relu.stability_threshold(lam)
        radius = []
        for gamma in (0.999 * edge, 1.001 * edge):
            step = gamma * lam
            A = torch.diag(1 - step + step**2) + torch.outer(step, step) / 2
            radius.append(float(torch.linalg.eigvalsh(A).abs().max()))
        assert radius[0] < 1 < radius[1]
    assert_allclose(relu.stability_threshold(torch.ones(4).double()), 1 / 3, rtol=1e-12)  # 2 / (d + 2) for H = I
    assert_allclose(relu.stability_threshold(vector(3.0, 0.0)), relu.stability_threshold(vector(3.0)), rtol=1e-14)


def test_noiseless_formula_against_the_tree():
    lam, w_star = (0.6, 0.4), vector(1.0, -0.7)
    indices, signs, noise, probability = tree(lam, 4, (0.0,))
    w = relu.run_sequence("glmtron", indices, signs, noise, w_star, vector(0.0, 0.0), 0.8)
    exact = float(probability @ relu.excess_risk_bernoulli(w, w_star, vector(*lam)))
    assert_allclose(relu.glmtron_noiseless_risk(vector(*lam), w_star, 4, 0.8), exact, rtol=0, atol=1e-12)
    stuck = relu.run_sequence("sgd", indices, signs, noise, w_star, vector(0.0, 0.0), 0.8)
    assert bool((stuck == 0).all())


def test_effective_dimension_is_shared_with_scaling():
    lam = torch.tensor([1.0, 0.5, 0.01, 0.001], dtype=torch.float64)
    problem = scaling.Problem(lam, torch.ones(4).double(), approximation=0.0, noise_variance=1.0)
    assert relu.effective_dimension(lam, 1024, 0.1) == scaling.effective_dimension(problem, 1024, 0.1)
    assert_allclose(relu.effective_dimension(lam, 1024, 0.1), 2 + 10.24**2 * (0.01**2 + 0.001**2), rtol=1e-12)


# Density evolution


@pytest.mark.parametrize("algorithm", ["glmtron", "sgd"])
def test_density_evolution_against_quadrature_of_one_step(algorithm):
    """N = 1: the expected risk is a sum of Gaussian integrals."""
    lam, w_star, w0, gamma, sigma = (0.7, 0.3), (1.0, -0.5), (-0.4, -0.2), 0.8, 0.6

    def coordinate(i):
        def risk(w):
            return ((max(w, 0) - max(w_star[i], 0)) ** 2 + (max(-w, 0) - max(-w_star[i], 0)) ** 2) / 2

        def after(s, e):
            return one_pass(algorithm, [((s,), e)], (w_star[i],), (w0[i],), (gamma,))[0]

        hit = 0.0
        for s in (1.0, -1.0):
            hit += integrate.quad(
                lambda e, s=s: risk(after(s, e)) * stats.norm.pdf(e / sigma) / sigma, -6, 6, points=[0], limit=400
            )[0]
        return lam[i] * ((1 - lam[i]) * risk(w0[i]) + lam[i] * hit / 2)

    exact = sum(coordinate(i) for i in range(2))
    found = relu.density_evolution(algorithm, vector(*lam), vector(*w_star), vector(*w0), 1, gamma, sigma)
    assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("algorithm", ["glmtron", "sgd"])
def test_density_evolution_is_the_mean_of_runs(algorithm, sigma):
    lam = power_law(30)
    w_star = torch.where(torch.arange(30) % 2 == 0, 1.0, -0.6).double()
    w0 = torch.where(torch.arange(30) % 3 == 0, -0.5, 0.2).double()
    exact = relu.density_evolution(algorithm, lam, w_star, w0, 512, 0.5, sigma)
    runs = relu.simulate(algorithm, "bernoulli", lam, w_star, w0, 512, 0.5, sigma, 8000, generator(int(10 * sigma)))
    assert abs(float(runs.mean()) - exact) < 4 * float(runs.std()) / math.sqrt(8000)
    assert float(runs.std()) / math.sqrt(8000) < 0.015 * exact


def test_density_evolution_without_noise_is_exact():
    lam, ones, zeros = power_law(40), torch.ones(40).double(), torch.zeros(40).double()
    for N in (64, 4096):
        found = relu.density_evolution("glmtron", lam, ones, zeros, N, 0.5, 0.0)
        assert_allclose(found, relu.glmtron_noiseless_risk(lam, ones, N, 0.5), rtol=1e-9)
    right = relu.density_evolution("sgd", lam, ones, 0.1 * ones, 4096, 0.5, 0.0)
    left = sum(n * torch.log1p(-lam / 2 * (2 * g - g * g)) for g, n in relu.geometric_schedule(4096, 0.5))
    assert_allclose(right, float(lam @ (0.81 * left.exp())) / 2, rtol=1e-9)
    wrong = relu.density_evolution("sgd", lam, ones, -0.1 * ones, 4096, 0.5, 0.0)
    assert_allclose(wrong, float(lam @ (1 + 0.01 * left.exp())) / 2, rtol=1e-9)


def test_density_evolution_does_not_depend_on_its_splines():
    lam, ones = power_law(30), torch.ones(30).double()
    settings = [
        (algorithm, lam, ones, start * ones, N, gamma, sigma)
        for algorithm in ("glmtron", "sgd")
        for start, N, gamma, sigma in ((-0.5, 256, 0.5, 0.5), (0.1, 4096, 0.9, 2.0), (-0.3, 512, 0.3, 0.1))
    ]
    coarse = [relu.density_evolution(*args) for args in settings]
    before = _density.RATIO
    with relu.finer_splines(1.5):
        assert before > _density.RATIO
        assert_allclose(coarse, [relu.density_evolution(*args) for args in settings], rtol=3e-5)
    assert before == _density.RATIO
    with pytest.raises(ValueError, match="factor must be a finite number of at least 1"), relu.finer_splines(0.5):
        pass


def test_few_hits_and_many_agree():
    """Sums over binomial numbers of hits against squarings."""
    g = generator(0)
    Q = torch.rand(7, 7, generator=g, dtype=torch.float64)
    Q = Q / Q.sum(dim=1, keepdim=True)
    F = torch.randn(7, 3, generator=g, dtype=torch.float64)
    for count in (1, 17, 300):
        lam = vector(1.0, 0.3, 0.001)
        by_steps = F.clone()
        for _ in range(count):
            by_steps = (1 - lam) * by_steps + lam * (Q @ by_steps)
        assert_allclose(_density._phase(Q, F, lam, count).numpy(), by_steps.numpy(), rtol=1e-9, atol=1e-12)


# The quarter theorem


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0])
def test_sgd_is_at_least_a_quarter_of_glmtron(sigma):
    lam, ones = power_law(40), torch.ones(40).double()
    for start, gamma in itertools.product((0.01, -0.01), (0.1, 0.9)):
        risks = [relu.density_evolution(a, lam, ones, start * ones, 256, gamma, sigma) for a in ("sgd", "glmtron")]
        assert risks[0] >= risks[1] / 4
    # from exactly 0, with nothing to learn, the strict gate wins: no noise ever gets in
    zeros = torch.zeros(40).double()
    if sigma > 0:
        quiet, loud = (relu.density_evolution(a, lam, zeros, zeros, 256, 0.5, sigma) for a in ("sgd", "glmtron"))
        assert loud > 0
        runs = relu.simulate("sgd", "bernoulli", lam, zeros, zeros, 256, 0.5, sigma, 10, generator())
        assert float(runs.max()) == 0.0
        assert quiet == 0.0


# Estimators


@pytest.mark.parametrize(
    "estimator",
    [relu.GLMTron(), relu.GLMTron(schedule="constant", averaging="tail"), relu.ReLUSGD(random_state=0)],
    ids=repr,
)
def test_scikit_learn_accepts_the_estimators(estimator):
    """All of scikit-learn's own checks; it leaves out one that needs an experimental switch of SciPy."""
    check_estimator(estimator, on_skip=None)


@pytest.mark.parametrize("schedule", ["geometric", "constant"])
def test_estimators_are_the_algorithm(schedule):
    rng = np.random.default_rng(0)
    X, w_star = rng.normal(size=(64, 3)) / 2, np.array([1.0, -1.0, 0.5])
    y = np.maximum(X @ w_star, 0) + 0.1 * rng.normal(size=64)
    samples = [(tuple(x), float(t - max(x @ w_star, 0))) for x, t in zip(X, y, strict=True)]
    steps = stepsizes(64, 0.5) if schedule == "geometric" else [0.5] * 64
    glm = relu.GLMTron(stepsize=0.5, schedule=schedule).fit(X, y)
    assert_allclose(glm.coef_, one_pass("glmtron", samples, w_star, np.zeros(3), steps), atol=1e-12)
    sgd = relu.ReLUSGD(stepsize=0.5, schedule=schedule, random_state=3).fit(X, y)
    start = 1e-3 * np.random.RandomState(3).standard_normal(3)
    assert_allclose(sgd.coef_, one_pass("sgd", samples, w_star, start, steps), atol=1e-12)
    assert_allclose(glm.predict(X), np.maximum(X @ glm.coef_, 0), atol=1e-15)
    assert glm.score(X, y) > 0.8
    tail = relu.GLMTron(stepsize=0.5, schedule="constant", averaging="tail").fit(X, y)
    iterates = [one_pass("glmtron", samples[:t], w_star, np.zeros(3), [0.5] * t) for t in range(33, 65)]
    assert_allclose(tail.coef_, np.mean(iterates, axis=0), atol=1e-12)


def test_partial_fit_is_one_step_per_row():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(20, 4)) / 2, rng.random(20)
    whole = relu.GLMTron(stepsize=0.3, schedule="constant").fit(X, y)
    rows = relu.GLMTron(stepsize=0.3)
    for k in range(20):
        rows.partial_fit(X[k : k + 1], y[k : k + 1])
    assert_allclose(rows.coef_, whole.coef_, atol=1e-15)
    assert rows.n_steps_ == 20


def test_glmtron_goes_to_twice_the_least_squares_vector():
    """Labels |x_1| + x_2, which no ReLU neuron makes: the mean iterate still finds 2 H^-1 E y x = (0, 2)."""
    g = generator(6)
    lam = vector(0.5, 0.5)
    w = relu.gaussian_pass(
        "glmtron", lam, lambda x: x[..., 0].abs() + x[..., 1], torch.zeros(2).double(), 512, 0.3, 4000, g
    )
    z = (w.mean(dim=0) - vector(0.0, 2.0)) / (w.std(dim=0) / math.sqrt(4000))
    assert float(z.abs().max()) < 4


# Bad input


LAM, ONES = power_law(4), torch.ones(4).double()
LARGE = np.array([[99.0], *([[99.0], [-99.0]] * 200)])


def run_simulate(algorithm="glmtron", design="bernoulli", lam=LAM, w_star=ONES, w0=ONES, N=8, gamma=0.5, sigma=0.5):
    return relu.simulate(algorithm, design, lam, w_star, w0, N, gamma, sigma, 3, generator())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: run_simulate(lam=2 * LAM), "eigenvalues must sum to 1 for the Bernoulli design"),
        (lambda: run_simulate(lam=torch.zeros(0).double()), "eigenvalues must be a vector with at least one entry"),
        (lambda: run_simulate(lam=vector(1.5, -0.5, 0, 0)), r"non-negative numbers only, got eigenvalues\[1\] = -0.5"),
        (lambda: run_simulate(lam=vector(math.nan, 1)), "eigenvalues must hold finite numbers only"),
        (lambda: run_simulate(gamma=0.0), r"gamma must be in \(0, 1\] for the Bernoulli design, got 0"),
        (lambda: run_simulate(gamma=1.5), r"gamma must be in \(0, 1\] for the Bernoulli design, got 1.5"),
        (lambda: run_simulate(gamma=-0.1), "gamma must be in"),
        (lambda: run_simulate(design="gaussian", gamma=3.0), "below the stability edge 0.8958"),
        (lambda: run_simulate(design="cauchy"), "design must be one of 'bernoulli', 'gaussian', got 'cauchy'"),
        (lambda: run_simulate(algorithm="adam"), "algorithm must be one of 'glmtron', 'sgd', got 'adam'"),
        (
            lambda: run_simulate(w_star=torch.ones(3).double()),
            r"w_star must have shape \(4,\), one entry per eigenvalue",
        ),
        (lambda: run_simulate(w0=torch.ones(2, 4).double()), "w0 must be one start"),
        (lambda: run_simulate(w0=vector(math.nan, 0, 0, 0)), "w0 must hold finite numbers only"),
        (lambda: run_simulate(sigma=-1.0), "sigma must be a finite number of at least 0"),
        (lambda: run_simulate(N=0), "N must be an integer of at least 1"),
        (lambda: relu.risk_sandwich(LAM, ONES, ONES, 8, 3.0, 0.5, "gaussian"), "below the stability edge"),
        (lambda: relu.glmtron_noiseless_risk(LAM, ONES, 8, 1.01), "gamma must be in"),
        (lambda: relu.density_evolution("glmtron", 3 * LAM, ONES, ONES, 8, 0.5, 0.5), "must sum to 1"),
        (lambda: relu.effective_dimension(-LAM, 8, 0.5), "non-negative"),
        (lambda: relu.excess_risk_bernoulli(ONES, ONES, 2 * LAM), "must sum to 1"),
        (lambda: relu.excess_risk_gaussian(torch.ones(3).double(), ONES, LAM), "w must have shape"),
        (lambda: relu.GLMTron(stepsize=1.5).fit([[1.0]], [1.0]), r"stepsize must be in \(0, 1\], got 1.5"),
        (lambda: relu.ReLUSGD(schedule="cosine").fit([[1.0]], [1.0]), "schedule must be one of"),
        (lambda: relu.GLMTron().fit([[math.nan]], [1.0]), "Input X contains NaN"),
        (lambda: relu.GLMTron().fit([[1.0]], [math.nan]), "Input y contains NaN"),
        (
            lambda: relu.GLMTron(1.0, "constant").fit(LARGE, np.ones(401)),
            "the weights overflowed",
        ),
    ],
)
def test_bad_input_gets_one_sentence(call, sentence):
    with np.errstate(all="ignore"), pytest.raises((ValueError, TypeError), match=sentence):
        call()


def test_bad_sequences_get_one_sentence():
    good = {"indices": torch.zeros(4, dtype=torch.int64), "signs": torch.ones(4), "noise": torch.zeros(4)}
    good |= {"w_star": ONES, "w0": ONES, "gamma": 0.5}
    for change, sentence in (
        ({"noise": torch.zeros(3)}, "must have one shape"),
        ({"signs": torch.full((4,), 0.5)}, "signs must be"),
        ({"signs": torch.full((4,), math.nan)}, "signs must be"),
        ({"signs": torch.ones(4, dtype=torch.bool)}, "signs must be a real torch tensor, got a torch.bool tensor"),
        ({"indices": torch.full((4,), 9)}, "indices must be between 0 and 3"),
        ({"indices": torch.zeros(4)}, "indices must be a tensor of integers, got a torch.float32 tensor"),
        ({"indices": [0, 1, 2, 3]}, "indices must be a real torch tensor, got list"),
        ({"noise": np.zeros(4)}, "noise must be a real torch tensor, got ndarray"),
        ({"noise": torch.full((4,), math.nan)}, "noise must hold finite numbers only, got nan"),
        ({"noise": torch.full((4,), 1e200, dtype=torch.float64)}, "noise must hold numbers up to 1e\\+100"),
        ({"w_star": [1.0]}, r"w_star must be a torch tensor of shape \(d,\)"),
        ({"w_star": ONES[:0]}, r"w_star must be a torch tensor of shape \(d,\) with at least one entry"),
        ({"w0": torch.zeros(2, 4)}, "w0 must be one start"),
        ({"gamma": 2.0}, "gamma must be in"),
        ({"gate_at_zero": 2.0}, "gate_at_zero must be between 0"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"{sentence}|Type-check"):  # tests check annotations too
            relu.run_sequence("glmtron", **(good | change))
    rows = {name: torch.stack([good[name]] * 3) for name in ("indices", "signs", "noise")}
    with pytest.raises(ValueError, match="w0 must be one start"):
        relu.run_sequence("glmtron", **(good | rows | {"w0": torch.zeros(2, 4)}))
    small = good | {"indices": good["indices"].to(torch.uint8), "signs": good["signs"].to(torch.int8)}
    assert bool((relu.run_sequence("sgd", **small) == relu.run_sequence("sgd", **good)).all())


def test_no_nan_and_no_crash_at_the_edge_of_the_numbers():
    """Squares that would overflow are refused; stepsizes that move nothing leave the risk at the start."""
    for call in (
        lambda: relu.excess_risk_gaussian(1e160 * ONES, ONES, LAM),
        lambda: relu.excess_risk_bernoulli(ONES, 1e160 * ONES, LAM),
        lambda: relu.excess_risk_gaussian(ONES, ONES, 1e160 * LAM),
        lambda: run_simulate(w0=1e160 * ONES),
        lambda: run_simulate(sigma=1e160),
        lambda: relu.risk_sandwich(LAM, ONES, ONES, 8, 0.5, 1e160, "bernoulli"),
        lambda: relu.density_evolution("sgd", LAM, ONES, ONES, 8, 0.5, 1e160),
    ):
        with pytest.raises(ValueError, match=r"1e\+100, got"):
            call()
    start = float(relu.excess_risk_bernoulli(-0.5 * ONES, ONES, LAM))
    for gamma in (5e-324, 1e-200, 1e-40, 1e-20):
        low, high = relu.risk_sandwich(LAM, ONES, -0.5 * ONES, 8, gamma, 1.0, "bernoulli")
        norm = float((1.5**2 * ONES) @ LAM)
        assert_allclose((low, high), (norm / 4, norm / 2), rtol=1e-14)
        for algorithm in ("glmtron", "sgd"):
            found = relu.density_evolution(algorithm, LAM, ONES, -0.5 * ONES, 8, gamma, 1.0)
            assert_allclose(found, start, rtol=1e-9)
    w = (0.0 * ONES).requires_grad_(True)
    for risk in (relu.excess_risk_gaussian, relu.excess_risk_bernoulli):
        assert bool(torch.isfinite(torch.autograd.grad(risk(w, ONES, LAM), w)[0]).all())


def test_other_bad_arguments_get_one_sentence():
    for call, sentence in (
        (lambda: relu.matching_loss(torch.ones(3, 1), torch.ones(3)), "z and y must have one shape"),
        (lambda: relu.matching_loss(1.0, torch.ones(3)), "z must be a real torch tensor, got float"),
        (lambda: run_simulate(gamma=1.0000001), r"in \(0, 1\] for the Bernoulli design, got 1.0000001"),
        (lambda: run_simulate(algorithm=np.array(["sgd", "glmtron"])), "algorithm must be one of 'glmtron', 'sgd'"),
        (lambda: relu.GLMTron(stepsize=1.0000001).fit([[1.0]], [1.0]), "got 1.0000001"),
        (
            lambda: relu.gaussian_pass("adam", LAM, lambda x: x[..., 0], ONES, 8, 0.1, 2, generator()),
            "algorithm must be one of",
        ),
    ):
        with pytest.raises((ValueError, TypeError), match=f"{sentence}|Type-check"):
            call()


def test_noise_of_both_ends_differs_by_at_most_three():
    """The ratio of the ends from w_0 = w* is between 2 and 2 (1 - g/4) / (1 - g/2), step by step."""
    g = generator(8)
    for _ in range(40):
        lam, N, gamma = theory.random_instance(g)
        N = min(N, 600)
        schedule = relu.geometric_schedule(N, gamma)
        upper, lower = (float(lam @ theory.variance_by_steps(lam, schedule, f)) for f in (0.5, 0.25))
        ratio = upper / 2 / (lower / 4)
        assert 2 <= ratio <= 2 * (1 - gamma / 4) / (1 - gamma / 2) + 1e-12 <= 3 + 1e-12
        ends = relu.risk_sandwich(lam, torch.ones_like(lam), torch.ones_like(lam), N, gamma, 0.7, "bernoulli")
        assert_allclose(ends[1] / ends[0], ratio, rtol=1e-9)


def test_noise_over_effective_dimension_is_a_mean_over_directions():
    g = generator(9)
    for fraction in (0.25, 0.5):
        lam, N, gamma = theory.random_instance(g)
        K = relu.effective_samples(N)
        weight = (K * gamma * lam).square().clamp(max=1.0)
        ratio = theory.direction_ratio(lam, N, gamma, fraction)
        found = float((weight / weight.sum()) @ ratio)
        assert_allclose(found, theory.variance_ratio(lam, N, gamma, fraction), rtol=1e-12)
        V = theory.variance_by_steps(lam, relu.geometric_schedule(N, gamma), fraction)
        assert_allclose(ratio.numpy(), (lam * V * K / weight).numpy(), rtol=1e-8)


def test_endless_sandwich_is_the_limit_of_many_coordinates():
    d = 200_000
    lam = torch.arange(1, d + 1, dtype=torch.float64) ** -3.0
    lam = lam / 1.2020569031595942  # zeta(3)
    rest = 1.0 - float(lam.sum())
    lam = torch.cat([lam, torch.tensor([rest], dtype=torch.float64)])
    star = torch.ones(d + 1, dtype=torch.float64)
    star[-1] = 0.0
    ends = relu.risk_sandwich(lam, star, 0 * star, 4096, 0.5, 0.3, "bernoulli")
    assert_allclose(study.endless_sandwich(3.0, 4096, 0.5, 0.3), ends, rtol=1e-6)
