"""One training loop for every chapter that trains: schedule, precision, progress, checkpoints, exact resume,
several GPUs.

`train(model, batch, loss, settings)` draws the data of a step from `batch(step, generator)`, a function of
(seed, step) alone: a run that was killed at any moment goes on from its last checkpoint and ends, on the CPU, with
the same bits as one that never was, and several processes share the rows of the same batches.
"""

from tenpapers.training._checkpoint import CheckpointError
from tenpapers.training._loop import NonFiniteError, Trained, train
from tenpapers.training._settings import SCHEDULES, Settings, learning_rate, next_token_loss

__all__ = [
    "SCHEDULES",
    "CheckpointError",
    "NonFiniteError",
    "Settings",
    "Trained",
    "learning_rate",
    "next_token_loss",
    "train",
]
