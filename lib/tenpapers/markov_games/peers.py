"""The same numbers by other programs, for comparison and as oracles; each is imported only when it is called."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from . import _check
from ._check import Array
from ._gaps import _fitting
from ._mixtures import HistoryFreeMixture

MOST_PIVOTS = 2_000_000


def openspiel_parts(mixture: HistoryFreeMixture, A: ArrayLike, B: ArrayLike) -> tuple[Any, list[tuple[float, Any]]]:
    """The repeated game and the mixture in OpenSpiel's own form: (game, [(1/T, TabularPolicy), ...])."""
    A, B = _fitting(mixture, A, B)
    try:
        import pyspiel
    except ImportError:
        raise ImportError("This comparison needs OpenSpiel: pip install open-spiel") from None
    names = [[f"{side}{a}" for a in range(n)] for side, n in zip("rc", A.shape, strict=True)]
    stage = pyspiel.create_matrix_game("stage", "stage", *names, A.tolist(), B.tolist())
    parameters = {"enable_infostate": True, "num_repetitions": mixture.H, "recall": mixture.H}
    game = pyspiel.convert_to_turn_based(pyspiel.create_repeated_game(stage, parameters))
    keys: dict[str, tuple[int, int]] = {}  # information state -> (player, step)
    pending = [game.new_initial_state()]
    while pending:
        state = pending.pop()
        if state.is_terminal():
            continue
        player = state.current_player()
        keys[state.information_state_string(player)] = (player, len(state.history()) // 2)
        pending += [state.child(action) for action in state.legal_actions()]
    policies = []
    for t in range(mixture.T):
        rows = {
            key: list(enumerate((mixture.X1, mixture.X2)[player][t, h].tolist())) for key, (player, h) in keys.items()
        }
        policies.append((1.0 / mixture.T, pyspiel.TabularPolicy(rows)))
    return game, policies


def openspiel_gap(mixture: HistoryFreeMixture, A: ArrayLike, B: ArrayLike) -> Float[np.ndarray, "2"]:
    """Each player's general gap per step by `pyspiel.cce_dist`, which clips it at 0 and knows nothing of H."""
    import pyspiel

    game, policies = openspiel_parts(mixture, A, B)
    return np.array(pyspiel.cce_dist(game, policies).deviation_incentives) / mixture.H


def lemke_howson(A: ArrayLike, B: ArrayLike, label: int = 0) -> tuple[Array, Array, int]:
    """A Nash equilibrium (x, y) of the bimatrix game by quantecon, and how many pivots it took from this first label.

    x and y sum to 1 (quantecon's own sums are off by rounding). Raises ImportError without quantecon, ArithmeticError
    where the pivots do not end.
    """
    A, B = _check.bimatrix(A, B)
    threads = torch.get_num_threads()  # importing quantecon sets the number of threads of the whole process
    try:
        import quantecon.game_theory as qe
    except ImportError:
        raise ImportError("This oracle needs quantecon: pip install quantecon") from None
    torch.set_num_threads(threads)
    game = qe.NormalFormGame((qe.Player(A), qe.Player(np.ascontiguousarray(B.T))))
    (x, y), result = qe.lemke_howson(game, init_pivot=label, full_output=True, max_iter=MOST_PIVOTS)
    torch.set_num_threads(threads)
    if not result.converged:
        raise ArithmeticError(f"Lemke-Howson did not end within {MOST_PIVOTS} pivots: rounding leads it in a circle")
    return x / x.sum(), y / y.sum(), int(result.num_iter)


def support_enumeration(A: ArrayLike, B: ArrayLike) -> list[tuple[Array, Array]]:
    """All equilibria (x, y) of a non-degenerate bimatrix game by nashpy. Raises ImportError without nashpy."""
    A, B = _check.bimatrix(A, B)
    try:
        import nashpy
    except ImportError:
        raise ImportError("This oracle needs nashpy: pip install nashpy") from None
    return list(nashpy.Game(A, B).support_enumeration())


def dictionary_trie_value(S: list[list[int]], U: list[list[float]]) -> float:
    """The textbook way: a trie of nested dictionaries, one per distinct prefix, with the counts of what comes next."""
    n = len(U[0])
    root: dict[int, Any] = {-1: [0] * n}
    nodes = [root[-1]]
    for sequence in S:
        node = root
        for action in sequence:
            node[-1][action] += 1
            child = node.get(action)
            if child is None:
                child = node[action] = {-1: [0] * n}
                nodes.append(child[-1])
            node = child
    best = (max(sum(c * u for c, u in zip(counts, row, strict=True)) for row in U) for counts in nodes)
    return sum(best) / (len(S) * len(S[0]))


__all__ = ["dictionary_trie_value", "lemke_howson", "openspiel_gap", "openspiel_parts", "support_enumeration"]
