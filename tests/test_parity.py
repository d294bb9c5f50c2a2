"""The library of the chapter on sparse parity: every closed form against an independent road, and bad input."""

import itertools
import math
from statistics import NormalDist

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tenpapers import parity

F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(m, d, seed=0, dtype=F64):
    """Gaussian weights, fair output signs."""
    g = generator(seed)
    W = torch.randn(m, d, generator=g, dtype=dtype)
    return W, torch.randint(0, 2, (m,), generator=g).to(dtype) * 2 - 1


# Samples


def test_samples_are_uniform_signs_with_the_label_of_their_support():
    X, y = parity.sample(40_000, 9, (1, 4, 7), generator())
    assert X.dtype == torch.float32
    assert set(X.unique().tolist()) == {-1.0, 1.0}
    np.testing.assert_array_equal(y.numpy(), X.numpy()[:, 1] * X.numpy()[:, 4] * X.numpy()[:, 7])
    cells = np.bincount(((X.numpy() > 0) @ (1 << np.arange(9))).astype(int), minlength=512)
    chi2 = ((cells - 40_000 / 512) ** 2 / (40_000 / 512)).sum()  # 511 degrees of freedom, standard deviation 32
    assert abs(chi2 - 511) < 5 * 32
    rows = X.double().numpy()
    assert np.abs(rows[:-1].T @ rows[1:] / len(rows)).max() < 5 / math.sqrt(len(rows))  # rows are independent


def test_labels_are_flipped_at_the_stated_rate_and_independently_of_the_input():
    X, y = parity.sample(40_000, 5, (0, 3), generator(), flip=0.2)
    wrong = (y != X[:, 0] * X[:, 3]).double()
    assert abs(wrong.mean() - 0.2) < 5 * math.sqrt(0.16 / 40_000)
    assert (X.double().T @ (wrong - 0.2) / 40_000).abs().max() < 5 * math.sqrt(0.16 / 40_000)


def test_all_inputs_are_in_the_order_of_the_product():
    assert parity.all_inputs(4).tolist() == [list(map(float, x)) for x in itertools.product([-1, 1], repeat=4)]


# Gradient


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_the_gradient_is_what_autograd_finds_for_the_correlation_loss(k):
    """A wrong activation degree fails here."""
    W, a = network(7, 8)
    X, y = parity.sample(700, 8, tuple(range(k)), generator(1), flip=0.1, dtype=F64)
    V = W.clone().requires_grad_()
    (1 - y * ((X @ V.T) ** k @ a)).mean().backward()
    torch.testing.assert_close(parity.gradient(W, a, X, y, k), -V.grad, rtol=1e-11, atol=1e-11)


