"""Sizes of the chapter's notebooks at the three scales."""

import dataclasses

from tenpapers.presets import field

PARTS = {
    "table": ("C8",),
    "paths": (),
    "zone": ("C4",),
    "width": ("C13",),
    "signs": ("C6",),
    "accuracy": ("C14",),
    "sgd": ("C11", "C12"),
    "rotation": ("C9",),
    "flips": ("C15",),
    "unknown": ("C16",),
    "elimination": ("C17",),
    "queries": ("C18",),
    "relu": ("C19",),
}
"""The parts of the experiments' notebook, each with the claims that it checks."""


@dataclasses.dataclass(frozen=True)
class Derivation:
    """Sizes of the checks beside the proofs."""

    d: int = field(minimum=6, maximum=12, doc="inputs of the enumerated checks: 2^d rows")
    k: tuple[int, ...] = field(minimum=2, maximum=5, doc="degrees of the parities")
    neurons: int = field(minimum=16, doc="neurons of the random networks")
    draws: int = field(minimum=20, doc="Monte-Carlo draws per point")
    letter_k: tuple[int, ...] = field(minimum=2, maximum=4, doc="degrees of the theorem run to the letter")
    letter_d: int = field(minimum=4, maximum=12, doc="inputs there; batches are counts of the 2^d inputs")
    tau: tuple[float, ...] = field(above=0, below=1, doc="tolerances of the query game")


@dataclasses.dataclass(frozen=True)
class Experiments:
    """Sizes of the experiments. Lists that belong together have one entry per setting."""

    parts: tuple[str, ...] = field(choices=tuple(PARTS), doc="parts of the notebook to run; the others are left out")
    seeds: int = field(minimum=2, doc="independent networks per setting")
    inputs: int = field(minimum=100, doc="fresh inputs of an accuracy")
    eta: float = field(above=0, below=1, doc="step size")
    steps: int = field(minimum=1, doc="training steps")
    # 2-, 3- and 4-parity
    table_k: tuple[int, ...] = field(minimum=2, maximum=8, doc="degrees")
    table_d: tuple[int, ...] = field(minimum=2, doc="inputs")
    table_m: tuple[int, ...] = field(minimum=1, doc="neurons")
    table_batch: tuple[int, ...] = field(minimum=1, doc="samples per step")
    # trajectories and the dead zone
    path_d: int = field(minimum=4, doc="inputs of the run whose weights are drawn (k = 3)")
    path_batch: int = field(minimum=1, doc="its samples per step")
    zone_k: tuple[int, ...] = field(minimum=2, maximum=8, doc="degrees of the dead-zone sweep")
    zone_d: tuple[int, ...] = field(minimum=2, doc="inputs")
    zone_m: tuple[int, ...] = field(minimum=1, doc="neurons")
    zone_batch: tuple[int, ...] = field(minimum=1, doc="samples per step")
    zone_rho: tuple[float, ...] = field(minimum=0, below=1, doc="thresholds, as fractions of k!")
    # width
    width_k: tuple[int, ...] = field(minimum=2, maximum=6, doc="degrees of the coverage table")
    width_draws: int = field(minimum=20, doc="networks drawn per width")
    width_m: tuple[int, ...] = field(minimum=1, doc="neurons of the trained networks (k = 3)")
    width_d: tuple[int, ...] = field(minimum=4, doc="their inputs")
    # the sign event
    sign_k: tuple[int, ...] = field(minimum=2, maximum=5, doc="degrees")
    sign_d2: tuple[int, ...] = field(minimum=2, doc="inputs for k = 2")
    sign_d3: tuple[int, ...] = field(minimum=3, doc="inputs for k = 3")
    sign_d4: tuple[int, ...] = field(minimum=4, doc="inputs for k = 4")
    sign_d5: tuple[int, ...] = field(minimum=5, doc="inputs for k = 5")
    sign_seeds: int = field(minimum=2, doc="batches per size")
    # accuracy
    accuracy_seeds: int = field(minimum=2, doc="networks per size where accuracy is climbed")
    accuracy_d2: tuple[int, ...] = field(minimum=2, doc="inputs for k = 2")
    accuracy_c2: tuple[float, ...] = field(above=0, doc="batch / d for k = 2")
    accuracy_d3: tuple[int, ...] = field(minimum=3, doc="inputs for k = 3")
    accuracy_c3: tuple[float, ...] = field(above=0, doc="batch / d^2 for k = 3")
    accuracy_rho: tuple[float, ...] = field(above=0, below=1, doc="thresholds, as fractions of k!, for k = 3")
    # plain SGD, rotation, label noise
    sgd_d2: int = field(minimum=4, doc="inputs, k = 2")
    sgd_d3: int = field(minimum=4, doc="inputs, k = 3")
    sgd_scale: tuple[float, ...] = field(above=0, doc="gradient scales of plain SGD, k = 3")
    rotated_d2: int = field(minimum=4, doc="inputs of the rotated runs, k = 2")
    rotated_d3: int = field(minimum=4, doc="inputs of the rotated runs, k = 3")
    flips: tuple[float, ...] = field(minimum=0, below=0.5, doc="fractions of wrong labels")
    # unknown k, elimination, queries, baselines
    unknown_d: int = field(minimum=8, doc="inputs when k is unknown")
    unknown_batch: int = field(minimum=1, doc="samples per step when k is unknown")
    elimination_d: tuple[int, ...] = field(minimum=4, doc="inputs of the elimination")
    elimination_trials: int = field(minimum=10, doc="sample sets per size")
    query_d: int = field(minimum=6, maximum=14, doc="inputs of the query game (k = 3)")
    query_tau: tuple[float, ...] = field(above=0, below=1, doc="tolerances of the query game")
    relu_d: tuple[int, ...] = field(minimum=8, doc="inputs of the ReLU baselines (k = 3)")
    relu_seeds: int = field(minimum=2, doc="networks per size")
    relu_steps: int = field(minimum=1, doc="most steps of a ReLU baseline")


