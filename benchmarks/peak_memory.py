"""Peak memory of one forward pass in processes of its own, on Linux."""

import torch
from memory import growth_mib, median_mib
from official import equal_models

import mlla

KINDS = ("official", "plain", "optimized")


def peak_mib(kind: str, folder: str, size: str, batch: int) -> float:
    """Return how far the resident set grows above that of the loaded model, in MiB.

    Args:
        kind: One of `KINDS`.
        folder: The authors' repository.
        size: A key of `official.SIZES`.
        batch: Number of images of 224 pixels.
    """
    return median_mib(_measure, kind, folder, size, batch)


def _measure(kind: str, folder: str, size: str, batch: int) -> float:
    theirs, ours = equal_models(folder, size)
    model = {"official": theirs, "plain": ours}.get(kind) or mlla.optimize(ours)
    del theirs, ours
    image = torch.rand(batch, 3, 224, 224)
    with torch.inference_mode():
        # what is compiled or opened once is no memory of a pass
        model(image[:1])
        return growth_mib(lambda: model(image))