def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(monkeypatch):
    W, a = network(5, 6)
    X, y = parity.sample(1000, 6, (0, 1, 2), generator(1), dtype=F64)
    whole = parity.gradient(W, a, X, y, 3)
    from tenpapers.parity import _network

    for budget in (1, 35, 37 * 5):
        monkeypatch.setitem(_network._BLOCK, "cpu", budget)
        torch.testing.assert_close(parity.gradient(W, a, X, y, 3), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k", "d"), [(1, 3), (2, 6), (3, 7), (4, 8), (5, 9)])
def test_the_population_gradient_is_the_mean_over_all_inputs(k, d):
    W, a = network(6, d, seed=k)
    support = tuple(range(d - k, d))[::-1]
    X = parity.all_inputs(d)
    y = X[:, list(support)].prod(dim=1)
    torch.testing.assert_close(
        parity.population_gradient(W, a, support, k), parity.gradient(W, a, X, y, k), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize(("k", "size"), [(2, 3), (3, 4), (4, 3), (3, 2), (5, 4)])
def test_an_activation_of_lower_degree_or_one_degree_too_many_sees_nothing(k, size):
    W, a = network(6, 7)
    X = parity.all_inputs(7)
    found = parity.gradient(W, a, X, X[:, :size].prod(dim=1), k)
    assert found.abs().max() < 1e-11
    assert parity.population_gradient(W, a, range(size), k).abs().max() == 0


def test_two_degrees_too_many_move_the_noise_coordinates():
    W, a = network(6, 7)
    X = parity.all_inputs(7)
    assert parity.gradient(W, a, X, X[:, :2].prod(dim=1), 4)[:, 2:].abs().max() > 0.1
    with pytest.raises(ValueError, match="at most"):
        parity.population_gradient(W, a, (0, 1), 4)


def test_a_batch_and_its_mirror_image_have_the_same_gradient():
    W, a = network(6, 7)
    X, y = parity.sample(50, 7, (0, 1, 2), generator(1), dtype=F64)
    assert torch.equal(parity.gradient(W, a, X, y, 3), parity.gradient(W, a, -X, -y, 3))


def test_the_moment_of_a_gradient_entry_is_the_formula():
    for k, d, formula in ((2, 9, 4 * 9), (3, 9, 9 * (3 * 81 - 18)), (4, 9, 16 * (15 * 729 - 30 * 81 + 16 * 9))):
        Z = k * parity.all_inputs(d).sum(dim=1) ** (k - 1)
        assert Z.square().mean() == pytest.approx(formula, rel=1e-12)
        assert k**2 * parity.rademacher_moment(d, 2 * k - 2) == pytest.approx(formula, rel=1e-12)


# Network


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_one_neuron_per_pattern_is_the_parity_times_a_constant(k):
    patterns = parity.all_inputs(k)
    X = parity.all_inputs(k + 2)
    y = X[:, :k].prod(dim=1)
    W = torch.cat([patterns, torch.zeros(2**k, 2, dtype=F64)], dim=1)
    a = patterns.prod(dim=1)
    assert ((X @ W.T) ** k @ a * y).unique().tolist() == [2.0**k * math.factorial(k)]
    assert torch.equal(parity.predict(W, a, X, k), y)
    assert parity.margin(W, a, X, y, k).unique().tolist() == [1.0]  # every neuron is good: twice the usual 1/2
    assert parity.coverage(W, a, range(k)).tolist() == [1] * 2**k


def test_an_output_of_zero_is_no_class():
    W = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    a = torch.tensor([1.0, -1.0])
    assert parity.predict(W, a, torch.tensor([[1.0, 1.0], [1.0, -1.0]]), 2).tolist() == [0.0, 0.0]
    assert parity.accuracy(W, a, (0, 1), 2, 100, generator()) == 0.0


def test_coverage_counts_good_neurons_by_pattern():
    W = torch.tensor([[-1.0, 5, -1], [-1, 5, 1], [1, 5, 1], [0.5, 5, 2], [1, 5, 0], [1, 5, -1]])
    a = torch.tensor([1.0, -1, 1, 1, 1, 1])
    assert parity.coverage(W, a, (0, 2)).tolist() == [1, 1, 0, 2]  # (-,-), (-,+), (+,-), (+,+)
    assert parity.coverage(W, a, (2, 0)).tolist() == [1, 0, 1, 2]
    assert parity.coverage(W, a, (0, 2)).dtype == torch.int64


def test_dead_zone_sign_counts_ties():
    G = torch.tensor([[-2.0, -0.5, -0.49], [0.0, 0.5, 3.0]])
    assert parity.dead_zone_sign(G, 0.5).tolist() == [[-1, -1, 0], [0, 1, 1]]
    assert parity.dead_zone_sign(G, 0).tolist() == [[-1, -1, -1], [0, 1, 1]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=6), st.floats(0.0625, 3, width=32))
def test_dead_zone_sign_is_odd_and_zero_exactly_inside(values, rho):
    G = torch.tensor(values)
    S = parity.dead_zone_sign(G, rho)
    assert torch.equal(S, -parity.dead_zone_sign(-G, rho))
    assert torch.equal(S == 0, G.abs() < rho)


# Training


def reference(d, k, support, W, a, batches, eta, rho):
    """The algorithm with loops, in NumPy: weight decay outside the sign."""
    W = W.astype(float).copy()
    for X, y in batches:
        G = np.zeros_like(W)
        for r in range(len(W)):
            for x, label in zip(X, y, strict=True):
                G[r] += k * (W[r] @ x) ** (k - 1) * a[r] * label * x / len(X)
        W = (1 - eta) * W + eta * (np.where(rho <= G, 1, 0) - np.where(-rho >= G, 1, 0))
    return W


def test_training_is_the_algorithm_written_with_loops():
    from tenpapers.parity import _train

    d, k, m, batch, steps, eta, rho = 5, 3, 6, 40, 4, 0.2, 0.6
    run = parity.train(d, k, m, batch, steps, eta, rho, support=(4, 0, 2), seed=3, dtype=F64)
    W, a = _train.start(d, m, 3, F64, torch.device("cpu"))
    g = generator((3 + 0x9E3779B97F4A7C15) % 2**63)
    batches = [[t.numpy() for t in parity.sample(batch, d, (4, 0, 2), g, dtype=F64)] for _ in range(steps)]
    np.testing.assert_allclose(run.W, reference(d, k, (4, 0, 2), W.numpy(), a.numpy(), batches, eta, rho), atol=1e-12)
    assert torch.equal(run.a, a)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("k", "d", "batch"), [(2, 6, 20_000), (3, 6, 60_000)])
def test_neurons_follow_the_closed_trajectories_when_signs_are_right(k, d, batch, seed):
    """Fails with the plain sign for the dead zone, and with weight decay inside the sign."""
    eta, steps = 0.1, 12
    rho = {2: 0.5, 3: 1.8}[k]  # no step of a bad neuron is within ten standard errors of rho
    run = parity.train(d, k, 24, batch, steps, eta, rho, seed=seed, history=True, dtype=F64)
    first, good = run.history[0], parity.good_neurons(run.history[0], run.a, run.support)
    assert 0 < good.sum() < 24
    assert run.diagnostics["quiet"].min() == 1
    assert run.diagnostics["good_signs"].min() == 1
    assert run.diagnostics["bad_signs"].min() == 1
    for t in range(steps + 1):
        torch.testing.assert_close(run.history[t][:, k:], (1 - eta) ** t * first[:, k:], rtol=1e-12, atol=0)
        torch.testing.assert_close(run.history[t][good, :k], first[good, :k], rtol=1e-12, atol=0)
        bad = parity.bad_neuron(t, eta, k, rho) * first[~good, :k]
        torch.testing.assert_close(run.history[t][~good, :k], bad, rtol=1e-11, atol=1e-15)


def test_every_step_draws_a_fresh_batch():
    """Fails when batches are reused: with almost no movement, noise updates of two steps agree half of the time."""
    eta = 1e-6
    run = parity.train(40, 2, 50, 8, 3, eta, 0.0, seed=1, history=True, dtype=F64)
    push = torch.sign(run.history[1:] - (1 - eta) * run.history[:-1])[:, :, 2:]  # (3, 50, 38)
    for s, t in ((0, 1), (1, 2), (0, 2)):
        agreement = (push[s] == push[t]).double().mean()
        assert abs(agreement - 0.5) < 0.1
    assert not torch.equal(run.W, parity.train(40, 2, 50, 8, 3, eta, 0.0, seed=2, dtype=F64).W)


def test_training_learns_and_reads_out_a_support_that_is_not_the_first_coordinates():
    run = parity.train(14, 3, 96, 4096, 45, 0.1, 0.6, support=(11, 2, 7), seed=1)
    assert parity.accuracy(run.W, run.a, run.support, 3, 5000, generator()) > 0.999
    assert parity.read_support(run.W, 3) == [2, 7, 11]
    assert parity.accuracy(run.W, run.a, (0, 1, 2), 3, 5000, generator()) < 0.6


