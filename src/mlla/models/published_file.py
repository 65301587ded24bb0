"""Checkpoint files of the authors, read without running anything that is in them."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def read_published_file(path: str | Path) -> Mapping[str, Any]:
    """Read a .pth file with `weights_only`.

    Beside tensors and plain values, the settings and the NumPy numbers are let in that the
    authors' training code writes: both as data.

    Args:
        path: The file.

    Returns:
        Its content; `load_published` knows what is where in it.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is no checkpoint, or holds objects that would have to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the .pth file of the authors")
    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises a dozen different ones for a file that is not its own
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise ValueError(
            f"{path} cannot be read as weights: {reason}; if it is from a source you trust, save "
            "its tensors alone with torch.save(checkpoint['model'], ...)"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not tensors by name")
    return content


def _harmless() -> list[Any]:
    scalar = np.float64(0).__reduce__()[0]
    names = (f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))
    return [
        # the settings beside the weights; of mappings, torch fills only those it knows
        (OrderedDict, "yacs.config.CfgNode"),
        *((scalar, name) for name in names),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
    ]
