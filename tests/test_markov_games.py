"""Markov games: every quantity by a second road, every inequality on random and on adversarial mixtures, bad input."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import multinomial
from tenpapers.markov_games import (
    BayesPredictor,
    GeneralMixture,
    HistoryFreeMixture,
    PureMixture,
    QueryCounter,
    aldous_search,
    bound,
    delta,
    divergences,
    exact_value,
    extract_nash,
    games,
    general,
    general_gap,
    kibitzer,
    learners,
    markov_gap,
    mutual_information,
    nash_gap,
    peers,
    posterior_path,
    sampled_values,
    sequences,
    snake,
    stage_gaps,
    trie_value,
)

SHAPLEY = games.shapley()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def simplex(generator, concentration, *shape):
    """Dirichlet rows; concentration 0 is pure actions, which brings probabilities of exactly 0."""
    if concentration == 0:
        return np.eye(shape[-1])[generator.integers(shape[-1], size=shape[:-1])]
    return generator.dirichlet(np.full(shape[-1], concentration), size=shape[:-1])


def random_mixture(seed, T, H, n=(2, 3), concentration=0.5):
    generator = rng(seed)
    return HistoryFreeMixture(*(simplex(generator, concentration, T, H, k) for k in n))


def random_policies(seed, T, H, actions, concentration=0.5):
    generator, joint = rng(seed), math.prod(actions)
    return [[simplex(generator, concentration, T, joint**h, n) for h in range(H)] for n in actions]


shapes = st.tuples(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 4),
    st.just((2, 3)),
    st.sampled_from([0, 0.1, 0.5, 3.0]),
)


def history_regret(policies, rewards, player):
    """max over deterministic history-dependent deviations of sum_t [V(deviation, sigma^t) - V(sigma^t)], by
    enumeration: every function from (step, history) to actions, each policy t on its own."""
    T, H = policies[0][0].shape[0], len(policies[0])
    actions = [p[0].shape[2] for p in policies]
    joint = list(itertools.product(*(range(n) for n in actions)))
    points = [(h, index) for h in range(H) for index in range(len(joint) ** h)]

    def value(t, choose):
        total, frontier = 0.0, {0: 1.0}
        for h in range(H):
            later = {}
            for index, weight in frontier.items():
                rows = [p[h][t, index if p[h].shape[1] > 1 else 0] for p in policies]
                if choose is not None:
                    rows[player] = np.eye(actions[player])[choose[(h, index)]]
                for number, a in enumerate(joint):
                    probability = weight * math.prod(row[k] for row, k in zip(rows, a, strict=True))
                    if probability:
                        total += probability * rewards[a]
                        child = index * len(joint) + number
                        later[child] = later.get(child, 0.0) + probability
            frontier = later
        return total / H

    base = sum(value(t, None) for t in range(T))
    plans = itertools.product(range(actions[player]), repeat=len(points))
    return max(sum(value(t, dict(zip(points, plan, strict=True))) for t in range(T)) for plan in plans) - base


# Gaps


def test_nash_gap_is_zero_at_equilibria_found_by_two_other_programs():
    for seed in range(5):
        A, B = games.random_game(3, 3, rng(seed))
        x, y, _ = peers.lemke_howson(A, B)
        found = peers.support_enumeration(A, B)
        assert min(np.abs(x - u).max() + np.abs(y - v).max() for u, v in found) < 1e-9
        assert max(nash_gap(u, v, A, B) for u, v in [(x, y), *found]) < 1e-12


def test_an_oracle_that_goes_in_circles_says_so():
    """At d = 18 double precision loses the path."""
    with pytest.raises(ArithmeticError, match="did not end within 2000000 pivots"):
        peers.lemke_howson(*games.long_path(18))


def test_an_oracle_leaves_the_number_of_threads_alone():
    before = torch.get_num_threads()
    peers.lemke_howson(*games.shapley())
    assert torch.get_num_threads() == before


def test_nash_gap_of_a_pure_profile_by_hand():
    A, B = games.dilemma()
    assert nash_gap([1, 0], [1, 0], A, B) == pytest.approx(0.4)
    assert nash_gap([0, 1], [0, 1], A, B) == 0.0


@pytest.mark.parametrize("concentration", [0, 0.5])
def test_general_gap_is_general_regret_divided_by_T(concentration):
    A, B = games.random_game(2, 2, rng(3))
    mixture = random_mixture(1, 3, 2, (2, 2), concentration)
    policies = general(mixture).policies
    regrets = np.array([history_regret(policies, U, i) for i, U in enumerate((A, B))])
    assert_allclose(general_gap(mixture, A, B).per_player, regrets / 3, atol=1e-12)


def test_general_gap_of_history_dependent_policies_is_their_regret():
    A, B = games.random_game(2, 2, rng(5))
    policies = random_policies(2, 3, 2, (2, 2))
    regrets = np.array([history_regret(policies, U, i) for i, U in enumerate((A, B))])
    found = general_gap(GeneralMixture(policies), A, B)
    assert_allclose(found.per_player, regrets / 3, atol=1e-12)
    assert found.value == found.per_player.max()


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 10**6))
def test_the_full_tree_of_joint_actions_and_the_tree_of_opponent_actions_agree(shape, seed):
    mixture = random_mixture(*shape)
    A, B = games.random_game(2, 3, rng(seed))
    assert_allclose(
        general_gap(mixture, A, B).per_player, general_gap(general(mixture), A, B).per_player, atol=1e-12, rtol=0
    )


def bayes_greedy_value(X, U):
    """The same deviation value by recursion: one predictor per history, rewards against the true policies."""
    T, H, n = X.shape

    def below(h, history):
        if h == H:
            return 0.0
        predictor = BayesPredictor(T)
        for g, b in enumerate(history):
            predictor.update(X[:, g, b])
        weight = np.prod([X[:, g, b] for g, b in enumerate(history)], axis=0) if history else np.ones(T)
        reply = int((U @ predictor.predict(X[:, h])).argmax())
        now = float(weight @ (X[:, h] @ U[reply])) / T
        return now + sum(below(h + 1, (*history, b)) for b in range(n) if (weight * X[:, h, b]).any())

    return below(0, ()) / H


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 10**6))
def test_exact_value_is_what_the_bayes_predictor_earns(shape, seed):
    mixture = random_mixture(*shape)
    U = rng(seed).random((2, 3))
    assert_allclose(exact_value(mixture.X2, U), bayes_greedy_value(mixture.X2, U), atol=1e-12)


@pytest.mark.parametrize(
    ("T", "H", "n", "concentration"), [(9, 5, 3, 0.5), (40, 9, 2, 0.2), (6, 4, 4, 0), (3, 7, 3, 5.0)]
)
def test_monte_carlo_agrees_with_exact_within_its_standard_error(T, H, n, concentration):
    A, B = games.random_game(n, n, rng(T))
    mixture = random_mixture(H, T, H, (n, n), concentration)
    exact = general_gap(mixture, A, B)
    estimate = general_gap(mixture, A, B, "monte_carlo", samples=4000, generator=torch.Generator().manual_seed(1))
    assert estimate.standard_error > 0
    assert np.abs(estimate.per_player - exact.per_player).max() <= 4.5 * estimate.standard_error
    assert exact.standard_error == 0.0


def test_monte_carlo_standard_error_is_calibrated():
    U = games.random_game(3, 3, rng(8))[0]
    X = random_mixture(8, 5, 4, (3, 3)).X1
    exact = exact_value(X, U)
    z = []
    for seed in range(60):
        drawn = sampled_values(X, U, 400, torch.Generator().manual_seed(seed))
        z.append((float(drawn.mean()) - exact) / (float(drawn.std()) / 20))
    assert 0.7 < np.std(z) < 1.3
    assert abs(np.mean(z)) < 0.5


def test_monte_carlo_survives_long_episodes_of_nearly_certain_policies():
    """900 steps with probabilities down to 1e-300: weights would underflow if they were plain products."""
    X = np.tile(np.array([[[1.0, 1e-300]], [[1e-300, 1.0]], [[0.5, 0.5]]]), (1, 900, 1))
    drawn = sampled_values(X, np.eye(2), 60, torch.Generator().manual_seed(0))
    assert torch.isfinite(drawn).all()
    recognised = drawn > 0.99  # two of the three policies show themselves at once, the third is a fair coin
    assert (recognised | ((drawn - 0.5).abs() < 0.01)).all()
    assert 0.4 < float(recognised.double().mean()) < 0.9


def test_monte_carlo_of_one_step_is_exact():
    """There is nothing to remember: every episode has the same expected reward."""
    mixture = random_mixture(3, 50, 1)
    A, B = games.random_game(2, 3, rng(3))
    estimate = general_gap(mixture, A, B, "monte_carlo", 10)
    assert_allclose(estimate.per_player, general_gap(mixture, A, B).per_player, atol=1e-12)
    assert 0 < estimate.standard_error < 1e-9


def test_monte_carlo_takes_a_numpy_generator_and_repeats_itself():
    mixture = random_mixture(0, 4, 3)
    A, B = games.random_game(2, 3, rng(0))
    first, second = (general_gap(mixture, A, B, "monte_carlo", 50, rng(4)).value for _ in range(2))
    assert first == second == pytest.approx(general_gap(mixture, A, B, "monte_carlo", 50, rng(4)).value)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6), st.booleans()
)
def test_trie_exact_and_dictionary_agree_on_pure_policies(T, H, n, own, seed, duplicated):
    S = rng(seed).integers(n, size=(T, H))
    if duplicated:
        S[T // 2 :] = S[: T - T // 2]
    U = rng(seed + 1).random((own, n))
    value = trie_value(S, U)
    assert_allclose(value, exact_value(np.eye(n)[S], U), atol=1e-12)
    assert_allclose(value, peers.dictionary_trie_value(S.tolist(), U.tolist()), atol=1e-12)


def test_trie_takes_sequences_longer_than_one_integer():
    S = rng(1).integers(3, size=(60, 120))
    S[30:45] = S[:15]
    S[45:, :100] = S[15:30, :100]
    U = rng(2).random((3, 3))
    assert_allclose(trie_value(S, U), peers.dictionary_trie_value(S.tolist(), U.tolist()), atol=1e-12)


def test_general_gap_of_pure_mixtures_is_one_number_by_every_method():
    S = rng(3).integers(3, size=(2, 50, 5))
    pure = PureMixture(S[0], S[1], (3, 3))
    dense = pure.dense()
    numbers = [general_gap(m, *SHAPLEY, method).per_player for m in (pure, dense) for method in ("trie", "exact")]
    assert_allclose(numbers, [numbers[0]] * 4, atol=1e-12)
    assert_allclose(markov_gap(pure, *SHAPLEY).per_player, markov_gap(dense, *SHAPLEY).per_player, atol=1e-12)


def test_openspiel_finds_the_same_gaps():
    """Numbers of pyspiel.cce_dist (OpenSpiel 2.0.2), of the same mixtures, by peers.openspiel_gap."""
    recorded = {
        (1, 8): [0.052591531756021326, 0.1464725341552806],
        (2, 8): [0.1988314087252013, 0.1478355495474334],
        (3, 32): [0.10452318793035058, 0.04748973410034041],
    }
    for (H, T), theirs in recorded.items():
        ours = general_gap(random_mixture(H, T, H, (3, 3)), *SHAPLEY).per_player
        assert_allclose(np.maximum(ours, 0), theirs, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 10**6))
def test_general_deviations_gain_at_least_what_markov_deviations_gain(shape, seed):
    mixture = random_mixture(*shape)
    A, B = games.random_game(2, 3, rng(seed))
    assert (general_gap(mixture, A, B).per_player >= markov_gap(mixture, A, B).per_player - 1e-12).all()


def test_markov_gap_is_the_general_gap_when_t_is_drawn_at_every_step():
    """Drawing t per step makes the support T^H: the Cartesian product of the steps' policies."""
    mixture = random_mixture(4, 3, 3)
    A, B = games.random_game(2, 3, rng(4))
    index = np.array(list(itertools.product(range(3), repeat=3)))  # (27, 3)
    spread = HistoryFreeMixture(*(X[index, np.arange(3)] for X in (mixture.X1, mixture.X2)))
    assert_allclose(general_gap(spread, A, B).per_player, markov_gap(mixture, A, B).per_player, atol=1e-12)