def test_relabelling_the_coordinates_relabels_the_weights():
    order = [3, 0, 4, 1, 2]
    path = parity.population_path(*network(5, 5), (0, 1), 9, 0.1, 0.3)
    W, a = network(5, 5)
    moved = parity.population_path(W[:, order], a, (order.index(0), order.index(1)), 9, 0.1, 0.3)
    assert torch.equal(moved, path[:, :, order])


def test_training_starts_alike_for_every_batch_and_ends_alike_for_every_repetition():
    one = parity.train(6, 2, 8, 10, 3, 0.1, 0.2, seed=5, history=True)
    two = parity.train(6, 2, 8, 999, 3, 0.1, 0.2, seed=5, history=True)
    assert torch.equal(one.history[0], two.history[0])
    assert torch.equal(one.W, parity.train(6, 2, 8, 10, 3, 0.1, 0.2, seed=5).W)


def test_large_batches_are_drawn_in_blocks(monkeypatch):
    from tenpapers.parity import _train

    monkeypatch.setitem(_train._SIGNS, "cpu", 6 * 64)
    run = parity.train(6, 2, 8, 4000, 20, 0.1, 0.2, seed=5)
    assert run.diagnostics["good_signs"].min() == 1


def rotation(d):
    return torch.linalg.qr(torch.randn(d, d, generator=generator(4), dtype=F64)).Q


def test_plain_sgd_commutes_with_rotations_and_the_sign_does_not():
    R, (W, a) = rotation(6), network(4, 6)
    X, y = parity.sample(100, 6, (0, 1, 2), generator(1), dtype=F64)
    G = parity.gradient(W, a, X, y, 3)
    turned = parity.gradient(W @ R.T, a, X @ R.T, y, 3)
    torch.testing.assert_close(turned, G @ R.T, rtol=1e-10, atol=1e-10)
    assert (parity.dead_zone_sign(turned, 0.6) - parity.dead_zone_sign(G, 0.6) @ R.T).abs().max() > 0.5


def test_a_rotated_run_sees_rotated_inputs():
    identity = torch.eye(6, dtype=F64)
    plain = parity.train(6, 2, 8, 50, 5, 0.1, 0.2, dtype=F64)
    assert torch.equal(plain.W, parity.train(6, 2, 8, 50, 5, 0.1, 0.2, rotation=identity, dtype=F64).W)
    swap = identity[[1, 2, 3, 4, 5, 0]]
    run = parity.train(6, 2, 64, 4000, 45, 0.1, 0.2, rotation=swap, dtype=F64)
    assert parity.read_support(run.W, 2) == [0, 5]  # coordinates 0 and 1 of x sit at 5 and 0 of R x
    assert parity.accuracy(run.W, run.a, run.support, 2, 2000, generator(), rotation=swap) == 1.0
    assert "quiet" not in run.diagnostics


def test_divergence_of_sgd_is_reported_with_its_step():
    with pytest.raises(parity.DivergenceError, match=r"diverged at step \d+") as caught:
        parity.train(8, 3, 16, 500, 500, 0.5, 0.6, update="sgd", scale=3.0)
    assert 1 < caught.value.step <= 500
    W = torch.ones(3, 4, dtype=F64)
    with pytest.raises(parity.DivergenceError, match="diverged at step"):
        parity.population_path(W, torch.ones(3, dtype=F64), (0, 1, 2), 500, 0.5, 0.0, update="sgd", scale=3.0)


def test_the_step_of_a_divergence_is_the_first_that_overflows():
    """At k = 2 the weights overflow before the gradient does: one step fewer is finite, that step itself is refused."""
    options = {"eta": 0.1, "rho": 0.2, "update": "sgd", "scale": 100.0}
    with pytest.raises(parity.DivergenceError) as caught:
        parity.train(4, 2, 3, 5, steps=400, **options)
    assert bool(torch.isfinite(parity.train(4, 2, 3, 5, steps=caught.value.step - 1, **options).W).all())
    with pytest.raises(parity.DivergenceError):
        parity.train(4, 2, 3, 5, steps=caught.value.step, **options)


def test_plain_sgd_is_its_own_recursion():
    """W <- (1 - eta) W + eta scale G / k!, on the batches that sign-SGD would have seen."""
    d, k, m, batch, eta, scale = 5, 3, 6, 40, 0.2, 0.7
    run = parity.train(d, k, m, batch, 3, eta, 0.6, seed=3, update="sgd", scale=scale, history=True, dtype=F64)
    g = generator((3 + 0x9E3779B97F4A7C15) % 2**63)
    for t in range(3):
        G = parity.gradient(run.history[t], run.a, *parity.sample(batch, d, range(k), g, dtype=F64), k)
        expected = (1 - eta) * run.history[t] + eta * scale * G / 6
        torch.testing.assert_close(run.history[t + 1], expected, rtol=1e-11, atol=1e-12)
    assert torch.equal(run.W, run.history[-1])


def test_plain_sgd_has_an_unstable_fixed_point_for_k_3_and_a_direction_for_k_2():
    a = torch.ones(1, dtype=F64)
    for s in (0.5, 0.9, 1.3):
        fixed = 1 / s
        for factor, grows in ((1.01, True), (0.99, False)):
            W = torch.full((1, 4), factor * fixed, dtype=F64)
            path = parity.population_path(W, a, (0, 1, 2), 5, 0.1, 0.0, update="sgd", scale=s)[:, 0, 0]
            assert bool((path[1:] > path[:-1]).all()) == grows
    W = torch.ones(1, 4, dtype=F64)
    path = parity.population_path(W, a, (0, 1), 10, 0.1, 0.0, update="sgd", scale=0.7)
    np.testing.assert_allclose(path[:, 0, 0], [(1 - 0.1 + 0.07) ** t for t in range(11)])
    np.testing.assert_allclose(path[:, 0, 2], [0.9**t for t in range(11)])


# Theory