DERIVATION = {
    "smoke": Derivation(7, (2, 3), 32, 40, (2,), 6, (0.3,)),
    "quick": Derivation(9, (2, 3, 4, 5), 128, 400, (2, 3), 8, (0.15, 0.2, 0.3, 0.4)),
    "full": Derivation(12, (2, 3, 4, 5), 512, 4000, (2, 3, 4), 10, (0.1, 0.15, 0.2, 0.3, 0.4)),
}

EXPERIMENTS = {
    "smoke": Experiments(
        parts=tuple(PARTS), seeds=2, inputs=500, eta=0.1, steps=20,
        table_k=(2, 3), table_d=(8, 8), table_m=(12, 24), table_batch=(64, 256),
        path_d=8, path_batch=512,
        zone_k=(2,), zone_d=(16,), zone_m=(16,), zone_batch=(128,), zone_rho=(0.0, 0.1, 0.4, 0.95),
        width_k=(2, 3), width_draws=100, width_m=(8, 24), width_d=(8,),
        sign_k=(2, 3), sign_d2=(16, 32, 64), sign_d3=(8, 12, 18), sign_d4=(8, 10), sign_d5=(6, 8), sign_seeds=4,
        accuracy_seeds=2, accuracy_d2=(16, 32), accuracy_c2=(1.0, 8.0), accuracy_d3=(8, 12), accuracy_c3=(0.5, 4.0),
        accuracy_rho=(0.1, 0.3),
        sgd_d2=16, sgd_d3=8, sgd_scale=(0.8, 1.0), rotated_d2=16, rotated_d3=8, flips=(0.0, 0.2),
        unknown_d=8, unknown_batch=512, elimination_d=(10, 20), elimination_trials=20,
        query_d=8, query_tau=(0.3, 0.5), relu_d=(8, 10), relu_seeds=2, relu_steps=300,
    ),
    "quick": Experiments(
        parts=tuple(PARTS), seeds=10, inputs=4096, eta=0.1, steps=45,
        table_k=(2, 3, 4), table_d=(8, 16, 20), table_m=(12, 48, 192), table_batch=(256, 1024, 8000),
        path_d=16, path_batch=4096,
        zone_k=(2, 3), zone_d=(64, 27), zone_m=(32, 96), zone_batch=(1024, 2916),
        zone_rho=(0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95),
        width_k=(2, 3, 4, 5), width_draws=400, width_m=(8, 16, 32, 64), width_d=(12, 24, 36),
        sign_k=(2, 3, 4), sign_d2=(16, 32, 64, 128, 256, 512), sign_d3=(12, 18, 27, 40, 60, 90),
        sign_d4=(10, 14, 20, 28, 40), sign_d5=(8, 10), sign_seeds=32,
        accuracy_seeds=6, accuracy_d2=(32, 64, 128), accuracy_c2=(1.0, 2.0, 4.0, 8.0, 16.0),
        accuracy_d3=(16, 24, 36, 54, 80), accuracy_c3=(0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        accuracy_rho=(0.1, 0.3, 0.5),
        sgd_d2=64, sgd_d3=27, sgd_scale=(0.6, 0.7, 0.8, 0.9, 1.0, 1.2), rotated_d2=64, rotated_d3=16,
        flips=(0.0, 0.1, 0.2, 0.3),
        unknown_d=14, unknown_batch=8192, elimination_d=(16, 32, 64, 128), elimination_trials=100,
        query_d=11, query_tau=(0.1, 0.15, 0.2, 0.3, 0.4), relu_d=(16, 32, 64), relu_seeds=3, relu_steps=4000,
    ),
    "full": Experiments(
        parts=tuple(PARTS), seeds=10, inputs=65536, eta=0.1, steps=60,
        table_k=(2, 3, 4, 5), table_d=(256, 64, 32, 20), table_m=(64, 192, 512, 2048),
        table_batch=(4096, 16384, 262144, 1048576),
        path_d=64, path_batch=65536,
        zone_k=(2, 3, 4), zone_d=(256, 64, 24), zone_m=(64, 192, 512), zone_batch=(8192, 32768, 262144),
        zone_rho=(0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95),
        width_k=(2, 3, 4, 5), width_draws=4000, width_m=(8, 16, 32, 64, 128), width_d=(24, 48, 96),
        sign_k=(2, 3, 4, 5), sign_d2=(64, 128, 256, 512, 1024, 2048, 4096), sign_d3=(16, 32, 64, 128, 256, 512),
        sign_d4=(12, 24, 48, 96), sign_d5=(10, 20, 40), sign_seeds=64,
        accuracy_seeds=10, accuracy_d2=(256, 1024, 4096), accuracy_c2=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        accuracy_d3=(32, 64, 128, 256, 512), accuracy_c3=(0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        accuracy_rho=(0.1, 0.3, 0.5),
        sgd_d2=512, sgd_d3=64, sgd_scale=(0.6, 0.7, 0.8, 0.9, 1.0, 1.2), rotated_d2=256, rotated_d3=32,
        flips=(0.0, 0.1, 0.2, 0.3, 0.4),
        unknown_d=20, unknown_batch=65536, elimination_d=(32, 64, 128, 256), elimination_trials=1000,
        query_d=13, query_tau=(0.05, 0.1, 0.15, 0.2, 0.3, 0.4), relu_d=(32, 64, 128, 256), relu_seeds=10,
        relu_steps=40000,
    ),
}  # fmt: skip
