"""Models that contain our blocks, made fast for inference."""

from mlla.inference.folds_itself import FoldsItself
from mlla.inference.optimizations import Optimizations
from mlla.inference.optimize import optimize

__all__ = ["FoldsItself", "Optimizations", "optimize"]
