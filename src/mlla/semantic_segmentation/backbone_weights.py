"""Weights of a classifier, or of a VM-UNet, as the start of a segmenter."""

from __future__ import annotations

from pathlib import Path

from mlla.models import MLLA, load_published
from mlla.models.published_file import read_published_file
from mlla.models.weights_folder import read_weights
from mlla.semantic_segmentation.segmenter import VM_UNET, Segmenter


def load_backbone(segmenter: Segmenter, weights: str | Path) -> None:
    """Load the weights of a backbone, completely or not at all.

    Args:
        segmenter: On an MLLA, or a VM-UNet.
        weights: A published .pth file, or a folder that `mlla.models.save_pretrained` wrote. The
            last layer of a VM-UNet stays fresh.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the weights do not fit, or the backbone is another.
    """
    path = Path(weights)
    content = read_weights(path)[1] if path.is_dir() else read_published_file(path)
    if segmenter.plan.model == VM_UNET:
        load_published(segmenter.network, content, keep=("head",))
        return
    backbone = getattr(segmenter.network.encoder.model, "model", None)
    if not isinstance(backbone, MLLA):
        raise ValueError(
            f"weights={str(weights)!r}: only mlla_tiny, mlla_small, mlla_base and vm_unet start "
            f"from weights here; {segmenter.plan.model} starts fresh"
        )
    load_published(backbone, content)