def test_duplicated_policies_change_nothing():
    mixture = random_mixture(6, 4, 3)
    doubled = HistoryFreeMixture(np.tile(mixture.X1, (2, 1, 1)), np.tile(mixture.X2, (2, 1, 1)))
    A, B = games.random_game(2, 3, rng(6))
    assert_allclose(general_gap(doubled, A, B).per_player, general_gap(mixture, A, B).per_player, atol=1e-12)


def test_gaps_below_zero_are_not_clipped():
    """T = 3^8 sequences of two steps: the deviator learns nothing and earns 1/3 where playing along earns 1/2."""
    gap = general_gap(sequences.draw(3**8, 2, rng(0)), *SHAPLEY, "trie")
    assert gap.value == pytest.approx(-1 / 6, abs=0.02)
    assert (gap.per_player < 0).all()
    policies = games.grim_trigger(1)
    policies[0][0][0, 0] = [0.0, 1.0]  # both defect: leaving loses
    policies[1][0][0, 0] = [0.0, 1.0]
    assert general_gap(GeneralMixture(policies), *games.dilemma()).value == 0.0


def test_the_deviator_does_not_see_t():
    """One step, two pure policies in equal parts: who saw t would earn 1, who does not earns 1/2."""
    X = np.eye(2)[:, None, :]
    for value in (exact_value(X, np.eye(2)), trie_value(np.array([[0], [1]]), np.eye(2))):
        assert value == 0.5
    assert float(sampled_values(X, np.eye(2), 10, torch.Generator().manual_seed(0)).mean()) == 0.5
    mixture = HistoryFreeMixture(np.full((2, 1, 2), 0.5), X)
    assert general_gap(general(mixture), np.eye(2), np.eye(2)).per_player[0] == pytest.approx(0.0)


