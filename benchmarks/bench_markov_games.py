"""Gaps of mixtures against what a user would write or install instead: `python benchmarks/bench_markov_games.py`.

Prints a table and writes _build/benchmarks/markov_games.csv. One thread for everybody; CPU time of the best repeat, so
that a busy machine does not decide; both sides must give the same number.

- Exact general gap of T policies of Shapley's repeated game: OpenSpiel's `cce_dist` (`pip install open-spiel`; without
  it the row says so) walks the game tree for every policy, ours takes one matrix product per player. OpenSpiel is given
  its game and policies ready made; it clips negative gains at 0 and does not divide by H, which is undone here.
- Pure sequences, the deviator's value alone: a trie of nested dictionaries against one sort. Memory is the peak
  allocated beyond the input.
- Monte Carlo, N episodes: the floor is the H products of the weights (N, T) with the policies (T, n) of each step: what
  computing the predictions alone costs.
"""

import csv
import time
import tracemalloc
from pathlib import Path

import numpy as np
import torch
from tenpapers.markov_games import HistoryFreeMixture, games, general_gap, peers, sampled_values, trie_value


def best(call, repeats, inner=1):
    """(seconds per call in the fastest of `repeats` rounds of `inner` calls, the result)"""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time_ns()
        for _ in range(inner):
            result = call()
        seconds.append((time.process_time_ns() - begin) / 1e9 / inner)
    return min(seconds), result


def exact(T, H):
    A, B = games.shapley()
    rng = np.random.default_rng(0)
    mixture = HistoryFreeMixture(*(rng.dirichlet(np.full(3, 0.5), size=(T, H)) for _ in range(2)))
    ours, gap = best(lambda: general_gap(mixture, A, B), 20, inner=20)
    row = {"case": f"exact general gap, T = {T}, H = {H}", "ours_ms": ours * 1e3, "peer": "OpenSpiel cce_dist"}
    try:
        import pyspiel
    except ImportError:
        return row | {"difference": "OpenSpiel is not installed: pip install open-spiel"}
    parts = peers.openspiel_parts(mixture, A, B)
    theirs, found = best(lambda: pyspiel.cce_dist(*parts), 3)
    difference = np.abs(np.maximum(gap.per_player, 0) - np.array(found.deviation_incentives) / H).max()
    return row | {"peer_ms": theirs * 1e3, "ratio": theirs / ours, "difference": f"{difference:.1e}"}


def trie(T, H):
    A, _ = games.shapley()
    S = np.random.default_rng(0).integers(3, size=(T, H)).astype(np.uint8)
    ours, value = best(lambda: trie_value(S, A), 10)
    lists = S.tolist()
    theirs, other = best(lambda: peers.dictionary_trie_value(lists, A.tolist()), 3)
    tracemalloc.start()
    trie_value(S, A)
    memory = tracemalloc.get_traced_memory()[1] / S.nbytes
    tracemalloc.stop()
    return {
        "case": f"pure sequences, T = {T}, H = {H}",
        "ours_ms": ours * 1e3,
        "peer": "trie of dictionaries",
        "peer_ms": theirs * 1e3,
        "ratio": theirs / ours,
        "difference": f"{abs(value - other):.1e}; peak memory {memory:.2f} x the input",
    }


def monte_carlo(N, T, H, n):
    rng = np.random.default_rng(0)
    X, U = rng.dirichlet(np.ones(n), size=(T, H)), rng.random((n, n))
    weights = torch.rand(N, T, dtype=torch.float64)
    steps = torch.as_tensor(X).permute(1, 0, 2).contiguous()
    floor, _ = best(lambda: [weights @ P for P in steps], 30)
    ours, _ = best(lambda: sampled_values(X, U, N, torch.Generator().manual_seed(0)), 30)
    return {
        "case": f"Monte Carlo, N = {N}, T = {T}, H = {H}, n = {n}",
        "ours_ms": ours * 1e3,
        "peer": "floor: the products alone",
        "peer_ms": floor * 1e3,
        "ratio": floor / ours,
        "difference": f"{ours / floor:.2f} x the floor",
    }


def main():
    torch.set_num_threads(1)
    rows = [exact(8, 2), exact(8, 3), exact(32, 3), trie(4096, 20), trie(32768, 20)]
    rows += [monte_carlo(1000, 128, 32, 3), monte_carlo(2000, 1024, 64, 3), monte_carlo(1000, 128, 32, 10)]
    for row in rows:
        peer = f"{row['peer_ms']:10.2f} ms {row['ratio']:9.1f}x" if "peer_ms" in row else " " * 23
        print(f"{row['case']:<44}{row['ours_ms']:9.3f} ms   {row['peer']:<26}{peer}   {row['difference']}")
    path = Path("_build/benchmarks/markov_games.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["case", "ours_ms", "peer", "peer_ms", "ratio", "difference"])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
