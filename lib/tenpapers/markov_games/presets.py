"""Presets of the chapter's notebooks: what each runs at the scales smoke, quick and full."""

from dataclasses import dataclass

from tenpapers.presets import field

PARTS = {
    "hedge": ("C6", "C7"),
    "random": (),
    "zero_sum": ("C9",),
    "sparsity": ("C8",),
    "reduction": ("C3",),
    "kibitzer": ("C4", "C5"),
    "tree": ("C10",),
    "layered": ("C12",),
    "v_learning": ("C13",),
    "queries": ("C11", "C15"),
    "pivots": ("C14",),
}
"""The parts of the experiments' notebook, each with the claims that only it checks there."""


@dataclass(frozen=True)
class Derivation:
    """Settings of the derivation: how many instances each statement is checked on."""

    instances: int = field(minimum=1, doc="random instances of the lemma and of the two-player theorem")
    kibitzer_instances: int = field(
        minimum=1, doc="random instances of the Kibitzer theorem, for each number of players"
    )
    grim_H: tuple[int, ...] = field(minimum=1, maximum=10, doc="horizons of the grim trigger")
    draws: int = field(minimum=5, doc="draws of the random sequences at each size")
    regret_instances: int = field(minimum=1, doc="mixtures whose regret is found by enumerating all deviations")


@dataclass(frozen=True)
class Experiments:
    """Settings of the experiments. T counts policies of a mixture (episodes of learning), H steps of an episode."""

    parts: tuple[str, ...] = field(choices=tuple(PARTS), doc="parts of the notebook to run; the others are left out")
    seeds: int = field(minimum=2, doc="independent runs of every learner")
    samples: int = field(minimum=20, doc="episodes of a Monte-Carlo gap")
    exact_H: int = field(minimum=1, maximum=12, doc="longest horizon whose gaps are computed exactly")
    hedge_T: tuple[int, ...] = field(minimum=2, doc="iterates of Hedge in Shapley's game")
    hedge_H: tuple[int, ...] = field(minimum=1, doc="horizons of Hedge in Shapley's game")
    jitter: float = field(minimum=0.0, doc="standard deviation of the initial cumulative payoffs in Shapley's game")
    random_n: tuple[int, ...] = field(minimum=2, doc="actions of the random games")
    random_games: int = field(minimum=1, doc="random games of each size")
    random_T: int = field(minimum=2, doc="iterates of Hedge in a random game")
    random_H: int = field(minimum=1, doc="horizon of the random games")
    zero_sum_T: tuple[int, ...] = field(minimum=2, doc="iterates in matching pennies")
    zero_sum_H: int = field(minimum=1, doc="horizon in matching pennies")
    sparsity_H: tuple[int, ...] = field(minimum=1, maximum=60, doc="horizons of the random sequences")
    sparsity_log_T: int = field(minimum=2, maximum=30, doc="most random sequences, log2")
    sparsity_draws: int = field(minimum=2, doc="draws of the sequences at each T and H")
    oracle_games: int = field(minimum=1, doc="random bimatrix games of the reduction")
    oracle_T: int = field(minimum=2, doc="policies of the mixture around the equilibrium")
    oracle_H: tuple[int, ...] = field(minimum=1, doc="horizons of the reduction")
    noise: tuple[float, ...] = field(minimum=0.0, maximum=1.0, doc="weight of the noise mixed into an equilibrium")
    kibitzer_games: int = field(minimum=1, doc="Kibitzer games of each kind")
    kibitzer_H2: int = field(minimum=1, maximum=4, doc="horizon with two players (16^H histories)")
    kibitzer_H3: int = field(minimum=1, maximum=3, doc="horizon with three players (48^H histories)")
    grim_H: tuple[int, ...] = field(minimum=1, maximum=5, doc="horizons of grim trigger, with and without the Kibitzer")
    tree_T: tuple[int, ...] = field(minimum=2, doc="iterations of regret matching on the tree")
    tree_H: tuple[int, ...] = field(minimum=1, maximum=6, doc="horizons of the tree, 9^H nodes")
    layered_T: tuple[int, ...] = field(minimum=2, doc="iterates of layered mirror descent")
    layered_H: tuple[int, ...] = field(minimum=1, doc="horizons of layered mirror descent")
    v_K: tuple[int, ...] = field(minimum=2, doc="episodes of V-learning")
    v_H: int = field(minimum=1, doc="horizon of V-learning")
    v_rates: tuple[float, ...] = field(above=0.0, doc="step sizes of V-learning, in units of sqrt(log n/(n k))")
    query_m: tuple[int, ...] = field(minimum=2, maximum=8, doc="players of the games known by queries")
    query_H: int = field(minimum=1, doc="horizon of these games")
    query_episodes: int = field(minimum=1, doc="episodes of bandit learning there")
    snake_m: tuple[int, ...] = field(minimum=2, maximum=30, doc="players of the hidden-path games")
    snake_games: int = field(minimum=2, doc="hidden-path games of each size")
    pivot_d: tuple[int, ...] = field(
        minimum=2, maximum=16, doc="sizes (even) of the games with long Lemke-Howson paths"
    )