def test_t_is_drawn_once_per_episode():
    """Two pure constant policies: after one step the deviator knows which, and wins every later step."""
    X = np.repeat(np.eye(2)[:, None, :], 10, axis=1)
    assert exact_value(X, np.eye(2)) == pytest.approx(0.95)
    drawn = sampled_values(X, np.eye(2), 50, torch.Generator().manual_seed(0))
    assert_allclose(drawn.numpy(), 0.95)


def test_the_deviators_own_actions_say_nothing_about_t():
    """Player 1's own policies reveal t, player 2's do not: a deviation of player 1 cannot use that."""
    X1 = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    X2 = np.stack([np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.0, 1.0]])])
    mixture = general(HistoryFreeMixture(X1, X2))
    found = general_gap(mixture, np.eye(2), 1 - np.eye(2))
    assert found.per_player[0] == pytest.approx(0.5 - 0.75)  # 1/2 at both steps; playing along earns (1/2 + 1) / 2


def test_lemke_howson_walks_as_far_as_savani_and_von_stengel_say():
    """Pivots when the first label is dropped: 4, 20, then four times the last plus the one before plus 4."""
    expected = [4, 20]
    while len(expected) < 8:
        expected.append(4 * expected[-1] + expected[-2] + 4)
    for d, pivots in zip((2, 4, 6, 8, 10, 12, 14, 16), expected, strict=True):
        A, B = games.long_path(d)
        x, y, found = peers.lemke_howson(A, B)
        assert found == pivots
        assert nash_gap(x, y, A, B) < 1e-12
        assert min(A.min(), B.min()) == 0.0
        assert max(A.max(), B.max()) == 1.0


# Aggregation


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_log_loss_is_mutual_information_and_both_bounds_hold(shape):
    mixture = random_mixture(*shape)
    X = mixture.X2
    found = divergences(X)
    information = mutual_information(X)
    assert found.kl.sum() == pytest.approx(information, abs=1e-10)
    assert found.kl.sum() <= math.log(len(X)) + 1e-12
    assert found.tv.mean() <= delta(len(X), X.shape[1]) + 1e-12


def test_identical_policies_carry_no_information():
    X = np.repeat(simplex(rng(0), 1.0, 1, 4, 3), 5, axis=0)
    found = divergences(X)
    assert_allclose(found.kl, 0, atol=1e-14)
    assert_allclose(found.tv, 0, atol=1e-14)


def test_pure_distinct_policies_reach_log_T():
    X = np.eye(2)[np.array(list(itertools.product((0, 1), repeat=3)))]
    assert divergences(X).kl.sum() == pytest.approx(math.log(8))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_the_posterior_is_bayes_rule(T, seed):
    likelihoods = rng(seed).random((7, T))
    predictor = BayesPredictor(T)
    for likelihood in likelihoods:
        predictor.update(likelihood)
    product = likelihoods.prod(axis=0)
    assert_allclose(predictor.posterior, product / product.sum(), rtol=1e-10)
    P = simplex(rng(seed), 1.0, T, 3)
    assert_allclose(predictor.predict(P), product @ P / product.sum(), rtol=1e-10)


def test_the_predictor_is_safe_at_probability_zero_and_over_long_episodes():
    predictor = BayesPredictor(3)
    predictor.update([0.0, 0.5, 0.5])
    for _ in range(5000):
        predictor.update([0.9, 1e-4, 1e-5])
    assert_allclose(predictor.posterior, [0, 1, 0], atol=1e-12)
    with pytest.raises(ValueError, match="impossible under every policy"):
        predictor.update([1.0, 0.0, 0.0])
    assert_allclose(predictor.posterior, [0, 1, 0], atol=1e-12)


def test_posterior_path_ends_on_the_policy_that_is_played():
    X = np.eye(3)[rng(0).integers(3, size=(6, 12))]
    posteriors, predictions = posterior_path(X, 4, torch.Generator().manual_seed(0))
    assert posteriors.shape == (13, 6)
    assert posteriors[-1, 4] == pytest.approx(1.0)
    assert_allclose(posteriors.sum(axis=1), 1)
    assert_allclose(predictions[-1], X[4, -1])


# The two-player reduction


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10**6))
def test_the_two_player_bound_holds(shape, seed):
    mixture = random_mixture(*shape)
    A, B = games.random_game(2, 3, rng(seed))
    T, H = mixture.T, mixture.H
    gap = general_gap(mixture, A, B)
    average = stage_gaps(mixture, A, B).mean(axis=(0, 1))
    assert (average <= gap.per_player + 2 * delta(T, H) + 1e-12).all()
    assert average.sum() <= bound(T, H, gap.value) + 1e-12
    found = extract_nash(mixture, A, B)
    assert found.gap <= bound(T, H, gap.value) + 1e-12
    assert found.gap == pytest.approx(nash_gap(found.x, found.y, A, B), abs=1e-15)
    assert_allclose(found.x, mixture.X1[found.t, found.h])


def test_extract_nash_finds_the_smallest_stage_gap():
    mixture = random_mixture(9, 4, 3)
    A, B = games.random_game(2, 3, rng(9))
    every = [nash_gap(mixture.X1[t, h], mixture.X2[t, h], A, B) for t in range(mixture.T) for h in range(mixture.H)]
    found = extract_nash(mixture, A, B)
    assert found.gap == pytest.approx(min(every), abs=1e-15)
    assert found.t * mixture.H + found.h == int(np.argmin(every))


def test_a_repeated_equilibrium_is_an_exact_one_sparse_cce():
    A, B = games.random_game(3, 3, rng(11))
    x, y = peers.support_enumeration(A, B)[0]
    mixture = HistoryFreeMixture(np.tile(x, (1, 6, 1)), np.tile(y, (1, 6, 1)))
    assert general_gap(mixture, A, B).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("H", [1, 2, 3, 5])
def test_grim_trigger_defeats_the_two_player_reduction(H):
    gap = general_gap(GeneralMixture(games.grim_trigger(H)), *games.dilemma())
    assert gap.value == pytest.approx(0.4 / H, abs=1e-12)


# The Kibitzer game