@pytest.mark.parametrize(("k", "eta", "rho"), [(2, 0.1, 0.2), (3, 0.1, 0.6), (4, 0.05, 2.4), (5, 0.2, 60.0)])
def test_bad_neurons_closed_form_is_the_recursion(k, eta, rho):
    u, found = 1.0, []
    for t in range(60):
        found.append(parity.bad_neuron(t, eta, k, rho))
        assert found[-1] == pytest.approx(u, abs=1e-12)
        push = math.factorial(k) * u ** (k - 1)
        u = (1 - eta) * u - (eta if push >= rho else -eta if push <= -rho else 0)
    assert found[0] == 1.0


def test_bad_neuron_does_not_count_its_steps():
    """A small step and a late time: the loop over steps would take hours. Also where u meets theta exactly."""
    small = parity.bad_neuron(10**10, 1e-9, 2, 0.2)
    assert small == pytest.approx(0.1 * math.exp(-(10 - math.log(1 / 0.55))), rel=1e-6)
    assert parity.bad_neuron(10**12, 0.1, 2, 0.2) == 0.0
    for eta in (0.001, 0.01, 0.1):
        for theta in (2 * (1 - eta) ** 3 - 1, 0.3):
            u = 1.0
            for t in range(9):
                assert parity.bad_neuron(t, eta, 2, 2 * theta) == pytest.approx(u, abs=1e-12)
                u = (1 - eta) * u - (eta if 2 * (1 - eta) ** t - 1 >= theta else 0)


def test_bad_neuron_has_the_worked_values():
    values = [parity.bad_neuron(t, 0.1, 3, 0.6) for t in (1, 2, 3, 4, 5, 10, 40)]
    np.testing.assert_allclose(values, [0.8, 0.62, 0.458, 0.3122, 0.28098, 0.165916, 0.007033], atol=5e-7)


@pytest.mark.parametrize(("k", "d"), [(2, 40), (3, 20), (4, 12)])
def test_batch_for_sign_is_where_signs_are_right_so_often(k, d):
    p, rho, g = 0.9, 0.1 * math.factorial(k), generator(k)
    batch = round(parity.batch_for_sign(k, d, rho, p, exact=True))
    right = []
    for _ in range(60):
        W, a = (torch.randint(0, 2, s, generator=g).double() * 2 - 1 for s in ((64, d), (64,)))
        X, y = parity.sample(batch, d, range(k), g, dtype=F64)
        S = parity.dead_zone_sign(parity.gradient(W, a, X, y, k), rho)[:, :k]
        right.append((a[:, None] * W[:, :k].prod(dim=1, keepdim=True) * W[:, :k] == S).double().mean())
    right = torch.stack(right)
    assert abs(right.mean() - p) < 0.02 + 4 * right.std() / math.sqrt(60)
    assert parity.sign_probability(k, d, rho, batch, exact=True) == pytest.approx(p, abs=2e-3)


def test_batch_for_sign_grows_as_the_stated_power():
    for k in (1, 2, 3, 4):
        one, two = (parity.batch_for_sign(k, d, 0.0, 0.95) for d in (50, 100))
        assert two / one == pytest.approx(2.0 ** (k - 1), rel=1e-12)
    closed = 9 * 3 * 100**2 * (1.6448536269514722 / 5.4) ** 2
    assert parity.batch_for_sign(3, 100, 0.6, 0.95) == pytest.approx(closed, rel=1e-9)
    assert parity.batch_for_sign(3, 100, 0.6, 0.95, exact=True) == pytest.approx(closed * (1 - 2 / 300), rel=1e-9)


