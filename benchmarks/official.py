"""The authors' own MLLA, loaded from a folder that the user names; nothing of it is kept here.

    git clone https://github.com/LeapLabTHU/MLLA DIR && git -C DIR checkout 66b6d29

Benchmarks take it as `--official DIR`.
"""

import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import mlla

SIZES = {
    "tiny": {"embed_dim": 64, "depths": [2, 4, 8, 4], "num_heads": [2, 4, 8, 16]},
    "small": {"embed_dim": 64, "depths": [3, 6, 21, 6], "num_heads": [2, 4, 8, 16]},
    "base": {"embed_dim": 96, "depths": [3, 6, 21, 6], "num_heads": [3, 6, 12, 24]},
}


def official_class(folder: str | Path) -> Any:
    """Import the authors' class from their repository.

    Raises:
        FileNotFoundError: If the folder is not that repository.
    """
    file = Path(folder) / "models" / "mlla.py"
    if not file.is_file():
        raise FileNotFoundError(
            f"--official {folder}: there is no {file}; clone https://github.com/LeapLabTHU/MLLA"
        )
    sys.path.insert(0, str(Path(folder).resolve()))
    try:
        with warnings.catch_warnings():
            # it imports timm by names of before
            warnings.simplefilter("ignore", FutureWarning)
            return import_module("models.mlla").MLLA
    finally:
        sys.path.pop(0)


def equal_models(folder: str | Path, size: str, size_px: int = 224) -> tuple[nn.Module, nn.Module]:
    """Return the authors' classifier and ours with the same weights, both for inference.

    Norms have random weights and statistics, so that a step left out would show.

    Args:
        folder: The authors' repository.
        size: A key of `SIZES`.
        size_px: Side of the images, which their model is built for.
    """
    torch.manual_seed(0)
    theirs = official_class(folder)(img_size=size_px, **SIZES[size]).eval()
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = timm.create_model(f"mlla_{size}").eval()
    mlla.load_published(ours, theirs.state_dict())
    return theirs, ours


def relative_error(wanted: torch.Tensor, got: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return float((wanted.float() - got.float()).abs().max() / wanted.float().abs().max())