def test_rewards_by_hand():
    M = [rng(j).random((2, 3)) for j in range(2)]
    rewards = kibitzer.game(M, 2).rewards
    assert rewards.shape == (3, 2, 3, 5)
    for a, b, k in itertools.product(range(2), range(3), range(5)):
        j, advised = (0, k) if k < 2 else (1, k - 2)
        gain = M[j][(advised, b) if j == 0 else (a, advised)] - M[j][a, b]
        wanted = np.zeros(3)
        wanted[j], wanted[2] = -gain, gain
        assert_allclose(rewards[:, a, b, k], wanted)
    assert_allclose(rewards.sum(axis=0), 0)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 5, 9]),
    st.integers(1, 3),
    st.integers(2, 3),
    st.sampled_from([0, 0.1, 0.5, 3.0]),
)
def test_the_kibitzer_bound_holds(seed, T, H, m, concentration):
    H = min(H, 2) if m == 3 else H
    game = kibitzer.game([rng(seed + j).random((2,) * m) for j in range(m)], H)
    mixture = game.mixture(random_policies(seed, T, H, game.actions, concentration))
    gaps, found = kibitzer.gaps(mixture), kibitzer.extract(mixture)
    assert gaps.values.sum() == pytest.approx(0, abs=1e-12)
    assert_allclose(gaps.gaps, gaps.best_responses - gaps.values)
    assert (found.total_variation <= delta(T, H) + 1e-12).all()
    assert found.value <= gaps.best_responses[-1] + 1e-12
    assert found.value >= found.average_gap - (2 * m - 1) * found.total_variation.max() - 1e-12
    assert found.average_gap <= kibitzer.bound(T, H, m, gaps.gaps.max()) + 1e-12
    assert found.minimum_gap <= found.average_gap + 1e-12
    assert found.minimum_gap == pytest.approx(kibitzer.profile_gap(found.profile, game.payoffs), abs=1e-12)


def test_kibitzer_gaps_by_enumeration_of_deviations():
    game = kibitzer.game([rng(j).random((2, 1)) for j in range(2)], 2)  # 2 x 1 x 3 joint actions: 7 decision points
    mixture = game.mixture(random_policies(0, 2, 2, game.actions))
    for player in range(3):
        regret = history_regret(mixture.policies.policies, game.rewards[player], player)
        assert kibitzer.gaps(mixture).gaps[player] == pytest.approx(regret / 2, abs=1e-12)


@pytest.mark.parametrize("m", [2, 3])
def test_rollout_agrees_with_exact(m):
    H = 3 if m == 2 else 2
    game = kibitzer.game([rng(j).random((2,) * m) for j in range(m)], H)
    mixture = game.mixture(random_policies(3, 4, H, game.actions))
    exact = kibitzer.extract(mixture)
    rolled = kibitzer.extract(mixture, "rollout", episodes=1500, generator=torch.Generator().manual_seed(0))
    assert rolled.average_gap == pytest.approx(exact.average_gap, abs=0.02)
    assert rolled.value == pytest.approx(exact.value, abs=0.03)
    assert_allclose(rolled.total_variation, exact.total_variation, atol=0.03)
    assert rolled.minimum_gap >= exact.minimum_gap - 1e-12


def test_each_players_posterior_uses_its_own_actions_only():
    """Player 1's actions reveal t, player 2's do not until the last step: its prediction there must stay mixed."""
    game = kibitzer.game([rng(j).random((2, 2)) for j in range(2)], 2)
    first = [np.eye(2)[:, None, :], np.eye(2)[:, None, :]]
    second = [np.full((2, 1, 2), 0.5), np.eye(2)[:, None, :]]
    onlooker = [np.full((2, 1, 4), 0.25)] * 2
    found = kibitzer.extract(game.mixture([first, second, onlooker]))
    assert_allclose(found.total_variation, [0.25, 0.25])  # (1/2 + 0) / 2 and (0 + 1/2) / 2


def test_policies_that_ignore_history_may_be_given_by_one_row():
    game = kibitzer.game([rng(j).random((2, 2)) for j in range(2)], 3)
    short = [[simplex(rng(7 + j), 1.0, 3, 1, n) for _ in range(3)] for j, n in enumerate(game.actions)]
    full = [[np.repeat(step, 16**h, axis=1) for h, step in enumerate(player)] for player in short]
    one, two = (kibitzer.extract(game.mixture(p)) for p in (short, full))
    assert one.average_gap == pytest.approx(two.average_gap)
    assert_allclose(*(kibitzer.gaps(game.mixture(p)).gaps for p in (short, full)))
    rolled = [kibitzer.extract(game.mixture(p), "rollout", 20, torch.Generator().manual_seed(1)) for p in (short, full)]
    assert rolled[0].value == pytest.approx(rolled[1].value)