def test_absolute_moments_by_enumeration():
    for k in range(1, 8):
        expected = parity.all_inputs(k).sum(dim=1).abs().pow(k).mean()
        assert parity.absolute_moment(k) == pytest.approx(float(expected))


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("eta", [0.05, 0.1, 0.25])
def test_neurons_stand_the_stated_tolerance_whatever_the_error(k, eta):
    """Errors of size Delta, chosen at random or against the wish, leave good neurons fixed and kill the others."""
    rho = 0.3 * math.factorial(k)
    size = parity.noise_tolerance(k, eta, rho)
    g, d, m = generator(k), k + 3, 200
    W, a = (torch.randint(0, 2, s, generator=g).double() * 2 - 1 for s in ((m, d), (m,)))
    first, good = W, parity.good_neurons(W, a, range(k))
    for _ in range(60):
        error = torch.randint(-1, 2, (m, d), generator=g).double() * size
        error[: m // 2, :k] = -size * torch.sign(W[: m // 2, :k])  # half of the neurons are pulled towards zero
        W = (1 - eta) * W + eta * parity.dead_zone_sign(parity.population_gradient(W, a, range(k), k) + error, rho)
    torch.testing.assert_close(W[good, :k], first[good, :k], rtol=1e-12, atol=0)
    assert W[~good, :k].abs().max() <= 2 * (1 - eta) ** 60 / (1 - eta)
    torch.testing.assert_close(W[:, k:], (1 - eta) ** 60 * first[:, k:], rtol=1e-12, atol=0)


def test_the_main_theorem_run_to_the_letter():
    """Its own m, batch and steps: batches of a thousand million samples are exact counts of the 2^d inputs."""
    d, k, eta, rho = 6, 2, 0.3, 0.6
    sizes = parity.guarantee(d, k, 0.1, 0.1, eta, rho)
    assert sizes.samples == sizes.batch * sizes.steps
    rng, X = np.random.default_rng(0), parity.all_inputs(d)
    W, a = (torch.from_numpy(rng.choice([-1.0, 1.0], s)) for s in ((sizes.m, d), (sizes.m,)))
    for _ in range(sizes.steps):
        G = parity.counted_gradient(W, a, range(k), k, sizes.batch, rng)
        assert (G - parity.population_gradient(W, a, range(k), k)).abs().max() <= sizes.tolerance
        W = (1 - eta) * W + eta * parity.dead_zone_sign(G, rho)
    y = X[:, :k].prod(dim=1)
    assert (parity.margin(W, a, X, y, k) >= 0.25).double().mean() >= 0.9


@pytest.mark.parametrize(("k", "d", "eta"), [(2, 9, 0.1), (3, 40, 0.2), (4, 300, 0.05)])
def test_the_guarantee_has_the_sizes_of_the_theorem_and_no_larger(k, d, eta):
    delta, epsilon, rho = 0.02, 0.05, 0.3 * math.factorial(k)
    sizes = parity.guarantee(d, k, delta, epsilon, eta, rho)
    factorial, c = math.factorial(k), (1 - eta) ** (k - 1)
    error = min(rho * (1 - c) / (1 + c), factorial - rho)
    spread = np.abs(np.array(list(itertools.product([-1, 1], repeat=k))).sum(axis=1) ** k).mean() / factorial
    assert sizes.tolerance == pytest.approx(error)
    assert sizes.m == math.ceil(48 * 2 ** (k + 1) * spread**2 * math.log(2 ** (k + 2) / delta))
    noise = math.sqrt(2 * d * math.log(2 * sizes.m / epsilon))
    assert sizes.steps == math.ceil(math.log(8 * math.e * k**k / factorial * noise) / eta)

    def needed(batch):  # the deviation lemma's error at delta/2, over Delta, squared: at most 1
        L = math.log(4 * sizes.m * d * batch * sizes.steps / (delta / 2))
        return (1.5 * k * (2 * d * L) ** ((k - 1) / 2) * math.sqrt(2 * L / batch) / error) ** 2

    assert 1 - 1e-6 < needed(sizes.batch) <= 1 + 1e-12
    assert needed(0.99 * sizes.batch) > 1


def test_width_is_enough_for_coverage():
    for k in (2, 3):
        m, rng = parity.width_for_coverage(k, 0.1), np.random.default_rng(k)
        alpha = math.factorial(k) / (4 * parity.absolute_moment(k))
        mean = m / 2 ** (k + 1)
        counts = rng.multinomial(m, [2.0 ** -(k + 1)] * 2**k + [0.5], size=400)[:, : 2**k]
        assert ((np.abs(counts - mean) > alpha * mean).any(axis=1)).mean() <= 0.1


# Measurements


@pytest.mark.parametrize("k", [2, 3, 4])
def test_ideal_margins_are_those_of_the_network_itself(k):
    g = generator(k)
    W, a = (torch.randint(0, 2, s, generator=g).double() * 2 - 1 for s in ((40, k), (40,)))
    good = parity.good_neurons(W, a, range(k))
    W, a, X = W[good], a[good], parity.all_inputs(k)
    y = X.prod(dim=1)
    counts = parity.coverage(W, a, range(k))
    margins = parity.ideal_margins(counts, k)
    torch.testing.assert_close(margins / len(W), parity.margin(W, a, X, y, k), rtol=1e-12, atol=1e-12)
    right = (parity.predict(W, a, X, k) == y).double() + (parity.predict(W, a, X, k) == 0).double() / 2
    assert parity.ideal_accuracy(counts, k) == pytest.approx(float(right.mean()))


def test_batch_reaching_finds_a_known_curve_with_its_error():
    def law(batch):
        return [parity.sign_probability(3, 20, 0.6, batch)] * 4

    found, error = parity.batch_reaching(0.95, law)
    assert found == pytest.approx(parity.batch_for_sign(3, 20, 0.6, 0.95), rel=1e-6)
    assert error == pytest.approx(0, abs=1e-6)
    rng = np.random.default_rng(0)
    found, error = parity.batch_reaching(
        0.95, lambda batch: rng.binomial(200, parity.sign_probability(3, 20, 0.6, batch), 16) / 200
    )
    assert abs(found - parity.batch_for_sign(3, 20, 0.6, 0.95)) < 4 * error
    assert parity.batch_reaching(0.9, lambda batch: [0.95, 0.96], first=7) == (7.0, 0.0)


def test_counted_batches_have_the_mean_and_spread_of_drawn_ones():
    W, a = network(3, 5)
    rng, g, batch = np.random.default_rng(0), generator(1), 300
    counted = torch.stack([parity.counted_gradient(W, a, (0, 1), 2, batch, rng) for _ in range(400)])
    drawn = torch.stack([parity.gradient(W, a, *parity.sample(batch, 5, (0, 1), g, dtype=F64), 2) for _ in range(400)])
    assert ((counted.mean(0) - drawn.mean(0)).abs() <= 5 * (drawn.var(0) / 200).sqrt()).all()
    torch.testing.assert_close(counted.std(0), drawn.std(0), rtol=0.25, atol=1e-3)


def test_slope_is_the_weighted_fit_of_the_logarithms():
    x, y = np.array([2.0, 5.0, 11.0, 30.0]), np.array([3.0, 20.0, 90.0, 800.0])
    fit, covariance = np.polyfit(np.log(x), np.log(y), 1, w=1 / np.array([0.1, 0.2, 0.1, 0.05]), cov="unscaled")
    found, error = parity.slope(x, y, y * np.array([0.1, 0.2, 0.1, 0.05]))
    assert found == pytest.approx(fit[0])
    assert error == pytest.approx(math.sqrt(covariance[0, 0]))
    assert parity.slope(x, 3 * x**1.5)[0] == pytest.approx(1.5)


def test_accuracy_exponent_finds_a_known_power():
    rows = []
    for d in (10, 20, 40):
        for batch in d**2 * 2.0 ** np.arange(-3, 4):
            level = min(1.0, 0.9 + 0.1 * math.log2(batch / d**2) / 4)  # 0.9 at batch = d^2
            rows += [{"d": d, "batch": batch, "number": n, "accuracy": level + (n - 1) * 0.01} for n in range(3)]
    found = parity.accuracy_exponent(pd.DataFrame(rows), 0.9, np.random.default_rng(0))
    assert found.d == [10, 20, 40]
    np.testing.assert_allclose(found.batch, [100, 400, 1600], rtol=1e-9)
    assert found.slope == pytest.approx(2)
    assert 0 <= found.spread < 0.01  # the same networks move every size alike
    assert parity.accuracy_exponent(pd.DataFrame(rows), 1.1, np.random.default_rng(0)).slope == math.inf


def test_crossing_reads_between_the_points():
    assert parity.crossing([1, 4, 16], [0.5, 0.8, 1.0], 0.9) == pytest.approx(8)
    assert parity.crossing([1, 4], [0.9, 1.0], 0.9) == 1
    assert parity.crossing([1, 4], [0.5, 0.6], 0.9) == math.inf


def test_nothing_of_a_gradient_step_is_left_on_the_cpu():
    """On the meta device, which stands for a GPU: a tensor made on the CPU by mistake would meet the others."""
    from tenpapers.parity import _network, _train

    W, a, X = torch.ones(5, 4, device="meta"), torch.ones(5, device="meta"), torch.ones(7, 4, device="meta")
    assert _network.gradient_sum(W.T, X, torch.ones(7, device="meta"), 5).device.type == "meta"
    assert _train.fraction(torch.ones(0, dtype=torch.bool, device="meta")).device.type == "meta"
    assert a.device.type == parity.all_inputs(3, device="meta").device.type == "meta"


def test_a_gradient_wants_no_graph_and_no_room_for_large_factorials():
    """Weights that require a gradient are welcome; k! beyond 64 bits is a float."""
    W, a = network(3, 30)
    X, y = parity.sample(9, 30, range(25), generator(), dtype=F64)
    plain = parity.gradient(W, a, X, y, 3)
    tracked = parity.gradient(W.clone().requires_grad_(), a, X.clone().requires_grad_(), y, 3)
    assert torch.equal(plain, tracked)
    assert not tracked.requires_grad
    assert torch.equal(parity.predict(W.clone().requires_grad_(), a, X, 3), parity.predict(W, a, X, 3))
    ones, signs = torch.ones(2, 30, dtype=F64), torch.tensor([1.0, -1.0], dtype=F64)
    assert parity.population_gradient(ones, signs, range(25), 25)[:, 0].tolist() == [
        pytest.approx(s * math.factorial(25)) for s in (1, -1)
    ]
    assert parity.margin(ones, signs, ones, signs, 25).tolist() == [0.0, 0.0]
    assert parity.train(30, 25, 3, 8, 2, 0.1, 0.2).diagnostics["quiet"].shape == (2,)


def test_a_first_sign_is_as_uncertain_as_its_variance_says():
    """At k = 2 and d = 6 the mean takes a sixth off the second moment: batches must be shorter by as much."""
    k, d, rho, batch = 2, 6, 0.2, 24
    moment = k**2 * parity.rademacher_moment(d, 2 * k - 2)
    z = (math.factorial(k) - rho) / math.sqrt((moment - math.factorial(k) ** 2) / batch)
    right = [parity.sign_agreement(k, d, rho, batch, 64, generator(s)) for s in range(400)]
    error = np.std(right) / math.sqrt(400)
    assert abs(np.mean(right) - NormalDist().cdf(z)) < 4 * error + 0.005
    assert np.mean(right) > parity.sign_probability(k, d, rho, batch, exact=True) + 2 * error


# Statistical queries


def test_the_adversary_crosses_out_what_brute_force_does():
    adversary = parity.SqAdversary(6, 3, 0.05)
    g = generator(3)
    table = torch.rand(2, 64, generator=g, dtype=F64) * 2 - 1
    answer = adversary.answer(lambda X, y: table[(y < 0).long(), torch.arange(64)])
    X = parity.all_inputs(6)
    left = []
    for A in itertools.combinations(range(6), 3):
        chi = X[:, A].prod(dim=1)
        true = torch.where(chi > 0, table[0], table[1]).mean()
        if abs(true - answer) <= 0.05:
            left.append(A)
    assert 0 < len(left) < 20
    assert adversary.survivors == left
    assert adversary.queries == 1
    assert answer == pytest.approx(float(table.mean()))


def test_a_query_may_write_on_what_it_is_given_and_track_gradients():
    adversary = parity.SqAdversary(5, 2, 0.3)
    assert adversary.answer(lambda X, y: y.mul_(-1)) == 0.0  # q = -y: no part without a label
    assert adversary.answer(lambda X, y: X.fill_(1)[:, 0]) == 1.0
    assert adversary.answer(lambda X, y: X[:, 1].clone().requires_grad_() / 2) == 0.0
    assert adversary.queries == 3
    with pytest.raises(ValueError, match=r"1\.000000000001"):
        adversary.answer(lambda X, y: y * (1 + 1e-12))
    assert adversary.queries == 3  # a refused query counts for nothing


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.6))
def test_no_query_crosses_out_more_than_parseval_allows(seed, tau):
    adversary = parity.SqAdversary(7, 3, tau)
    g = generator(seed)
    for n in range(1, 4):
        table = torch.sign(torch.randn(128, generator=g, dtype=F64))
        adversary.answer(lambda X, y, table=table: y * table)
        assert len(adversary.survivors) >= 35 - n / tau**2


