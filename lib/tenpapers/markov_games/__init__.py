"""Why independent learners cannot have no regret in Markov games: gaps, reductions, the Kibitzer game, learners.

Paper: Foster, Golowich and Kakade, "Hardness of Independent Learning and Sparse Equilibrium Computation in Markov
Games" (ICML 2023, arXiv 2303.12287). Everywhere A and B are (n1, n2) payoffs in [0, 1], row player first; gaps and
values are averages over the H steps of an episode.
"""

from . import games, kibitzer, learners, peers, sequences
from ._gaps import Gap, exact_value, general_gap, markov_gap, nash_gap, sampled_values, stage_gaps, trie_value
from ._mixtures import GeneralMixture, HistoryFreeMixture, PureMixture, general
from ._reduction import Nash, bound, extract_nash
from .aggregation import (
    BayesPredictor,
    Divergences,
    delta,
    divergences,
    mutual_information,
    posterior_path,
)
from .queries import QueryCounter, aldous_search, snake

__all__ = [
    "BayesPredictor",
    "Divergences",
    "Gap",
    "GeneralMixture",
    "HistoryFreeMixture",
    "Nash",
    "PureMixture",
    "QueryCounter",
    "aldous_search",
    "bound",
    "delta",
    "divergences",
    "exact_value",
    "extract_nash",
    "games",
    "general",
    "general_gap",
    "kibitzer",
    "learners",
    "markov_gap",
    "mutual_information",
    "nash_gap",
    "peers",
    "posterior_path",
    "sampled_values",
    "sequences",
    "snake",
    "stage_gaps",
    "trie_value",
]