def kibitzer_grim(H):
    """Grim trigger of both players in the Kibitzer game, the Kibitzer uniform."""

    def step(h):
        untouched = [all((i // 16**g) % 16 < 4 for g in range(h)) for i in range(16**h)]
        return np.eye(2)[np.where(untouched, 0, 1)][None]

    players = [step(h) for h in range(H)]
    return [players, players, [np.full((1, 1, 4), 0.25)] * H]


@pytest.mark.parametrize("H", [1, 2, 3])
def test_the_kibitzer_sees_through_grim_trigger(H):
    mixture = kibitzer.game(games.dilemma(), H).mixture(kibitzer_grim(H))
    gaps, found = kibitzer.gaps(mixture), kibitzer.extract(mixture)
    assert_allclose(gaps.values, [-0.1, -0.1, 0.2], atol=1e-12)
    assert gaps.gaps.max() == pytest.approx(0.2)
    assert found.average_gap == pytest.approx(0.4)
    assert found.average_gap <= kibitzer.bound(1, H, 2, gaps.gaps.max()) == pytest.approx(0.6)


def test_bounds_in_closed_form():
    assert kibitzer.bound(100, 50, 2, 0.1) == pytest.approx(0.3 + 7 * math.sqrt(math.log(100) / 100))
    assert kibitzer.bound(100, 50, 3, 0.1) == pytest.approx(0.4 + 17 * math.sqrt(math.log(100) / 100))
    assert bound(100, 50, 0.1) == pytest.approx(0.2 + 4 * math.sqrt(math.log(100) / 100))
    assert delta(1, 7) == 0.0


# Learners


def test_hedge_and_its_optimistic_sister_step_by_step():
    A, B = games.random_game(2, 3, rng(0))
    plain, hopeful = learners.hedge(A, B, 6, 2, seed=4, jitter=0.7), learners.optimistic_hedge(A, B, 6, 2, 4, 0.7, 0.3)
    start = np.random.default_rng(4)
    L1, L2 = 0.7 * start.standard_normal((2, 2)), 0.7 * start.standard_normal((2, 3))
    K1, K2, g1, g2 = L1.copy(), L2.copy(), 0.0, 0.0

    def soft(z):
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    for t in range(6):
        x = soft(2 * math.sqrt(math.log(2) / (t + 1)) * L1)
        y = soft(2 * math.sqrt(math.log(3) / (t + 1)) * L2)
        assert_allclose(plain.X1[t], x)
        assert_allclose(plain.X2[t], y)
        L1, L2 = L1 + y @ A.T, L2 + x @ B
        u, v = soft(0.3 * (K1 + g1)), soft(0.3 * (K2 + g2))
        assert_allclose(hopeful.X1[t], u)
        assert_allclose(hopeful.X2[t], v)
        g1, g2 = v @ A.T, u @ B
        K1, K2 = K1 + g1, K2 + g2


def test_without_jitter_hedge_sits_on_shapleys_equilibrium():
    mixture = learners.hedge(*SHAPLEY, 50, 3, jitter=0.0)
    assert stage_gaps(mixture, *SHAPLEY).max() < 1e-12


def test_markov_regret_of_hedge_falls():
    gaps = [markov_gap(learners.hedge(*SHAPLEY, T, 4, jitter=3.0), *SHAPLEY).value for T in (50, 800)]
    assert gaps[1] < 0.02 < gaps[0]


def test_mirror_step_solves_its_problem():
    x, gain = simplex(rng(0), 1.0, 5, 4), rng(1).normal(size=(5, 4)) * 2
    ours = learners.mirror_step(x, gain)
    assert_allclose(ours.sum(axis=1), 1)
    for row, g, z in zip(x, gain, ours, strict=True):

        def loss(p, row=row, g=g):
            return -g @ p + ((p + 0.25) * (np.log((p + 0.25) / (row + 0.25)))).sum() - (p - row).sum()

        found = minimize(
            loss, np.full(4, 0.25), bounds=[(0, 1)] * 4, constraints={"type": "eq", "fun": lambda p: p.sum() - 1}
        )
        assert loss(z) <= found.fun + 1e-7
        assert_allclose(z, found.x, atol=2e-3)


def test_layered_omd_has_vanishing_general_regret_where_hedge_has_not():
    T = 3000
    layered = general_gap(learners.layered_omd(*SHAPLEY, T, 3), *SHAPLEY)
    plain = general_gap(learners.hedge(*SHAPLEY, T, 3, jitter=3.0), *SHAPLEY)
    assert layered.value < 0.02 < 0.1 < plain.value


def test_layered_omd_step_by_step():
    """Layer h learns with eta0 T^(-(3 (H - h) + 1) / (3H + 1)), h from 1; each step by a general optimiser."""
    A, B = games.random_game(2, 2, rng(3))
    T, H, eta0 = 8, 2, 1.7
    mixture = learners.layered_omd(A, B, T, H, seed=2, jitter=0.6, eta0=eta0)
    start = np.random.default_rng(2)
    centre = [0.6 * start.standard_normal((H, 2)) for _ in range(2)]
    centre = [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in centre]

    def step(x, gain):
        """argmax over p in [0, 1] of gain . (p, 1 - p) - D((p, 1 - p), x), by its first-order condition."""
        low, high = 0.0, 1.0
        for _ in range(60):
            p = (low + high) / 2
            slope = gain[0] - gain[1] - math.log((p + 0.5) / (x[0] + 0.5)) + math.log((1.5 - p) / (x[1] + 0.5))
            low, high = (p, high) if slope > 0 else (low, p)
        return np.array([low, 1 - low])

    last = [np.zeros((H, 2)), np.zeros((H, 2))]
    for t in range(3):
        played = [np.empty((H, 2)), np.empty((H, 2))]
        for i, h in itertools.product((0, 1), range(H)):
            rate = eta0 * T ** (-(3 * (H - (h + 1)) + 1) / (3 * H + 1))
            played[i][h] = step(centre[i][h], rate * last[i][h])
            assert_allclose((mixture.X1, mixture.X2)[i][t, h], played[i][h], atol=1e-9)
        last = [played[1] @ A.T, played[0] @ B]
        for i, h in itertools.product((0, 1), range(H)):
            rate = eta0 * T ** (-(3 * (H - (h + 1)) + 1) / (3 * H + 1))
            centre[i][h] = step(centre[i][h], rate * last[i][h])


def test_layered_omd_of_unequal_action_counts_is_mirror_steps_player_by_player():
    A, B = games.random_game(2, 3, rng(5))
    found = learners.layered_omd(A, B, 2, 1, seed=1)
    start = np.random.default_rng(1)
    centre = [np.exp(z) / np.exp(z).sum() for z in (start.standard_normal((1, 2)), start.standard_normal((1, 3)))]
    x, y = (learners.mirror_step(c, np.zeros_like(c)) for c in centre)
    assert_allclose(found.X1[0], x)
    assert_allclose(found.X2[0], y)
    rate = 2.0 ** (-1 / 4)
    gains = [rate * y @ A.T, rate * x @ B]
    for i, (c, g) in enumerate(zip(centre, gains, strict=True)):
        assert_allclose((found.X1, found.X2)[i][1], learners.mirror_step(learners.mirror_step(c, g), g))


def test_v_learning_step_by_step():
    """Weights, values and importance-weighted losses written out, one player and one step of the episode at a time."""
    A, B = games.random_game(2, 3, rng(4))
    K, H, bonus, rate = 6, 3, 0.2, 4.0
    found = learners.v_learning(A, B, K, H, seed=5, bonus=bonus, rate=rate).mixture
    draws = np.random.default_rng(5).random((K, H, 2))
    V = [[float(H - h) for h in range(H + 1)] for _ in range(2)]
    seen = [[[] for _ in range(H)] for _ in range(2)]  # (episode, action, estimated loss)
    alpha = [None, *((H + 1) / (H + k) for k in range(1, K + 1))]
    for k in range(1, K + 1):
        policies = [np.empty((H, n)) for n in A.shape]
        for i, h in itertools.product((0, 1), range(H)):
            n = A.shape[i]
            total = np.zeros(n)
            for episode, action, loss in seen[i][h]:
                past = range(episode + 1, k)
                total[action] += alpha[episode] * math.prod(1 - alpha[j] for j in past) * loss
            weights = np.exp(-rate * math.sqrt(math.log(n) / (n * k)) / alpha[k] * total)
            policies[i][h] = weights / weights.sum()
            assert_allclose((found.X1, found.X2)[i][k - 1, h], policies[i][h], rtol=1e-10)
        before = [list(values) for values in V]
        for h in range(H):
            played = [int((policies[i][h].cumsum()[:-1] <= draws[k - 1, h, i]).sum()) for i in (0, 1)]
            for i, U in enumerate((A, B)):
                n, target = A.shape[i], U[tuple(played)] + before[i][h + 1]
                optimism = bonus * math.sqrt(H**3 * n * math.log(n) / k)
                V[i][h] = min(H - h, (1 - alpha[k]) * before[i][h] + alpha[k] * (target + optimism))
                gamma = math.sqrt(math.log(n) / (n * k))
                loss = (H - target) / H / (policies[i][h][played[i]] + gamma)
                seen[i][h].append((k, played[i], loss))


def test_regret_matching_bounds_its_general_regret_by_node_regrets():
    """Zinkevich's bound: general regret per episode <= sum over nodes of |payoff range| sqrt(n / T)."""
    A, B = games.random_game(2, 2, rng(2))
    for T in (20, 400):
        mixture = learners.regret_matching(A, B, T, 2)
        gap = general_gap(mixture, A, B).value
        assert gap <= 5 * math.sqrt(2 / T) + 5 / T
    assert gap < 0.03
    assert mixture.policies[0][1].shape == (400, 4, 2)


def test_regret_matching_against_a_naive_step():
    """The second policy from the first by counterfactual values written out node by node."""
    A, B = games.random_game(2, 2, rng(6))
    mixture = learners.regret_matching(A, B, 2, 2, seed=9)
    start = np.random.default_rng(9)
    regrets = [[start.random((4**h, 2)) / 2 for h in range(2)] for _ in range(2)]
    p = [[step[0] for step in player] for player in mixture.policies]
    for i in range(2):
        for h in range(2):
            assert_allclose(p[i][h], regrets[i][h] / regrets[i][h].sum(axis=1, keepdims=True))
    last = [[np.outer(p[0][1][n], p[1][1][n]).ravel() @ (U / 2).ravel() for n in range(4)] for U in (A, B)]
    rows = (A / 2 + np.reshape(last[0], (2, 2))) @ p[1][0][0]
    root = regrets[0][0][0] + rows - p[0][0][0] @ rows
    assert_allclose(mixture.policies[0][0][1, 0], np.maximum(root, 0) / np.maximum(root, 0).sum(), atol=1e-12)
    node = 2  # after (1, 0)
    leaf = A / 2 @ p[1][1][node]
    regret = regrets[0][1][node] + p[1][0][0][0] * (leaf - p[0][1][node] @ leaf)
    assert_allclose(mixture.policies[0][1][1, node], np.maximum(regret, 0) / np.maximum(regret, 0).sum(), atol=1e-12)


def output_weights(K, H):
    """(K, K) alpha_k^l = alpha_l prod_{l < i <= k} (1 - alpha_i), written out."""
    alpha = [(H + 1) / (H + k) for k in range(1, K + 1)]
    return np.array(
        [
            [alpha[i] * math.prod(1 - a for a in alpha[i + 1 : k + 1]) if i <= k else 0.0 for i in range(K)]
            for k in range(K)
        ]
    )


@pytest.mark.parametrize(("K", "H"), [(1, 3), (7, 3), (40, 2)])
def test_the_output_policy_moves_back_by_the_weights_of_the_theory(K, H):
    belief = torch.as_tensor(simplex(rng(0), 1.0, 4, K))
    decay = torch.as_tensor(learners._log_decay(K, H))
    assert_allclose(learners._move_back(belief, decay), belief.numpy() @ output_weights(K, H), atol=1e-14)


def test_moving_back_where_the_decay_underflows():
    """Q_K = 1e-363 here: the sum is then rescaled at every episode."""
    belief, decay = torch.as_tensor(simplex(rng(1), 1.0, 3, 1000)), torch.as_tensor(learners._log_decay(1000, 400))
    assert float(decay[-1]) < -600
    moved = learners._move_back(belief, decay)
    assert_allclose(moved.sum(dim=1), 1, atol=1e-12)
    weights = np.exp(np.minimum(0, decay.numpy()[:, None] - decay.numpy()[None, :])) * np.tri(1000)
    alpha = 401 / (400 + np.arange(1, 1001))
    assert_allclose(moved.numpy(), belief.numpy() @ (weights * alpha), atol=1e-12)


def test_the_certified_output_gap_by_unrolling_its_hidden_indices():
    """All index paths (l_1, l_2) as one big mixture: the same gap, exactly."""
    K, H = 5, 2
    A, B = games.random_game(2, 2, rng(1))
    learned = learners.VLearned(random_mixture(2, K, H, (2, 2)))
    weights = output_weights(K, H)
    paths = list(itertools.product(range(K), repeat=H))
    start = np.full(K, 1 / K) @ weights
    copies = [round(start[a] * weights[a, b] * 10**5) for a, b in paths]
    index = np.repeat(np.array(paths), copies, axis=0)
    X = [part[index, np.arange(H)] for part in (learned.mixture.X1, learned.mixture.X2)]
    exact = general_gap(HistoryFreeMixture(*X), A, B)
    found = learned.output_gap(A, B, samples=4000, generator=torch.Generator().manual_seed(0))
    assert_allclose(found.per_player, exact.per_player, atol=4.5 * found.standard_error + 1e-3)


def test_v_learning_learns_a_dominant_action_from_its_own_rewards():
    A = np.array([[0.9, 0.8], [0.1, 0.0]])
    learned = learners.v_learning(A, A.T, 2000, 2, rate=20)
    assert (learned.mixture.X1[-1, :, 0] > 0.9).all()
    assert (learned.mixture.X2[-1, :, 0] > 0.9).all()
    early = learners.VLearned(HistoryFreeMixture(learned.mixture.X1[:100], learned.mixture.X2[:100]))
    assert learned.output_gap(A, A.T, 50).value < 0.15 < early.output_gap(A, A.T, 50).value


def test_learners_repeat_themselves_and_differ_by_seed():
    for learner in (learners.hedge, learners.optimistic_hedge, learners.layered_omd):
        one, two, three = (learner(*SHAPLEY, 5, 2, seed=s).X1 for s in (3, 3, 4))
        assert (one == two).all()
        assert (one != three).any()
    one, two = (learners.regret_matching(*SHAPLEY, 3, 2, seed=s).policies[0][1] for s in (1, 1))
    assert (one == two).all()


# Correlated sequences


@pytest.mark.parametrize("N", [1, 2, 3, 5, 9])
def test_largest_share_by_enumeration(N):
    draws = np.array(list(itertools.product(range(3), repeat=N)))
    largest = np.stack([(draws == a).sum(axis=1) for a in range(3)]).max(axis=0)
    assert sequences.largest_share(N) == pytest.approx(largest.mean() / N, abs=1e-12)


def test_largest_share_meets_its_normal_limit():
    """Beyond N = 150, against all pairs of counts with their multinomial probabilities."""
    N = 400
    i, j = np.meshgrid(np.arange(N + 1), np.arange(N + 1), indexing="ij")
    i, j = i[i + j <= N], j[i + j <= N]
    probability = multinomial.pmf(np.stack([i, j, N - i - j], axis=1), N, [1 / 3] * 3)
    exact = probability @ np.maximum(np.maximum(i, j), N - i - j) / N
    assert sequences.largest_share(N) == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize(("T", "H"), [(1, 3), (20, 4), (300, 6)])
def test_expected_gap_is_the_average_of_measured_gaps(T, H):
    found = [general_gap(sequences.draw(T, H, rng(s)), *SHAPLEY, "trie").per_player.mean() for s in range(60)]
    assert sequences.expected_gap(T, H) == pytest.approx(np.mean(found), abs=4 * np.std(found) / math.sqrt(60) + 1e-9)


def test_threshold_brackets_the_gap():
    log_T = sequences.threshold(8, 0.05)
    assert (
        sequences.expected_gap(round(2 ** (log_T - 0.1)), 8)
        > 0.05
        > sequences.expected_gap(round(2 ** (log_T + 0.1)), 8)
    )
    assert sequences.piecewise_gap(2 ** sequences.threshold(8, 0.05, exact=False), 8) == pytest.approx(0.05)
    assert sequences.expected_gap(3**14, 2) == pytest.approx(-1 / 6, abs=1e-3)


# Queries


def test_one_simulated_step_costs_two_queries():
    M = [rng(j).random((2, 2, 2)) for j in range(3)]
    oracle = QueryCounter(M)
    rewards = kibitzer.play(oracle, [1, 0, 1], (2, 0))
    assert oracle.count == 2
    game = kibitzer.game(M, 1)
    assert_allclose(rewards, game.rewards[:, 1, 0, 1, 4])


@pytest.mark.parametrize("m", [3, 4])
def test_bandit_learners_ask_two_queries_per_step(m):
    M = [rng(j).random((2,) * m) for j in range(m)]
    oracle = QueryCounter(M)
    policies = kibitzer.bandit_learners(oracle, (2,) * m, H=4, episodes=15, generator=rng(0))
    assert oracle.count == 2 * 4 * 15
    mixture = kibitzer.game(M, 4).mixture(policies)
    profile = kibitzer.extract(mixture, "rollout", 2).profile
    estimate, error = kibitzer.sampled_gap(oracle, profile, 400, rng(1))
    assert oracle.count == 2 * 4 * 15 + 2 * 400 * 2 * m
    assert estimate == pytest.approx(kibitzer.profile_gap(profile, M), abs=5 * error + 0.02)


def test_query_counter_counts_look_ups_only():
    oracle = QueryCounter([np.eye(2), 1 - np.eye(2)])
    assert oracle(1, (0, 1)) == 1.0
    assert oracle(0, [1, 1]) == 1.0
    assert oracle.count == 2
    for query, words in {
        (0, (0, 2)): "joint_action must hold one action per player",
        (2, (0, 0)): r"player must be in 0\.\.1, got 2",
    }.items():
        with pytest.raises((ValueError, TypeError), match=words):
            oracle(*query)
    assert oracle.count == 2


@pytest.mark.parametrize("m", [2, 5, 8])
def test_aldous_search_ends_at_a_pure_equilibrium(m):
    payoff = snake(m, rng(m))
    oracle = QueryCounter(payoff)
    found = aldous_search(oracle, m, rng(1))
    assert all(payoff(0, found) >= payoff(0, (*found[:j], 1 - found[j], *found[j + 1 :])) for j in range(m))
    values = [payoff(0, corner) for corner in itertools.product((0, 1), repeat=m)]
    assert min(values) >= 0
    assert max(values) <= 1
    assert payoff(0, found) == max(values)  # the walk's end is the one local maximum


# Bad input: one sentence each


GOOD = np.full((2, 2), 0.5)
ROWS = np.full((2, 3, 2), 0.5)


def spoiled(value):
    X = ROWS.copy()
    X[1, 2, 0] = value
    return X


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nash_gap([1, 0], [1, 0], GOOD * 3, GOOD), r"A must hold payoffs in \[0, 1\], got 1.5"),
        (lambda: nash_gap([1, 0], [1, 0], GOOD, GOOD - 1), r"B must hold payoffs in \[0, 1\], got -0.5"),
        (lambda: nash_gap([1, 0], [1, 0], GOOD * np.nan, GOOD), r"A must hold payoffs in \[0, 1\], got nan"),
        (lambda: nash_gap([1, 0], [1, 0], GOOD, np.full((2, 3), 0.5)), "A and B must have one shape"),
        (lambda: nash_gap([0.6, 0.6], [1, 0], GOOD, GOOD), "x must hold probability distributions.* the sum 1.2"),
        (lambda: nash_gap([1, 0, 0], [1, 0], GOOD, GOOD), "x and y must have 2 and 2 entries"),
        (lambda: HistoryFreeMixture(spoiled(np.nan), ROWS), r"X1 .* a NaN at row \(1, 2\)"),
        (lambda: HistoryFreeMixture(ROWS, spoiled(-0.5)), r"X2 .* a negative entry at row \(1, 2\)"),
        (lambda: HistoryFreeMixture(spoiled(0.5 + 2e-9), ROWS), r"X1 .* the sum 1.000000002 at row \(1, 2\)"),
        (lambda: HistoryFreeMixture(ROWS[:0], ROWS[:0]), "T of at least 1, got T = 0"),
        (lambda: HistoryFreeMixture(ROWS[:, :0], ROWS[:, :0]), "H of at least 1, got H = 0"),
        (lambda: HistoryFreeMixture(ROWS, ROWS[:, :2]), r"one number H of steps \(the horizon\), got 3, 2"),
        (lambda: HistoryFreeMixture(ROWS, ROWS[:1]), "one number T of policies, got 2, 1"),
        (lambda: HistoryFreeMixture(ROWS[0], ROWS), r"X1 must have shape \(T, H, n\)"),
        (lambda: PureMixture(np.array([[2]]), np.array([[0]]), (2, 2)), r"S1 must hold actions in 0..1"),
        (lambda: PureMixture(np.array([[0.0]]), np.array([[0]]), (2, 2)), "S1 must be an array of integers"),
        (lambda: GeneralMixture([[ROWS[:, :1]], [ROWS[:, :1], ROWS]]), "policies must have one horizon"),
        (lambda: GeneralMixture([[], []]), "horizon H = 0"),
        (lambda: GeneralMixture([[ROWS[:, :1], ROWS], [ROWS[:, :1], ROWS]]), r"N_h = 4\^1 histories"),
        (lambda: GeneralMixture([]), "policies must be a list"),
        (
            lambda: general_gap(random_mixture(0, 2, 40, (3, 3)), *SHAPLEY),
            "too large for the exact method: 6078832729528464400 nodes .* 'monte_carlo'",
        ),
        (
            lambda: general_gap(learners.regret_matching(GOOD, GOOD, 1, 15), GOOD, GOOD),
            "tree of histories is too large for the exact method: 357913941 nodes .* 'monte_carlo'",
        ),
        (lambda: general_gap(random_mixture(0, 2, 2, (2, 2)), GOOD, GOOD, "trie"), "'trie' takes pure policies only"),
        (lambda: general_gap(random_mixture(0, 2, 2, (2, 2)), GOOD, GOOD, "guess"), "method is 'guess'"),
        (lambda: general_gap(random_mixture(0, 2, 2, (2, 2)), *SHAPLEY), r"payoffs have shape \(3, 3\)"),
        (lambda: general_gap(GeneralMixture([[ROWS]] * 2), GOOD, GOOD, "trie"), r"policies\[0\]\[0\] must have shape"),
        (lambda: general_gap(GeneralMixture(games.grim_trigger(1)), GOOD, GOOD, "trie"), "'exact' only, got 'trie'"),
        (lambda: general_gap(random_mixture(0, 2, 2, (2, 2)), GOOD, GOOD, "monte_carlo", 0), "samples must be"),
        (lambda: markov_gap(GeneralMixture(games.grim_trigger(1)), GOOD, GOOD), "got a GeneralMixture"),
        (lambda: BayesPredictor(0), "T must be an integer of at least 1"),
        (lambda: BayesPredictor(2).update([0.0, 0.0]), "impossible under every policy"),
        (lambda: BayesPredictor(2).update([0.5]), r"likelihood must have shape \(2,\)"),
        (lambda: BayesPredictor(2).update([np.nan, 0.5]), "likelihood must hold finite numbers"),
        (lambda: BayesPredictor(3).predict(GOOD), "P must have T = 3 rows, got 2"),
        (lambda: learners.hedge(GOOD, GOOD, 0, 3), "T must be an integer of at least 1, got 0"),
        (lambda: learners.hedge(GOOD, GOOD, 3, 0), "H must be an integer of at least 1, got 0"),
        (lambda: learners.hedge(GOOD, GOOD, 3, 3, jitter=-1), "jitter must be a finite number of at least 0"),
        (lambda: learners.regret_matching(GOOD, GOOD, 0, 3), "T must be an integer"),
        (lambda: learners.v_learning(GOOD, GOOD, 0, 3), "episodes must be an integer"),
        (lambda: kibitzer.game([], 2), "payoffs is empty"),
        (lambda: kibitzer.game([GOOD, np.full((2, 3), 0.5)], 2), "payoffs must have one shape"),
        (lambda: kibitzer.game([GOOD, GOOD + 1], 2), r"payoffs\[1\] must hold payoffs in \[0, 1\]"),
        (lambda: kibitzer.game([GOOD, GOOD], 0), "H must be an integer of at least 1, got 0"),
        (lambda: kibitzer.game([GOOD, GOOD], 2).mixture(kibitzer_grim(3)), "the game's horizon H = 2, got 3"),
        (lambda: kibitzer.game([GOOD, GOOD], 1).mixture(kibitzer_grim(1)[:2]), "must hold 3 players"),
        (lambda: kibitzer.game(SHAPLEY, 1).mixture(kibitzer_grim(1)), r"must have \(3, 3, 6\) actions"),
        (lambda: kibitzer.extract(kibitzer.game([GOOD, GOOD], 1).mixture(kibitzer_grim(1)), "guess"), "valid: exact"),
        (lambda: games.long_path(5), "d must be even, got 5"),
        (lambda: kibitzer.bound(0, 1, 2, 0.1), "T must be an integer of at least 1"),
        (lambda: QueryCounter([GOOD, GOOD * 3]), r"payoffs\[1\] must hold payoffs in \[0, 1\]"),
        (lambda: QueryCounter([]), "payoffs is empty"),
        (lambda: divergences(np.full((2, 40, 2), 0.5)), "tree of actions is too large: 1099511627775 nodes"),
        (lambda: mutual_information(np.full((2, 40, 2), 0.5)), "tree of actions is too large: 1099511627775 nodes"),
        (lambda: nash_gap(np.array([1j, 0]), [1, 0], GOOD, GOOD), "x must be an array of real numbers"),
        (lambda: kibitzer.profile_gap([[0.6, 0.6], [1, 0]], [GOOD, GOOD]), r"profile\[0\] .* the sum 1.2"),
        (lambda: kibitzer.profile_gap([[1, 0]], [GOOD, GOOD]), "one distribution per player"),
        (lambda: kibitzer.play(QueryCounter([GOOD, GOOD]), [0, 0], (5, 0)), r"advised must name a player in 0\.\.1"),
        (lambda: kibitzer.bandit_learners(QueryCounter([GOOD, GOOD]), (), 2, 2, rng(0)), "actions is empty"),
        (lambda: PureMixture(np.zeros((1, 1), int), np.zeros((1, 1), int), (0, 3)), r"actions\[0\] must be an integer"),
        (lambda: learners.hedge(GOOD, GOOD, 2, 2, eta=1e308), r"eta must be a finite number .* at most 1e\+100"),
        (
            lambda: learners.optimistic_hedge(GOOD, GOOD, 2, 2, jitter=1e308),
            r"jitter must be a finite number .* at most 1e\+100",
        ),
        (lambda: posterior_path(ROWS, 7, torch.Generator()), "t must be below T = 2, got 7"),
        (lambda: exact_value(ROWS, np.eye(3)), "U must have one column per action of the opponent, 2"),
        (lambda: sampled_values(ROWS, np.eye(3), 5, torch.Generator()), "U must have one column per action"),
        (lambda: trie_value(np.zeros((0, 3), int), GOOD), "at least one sequence"),
        (lambda: trie_value(np.array([[5, 1]]), GOOD), r"S must hold actions in 0\.\.1, got 1 to 5"),
        (lambda: sequences.threshold(4, 0.9), "gap must lie between -1/6 and 1/2"),
        (lambda: sequences.piecewise_gap(0, 2), "T must be a finite number of at least 1"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught, np.errstate(invalid="ignore"):
        call()
    assert "\n" not in str(caught.value)


WRONG_TYPES = """
import numpy as np
from tenpapers.markov_games import *
G, rng = np.full((2, 2), 0.5), np.random.default_rng(0)
mixture, oracle = HistoryFreeMixture(G[None], G[None]), QueryCounter([G, G])
for call, words in (
    (lambda: stage_gaps(PureMixture([[0]], [[0]], (2, 2)), G, G), "got PureMixture; use its .dense()"),
    (lambda: extract_nash(general(mixture), G, G), "HistoryFreeMixture here, got GeneralMixture"),
    (lambda: kibitzer.gaps(mixture), "made by kibitzer.game"),
    (lambda: kibitzer.extract(mixture, "rollout"), "made by kibitzer.game"),
    (lambda: kibitzer.game(None, 2), "payoffs must be a list with one array per player, got NoneType"),
    (lambda: QueryCounter(None), "payoffs must be a list with one array per player, got NoneType"),
    (lambda: oracle(0.5, (0, 0)), "a query is an integer player and a sequence of integer actions, got 0.5"),
    (lambda: oracle(0, (0.5, 0)), "a sequence of integer actions"),
    (lambda: oracle(0, 0), "a sequence of integer actions"),
    (lambda: PureMixture([[0]], [[0]], 3), "two players' numbers of actions"),
    (lambda: sequences.draw(2, 2, None), "generator must be a numpy.random.Generator, got NoneType"),
    (lambda: games.random_game(2, 2, 7), "generator must be a numpy.random.Generator, got int"),
    (lambda: general_gap(mixture, G, G, "monte_carlo", generator=3), "must be a torch or a NumPy generator, got int"),
):
    try:
        call()
    except TypeError as error:
        if words not in str(error):
            print("expected", words, "got", error)
    else:
        print("no error where expected:", words)
if oracle.count:
    print("a refused query was counted")
"""


def test_wrong_types_get_one_sentence_without_the_tests_type_checker():
    """In a fresh interpreter: here the run-time type checker would speak first."""
    found = subprocess.run([sys.executable, "-c", WRONG_TYPES], capture_output=True, text=True, check=True)
    assert found.stdout == ""


def test_lists_and_tensors_are_taken_as_arrays():
    A, B = games.dilemma()
    assert nash_gap(torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True), [1, 0], A, B) == 0.4
    one = HistoryFreeMixture([[[1.0, 0.0]]], torch.tensor([[[0.0, 1.0]]]))
    assert general_gap(one, A.tolist(), torch.as_tensor(B)).value == nash_gap([1, 0], [0, 1], A, B)
    assert GeneralMixture([[[[[1.0, 0.0]]]], [torch.tensor([[[0.0, 1.0]]])]]).actions == (2, 2)


def test_nothing_is_normalised_silently():
    """A sum within 1e-9 of 1 is taken as it is."""
    X = ROWS.copy()
    X[0, 0, 0] += 5e-10
    assert HistoryFreeMixture(X, ROWS).X1[0, 0, 0] == 0.5 + 5e-10