def test_asking_for_characters_costs_one_query_a_support_and_gradients_tell_little():
    adversary = parity.SqAdversary(6, 2, 0.3)
    for n, A in enumerate(itertools.combinations(range(6), 2), 1):
        if n == 15:
            break
        adversary.answer(lambda X, y, A=A: y * X[:, A].prod(dim=1))
        assert len(adversary.survivors) == 15 - n
    assert adversary.survivors == [(4, 5)]
    assert adversary.queries == 14
    assert adversary.bound == pytest.approx(14 * 0.09)


def test_the_greedy_game_ends_near_the_bound():
    adversary = parity.greedy_game(9, 3, 0.3, generator())
    assert len(adversary.survivors) <= 1
    assert adversary.bound <= adversary.queries <= 5 * adversary.bound


# Elimination


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.data())
def test_elimination_finds_any_parity(seed, d, data):
    k = data.draw(st.integers(1, d))
    g = generator(seed)
    support = torch.randperm(d, generator=g)[:k].tolist()
    X, y = parity.sample(d + 60, d, support, g)
    assert parity.solve_gf2(X, y) == sorted(support)
    y[d + 50] *= -1
    with pytest.raises(ValueError, match="contradict"):
        parity.solve_gf2(X, y)


def test_elimination_refuses_what_it_cannot_decide():
    X, y = parity.sample(5, 9, (0, 1), generator())
    with pytest.raises(ValueError, match="do not determine"):
        parity.solve_gf2(X, y)
    assert parity.solve_gf2(torch.eye(3).mul(-2).add(1), torch.ones(3)) == []
    with pytest.raises(ValueError, match="signs"):
        parity.solve_gf2(torch.zeros(3, 3), torch.ones(3))