DERIVATION = {
    "smoke": Derivation(instances=20, kibitzer_instances=6, grim_H=(1, 2, 4), draws=30, regret_instances=2),
    "quick": Derivation(instances=1000, kibitzer_instances=200, grim_H=(1, 2, 4, 8), draws=200, regret_instances=20),
    "full": Derivation(
        instances=20_000, kibitzer_instances=5000, grim_H=(1, 2, 4, 8, 10), draws=2000, regret_instances=30
    ),
}
EXPERIMENTS = {
    "smoke": Experiments(
        parts=tuple(PARTS),
        seeds=2,
        samples=60,
        exact_H=6,
        hedge_T=(32, 128),
        hedge_H=(1, 4, 16),
        jitter=3.0,
        random_n=(3, 5),
        random_games=3,
        random_T=64,
        random_H=8,
        zero_sum_T=(64, 256),
        zero_sum_H=8,
        sparsity_H=(2, 4, 6),
        sparsity_log_T=9,
        sparsity_draws=3,
        oracle_games=4,
        oracle_T=8,
        oracle_H=(10,),
        noise=(0.0, 0.05, 0.2),
        kibitzer_games=4,
        kibitzer_H2=2,
        kibitzer_H3=1,
        grim_H=(1, 2, 3),
        tree_T=(16, 64),
        tree_H=(1, 2),
        layered_T=(50, 200),
        layered_H=(1, 2, 4),
        v_K=(100, 400),
        v_H=8,
        v_rates=(1.0, 6.0, 20.0, 100.0),
        query_m=(3, 4),
        query_H=4,
        query_episodes=10,
        snake_m=(6, 8, 10),
        snake_games=3,
        pivot_d=(2, 4, 6),
    ),
    "quick": Experiments(
        parts=tuple(PARTS),
        seeds=5,
        samples=1000,
        exact_H=8,
        hedge_T=(32, 64, 128, 256, 512, 1024, 2048),
        hedge_H=(1, 4, 16, 64),
        jitter=3.0,
        random_n=(3, 5, 10),
        random_games=20,
        random_T=512,
        random_H=32,
        zero_sum_T=(64, 128, 256, 512, 1024, 2048),
        zero_sum_H=48,
        sparsity_H=(2, 4, 6, 8, 10, 12, 16),
        sparsity_log_T=18,
        sparsity_draws=3,
        oracle_games=30,
        oracle_T=16,
        oracle_H=(40, 640),
        noise=(0.0, 0.01, 0.05, 0.2),
        kibitzer_games=40,
        kibitzer_H2=3,
        kibitzer_H3=2,
        grim_H=(1, 2, 3, 4, 5),
        tree_T=(16, 64, 256, 1024),
        tree_H=(1, 2, 3, 4),
        layered_T=(100, 1000, 10_000),
        layered_H=(1, 2, 4, 8),
        v_K=(500, 2000, 8000),
        v_H=32,
        v_rates=(1.0, 6.0, 20.0, 100.0),
        query_m=(3, 4, 5),
        query_H=20,
        query_episodes=60,
        snake_m=(6, 8, 10, 12, 14, 16, 18, 20),
        snake_games=20,
        pivot_d=(2, 4, 6, 8, 10, 12, 14, 16),
    ),
    "full": Experiments(
        parts=tuple(PARTS),
        seeds=10,
        samples=4096,
        exact_H=8,
        hedge_T=(100, 1000, 10_000, 100_000),
        hedge_H=(1, 4, 16, 64, 256, 512),
        jitter=3.0,
        random_n=(3, 4, 5, 6, 7, 8, 9, 10),
        random_games=100,
        random_T=2048,
        random_H=64,
        zero_sum_T=(100, 1000, 10_000, 100_000),
        zero_sum_H=48,
        sparsity_H=(4, 8, 12, 16, 20, 24, 32),
        sparsity_log_T=28,
        sparsity_draws=2,
        oracle_games=500,
        oracle_T=16,
        oracle_H=(40, 640, 10_240),
        noise=(0.0, 0.01, 0.05, 0.2),
        kibitzer_games=1000,
        kibitzer_H2=4,
        kibitzer_H3=2,
        grim_H=(1, 2, 3, 4, 5),
        tree_T=(16, 64, 256, 1024, 4096),
        tree_H=(1, 2, 3, 4),
        layered_T=(100, 1000, 10_000, 100_000, 1_000_000),
        layered_H=(1, 2, 3, 4, 6, 8, 12, 16),
        v_K=(1000, 10_000, 100_000, 1_000_000),
        v_H=32,
        v_rates=(1.0, 6.0, 20.0, 100.0),
        query_m=(3, 4, 5, 6, 7),
        query_H=50,
        query_episodes=1000,
        snake_m=(6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
        snake_games=100,
        pivot_d=(2, 4, 6, 8, 10, 12, 14, 16),
    ),
}
