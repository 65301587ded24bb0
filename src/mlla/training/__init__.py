"""One training loop for classification, detection and segmentation.

It goes on exactly where it was stopped, and gives the same weights on one process as on several.
"""

from mlla.training.batches import evaluation_batches
from mlla.training.launch import Launch
from mlla.training.loop import fit
from mlla.training.schedules import adamw, cosine_schedule, poly_schedule, step_schedule
from mlla.training.settings import LoopSettings
from mlla.training.task import Moment, Samples, Task

__all__ = [
    "Launch",
    "LoopSettings",
    "Moment",
    "Samples",
    "Task",
    "adamw",
    "cosine_schedule",
    "evaluation_batches",
    "fit",
    "poly_schedule",
    "step_schedule",
]