# Baselines


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 0.01), ("lion", 0.001)])
def test_a_relu_network_learns_a_small_parity(optimizer, lr):
    run = parity.train_relu(8, 2, 64, 64, 600, lr, optimizer, every=100, stop_at=0.99)
    assert run.accuracy[-1] >= 0.99
    assert run.samples_to(0.99) == run.samples[-1]
    assert run.samples_to(1.1) == math.inf
    again = parity.train_relu(8, 2, 64, 64, 600, lr, optimizer, every=100, stop_at=0.99)
    assert torch.equal(run.accuracy, again.accuracy)


def test_lion_is_its_own_definition():
    from tenpapers.parity._baselines import Lion

    w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    lion = Lion([w], lr=0.1, weight_decay=0.5)
    expected, momentum = w.detach().numpy().copy(), np.zeros(2)
    for gradient in ([3.0, -1.0], [-0.5, 0.2], [-4.0, 0.0]):
        w.grad = torch.tensor(gradient)
        lion.step()
        expected = expected * (1 - 0.05) - 0.1 * np.sign(0.9 * momentum + 0.1 * np.array(gradient))
        momentum = 0.99 * momentum + 0.01 * np.array(gradient)
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-6)


# Bad input

W4, A4 = torch.ones(3, 4), torch.ones(3)
X4, Y4 = torch.ones(2, 4), torch.ones(2)
BAD = {
    "k of 0": (lambda: parity.train(4, 0, 3, 5, 2, 0.1, 0.2), ValueError, "k must lie between 1 and d = 4, got 0"),
    "k above d": (lambda: parity.gradient(W4, A4, X4, Y4, 5), ValueError, "k must lie between 1 and d = 4, got 5"),
    "k not an integer": (lambda: parity.train(4, 2.0, 3, 5, 2, 0.1, 0.2), TypeError, "k must be an integer"),
    "support with repeats": (lambda: parity.sample(5, 4, (1, 1), generator()), ValueError, "distinct"),
    "support out of range": (lambda: parity.coverage(W4, A4, (0, 4)), ValueError, r"support\[1\] .* at most 3, got 4"),
    "support negative": (lambda: parity.train(4, 2, 3, 5, 2, 0.1, 0.2, support=(0, -1)), ValueError, "at least 0"),
    "support empty": (lambda: parity.sample(5, 4, (), generator()), ValueError, "at least one"),
    "eta of 0": (lambda: parity.train(4, 2, 3, 5, 2, 0.0, 0.2), ValueError, "eta .* above 0 and below 1, got 0"),
    "eta of 1": (lambda: parity.train(4, 2, 3, 5, 2, 1.0, 0.2), ValueError, "eta .* above 0 and below 1, got 1"),
    "eta NaN": (lambda: parity.train(4, 2, 3, 5, 2, math.nan, 0.2), ValueError, "eta .* got nan"),
    "rho negative": (lambda: parity.dead_zone_sign(X4, -0.1), ValueError, "rho .* at least 0, got -0.1"),
    "rho of k! in a statement": (lambda: parity.batch_for_sign(3, 9, 6.0, 0.9), ValueError, "rho .* below 6, got 6"),
    "rho of k! for a bad neuron": (lambda: parity.bad_neuron(1, 0.1, 2, 2.0), ValueError, "rho .* below 2"),
    "no dead zone for a bad neuron": (lambda: parity.bad_neuron(1, 0.1, 2, 0.0), ValueError, "rho .* above 0"),
    "a step over the dead zone": (lambda: parity.bad_neuron(1, 0.2, 2, 0.2), ValueError, "eta must be below .*0.1818"),
    "a step over it in the theorem": (lambda: parity.noise_tolerance(2, 0.3, 0.2), ValueError, "eta must be at most"),
    "p of one half": (lambda: parity.batch_for_sign(3, 9, 0.6, 0.5), ValueError, "p .* above 0.5"),
    "half precision": (lambda: parity.gradient(W4.half(), A4.half(), X4.half(), Y4.half(), 2), TypeError, "float16"),
    "bfloat16": (lambda: parity.predict(W4.bfloat16(), A4.bfloat16(), X4.bfloat16(), 2), TypeError, "bfloat16"),
    "half precision in train": (lambda: parity.train(4, 2, 3, 5, 2, 0.1, 0.2, dtype=torch.half), TypeError, "float16"),
    "integers": (lambda: parity.gradient(W4.long(), A4, X4, Y4, 2), TypeError, "W must be float32 or float64"),
    "complex": (lambda: parity.population_gradient(W4 + 0j, A4, (0, 1), 2), TypeError, "complex64"),
    "a batch of 0": (lambda: parity.train(4, 2, 3, 0, 2, 0.1, 0.2), ValueError, "batch .* at least 1, got 0"),
    "an empty batch": (lambda: parity.gradient(W4, A4, X4[:0], Y4[:0], 2), ValueError, "X .* none of them empty"),
    "a sample of 0": (lambda: parity.sample(0, 4, (0,), generator()), ValueError, "batch .* at least 1, got 0"),
    "mixed precision": (lambda: parity.gradient(W4.double(), A4.double(), X4, Y4, 2), ValueError, "one precision"),
    "labels that do not fit": (lambda: parity.gradient(W4, A4, X4, torch.ones(3), 2), ValueError, "one label per row"),
    "columns that do not fit": (lambda: parity.predict(W4, A4, torch.ones(2, 5), 2), ValueError, "d = 4 columns"),
    "NaN": (lambda: parity.gradient(W4 * math.nan, A4, X4, Y4, 2), ValueError, "W must hold finite numbers"),
    "overflow": (lambda: parity.gradient(W4 * 1e30, A4, X4, Y4, 4), ArithmeticError, "overflows"),
    "output overflow": (lambda: parity.predict(W4 * 1e30, A4, X4, 4), ArithmeticError, "overflows"),
    "an unknown update": (lambda: parity.train(4, 2, 3, 5, 2, 0.1, 0.2, update="adam"), ValueError, "'sign' or 'sgd'"),
    "a flip of 1": (lambda: parity.sample(5, 4, (0,), generator(), flip=1.0), ValueError, "flip"),
    "no rotation": (lambda: parity.train(4, 2, 3, 5, 2, 0.1, 0.2, rotation=torch.ones(4, 4)), ValueError, "orthogonal"),
    "a query too large": (lambda: parity.SqAdversary(4, 2, 0.1).answer(lambda X, y: 2 * y), ValueError, r"\[-1, 1\]"),
    "a query of NaN": (lambda: parity.SqAdversary(4, 2, 0.1).answer(lambda X, y: y / 0 * 0), ValueError, "nan"),
    "a query's shape": (lambda: parity.SqAdversary(4, 2, 0.1).answer(lambda X, y: X), ValueError, "one value per row"),
    "tau of 0": (lambda: parity.SqAdversary(4, 2, 0.0), ValueError, "tau .* above 0"),
    "no query": (lambda: parity.SqAdversary(4, 2, 0.1).answer(None), TypeError, "a query must be a function"),
    "eta in words": (lambda: parity.train(4, 2, 3, 5, 2, "0.1", 0.2), TypeError, "eta must be a real number"),
    "rho a truth": (lambda: parity.dead_zone_sign(X4, False), TypeError, "rho must be a real number"),
    "rho two numbers": (lambda: parity.dead_zone_sign(X4, X4[0]), TypeError, "rho must be a real number"),
    "a sparse tensor": (lambda: parity.gradient(W4.to_sparse(), A4, X4, Y4, 2), TypeError, "W must be a dense tensor"),
    "no device": (lambda: parity.train(4, 2, 3, 5, 2, 0.1, 0.2, device="nowhere"), ValueError, "device must be one"),
    "a seed too large": (lambda: parity.train(4, 2, 3, 5, 2, 0.1, 0.2, seed=2**64), ValueError, "seed .* at most"),
    "a batch beyond memory": (lambda: parity.sample(10**18, 10, (0,), generator()), ValueError, "batch times d"),
    "population overflow": (
        lambda: parity.population_gradient(W4 * 1e30, A4, (0, 1, 2), 3),
        ArithmeticError,
        "overflows",
    ),
    "counts of no patterns": (lambda: parity.coverage(torch.ones(2, 70), A4[:2], range(70)), ValueError, "at most 24"),
    "output weights that are no signs": (lambda: parity.coverage(W4, A4 / 2, (0,)), ValueError, "a must hold signs"),
    "a rotation of another size": (
        lambda: parity.accuracy(W4, A4, (0, 1), 2, 9, generator(), torch.eye(3)),
        ValueError,
        "rotation must be",
    ),
    "a late time": (lambda: parity.bad_neuron(2**63, 0.1, 2, 0.2), ValueError, "t must be an integer of at most"),
    "a moment no float holds": (lambda: parity.batch_for_sign(100, 1000, 0.6, 0.9), ValueError, "too large for a"),
    "an exact one": (lambda: parity.rademacher_moment(60, 600), ValueError, "too large for a float"),
    "a guarantee beyond floats": (
        lambda: parity.guarantee(200, 100, 0.1, 0.1, 0.001, 1.8),
        ValueError,
        "batch is too large",
    ),
    "no generator": (lambda: parity.sign_agreement(3, 9, 0.6, 9, 8, None), TypeError, "generator must be a torch"),
    "no generator for the game": (lambda: parity.greedy_game(6, 2, 0.3, None), TypeError, "generator must be a torch"),
    "another generator": (
        lambda: parity.counted_gradient(W4, A4, (0, 1), 2, 9, generator()),
        TypeError,
        "rng must be a numpy",
    ),
    "fractions of NaN": (lambda: parity.batch_reaching(0.9, lambda b: [math.nan]), ValueError, r"all in \[0, 1\]"),
    "no fractions": (lambda: parity.batch_reaching(0.9, lambda b: []), ValueError, "at least one number"),
    "a curve with NaN": (lambda: parity.crossing([1, 2], [math.nan, 1], 0.9), ValueError, "finite"),
    "a curve out of order": (lambda: parity.crossing([2, 1], [0.1, 1], 0.9), ValueError, "increasing"),
    "a slope at one place": (lambda: parity.slope([2, 2], [1, 2]), ValueError, "two different numbers"),
    "a slope to infinity": (lambda: parity.slope([1, 2], [1, math.inf]), ValueError, "positive and finite"),
    "negative counts": (lambda: parity.ideal_margins(-torch.ones(4), 2), ValueError, "at least 0"),
    "counts in a list": (lambda: parity.ideal_margins([1, 1, 1, 1], 2), TypeError, "counts must be a tensor"),
    "decay below 0": (
        lambda: parity.train_relu(6, 2, 8, 8, 3, 0.1, "lion", weight_decay=-1.0),
        ValueError,
        "weight_decay",
    ),
    "d too large to enumerate": (lambda: parity.SqAdversary(40, 2, 0.1), ValueError, "at most 16"),
}


@pytest.fixture
def unannotated():
    """A user without a type checker: annotations are not looked at, the library's own words come through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unannotated")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_sentence(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
