"""A detector in a folder: what it takes to build it, its classes and its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mlla.instance_segmentation.mask_rcnn import PUBLISHED_SIZE_PX, Detector, mask_rcnn
from mlla.models.weights_folder import read_config, read_weights, write_weights

_ARCHITECTURE = "mask_rcnn"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What it takes to build a detector.

    Args:
        backbone: Name of a timm model.
        classes: Names of the classes by the ids of the data set, in the order of the labels.
        size_px: Length that the shorter side of an image is brought to.
        backbone_options: Further arguments of the timm model.
        detector_options: Further arguments of torchvision's Mask R-CNN.
    """

    backbone: str
    classes: Mapping[int, str]
    size_px: int = PUBLISHED_SIZE_PX[0]
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    detector_options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, drop_path_rate: float = 0.0) -> Detector:
        """Build the detector with fresh weights; the rate matters in training only."""
        return mask_rcnn(
            self.backbone,
            len(self.classes),
            size_px=self.size_px,
            drop_path_rate=drop_path_rate,
            backbone_options=dict(self.backbone_options),
            detector_options=dict(self.detector_options),
        )


def save_detector(
    model: nn.Module, description: Description, folder: str | Path, *, overwrite: bool = False
) -> None:
    """Write config.json and model.safetensors.

    Args:
        model: The detector.
        description: What built it.
        folder: Where to.
        overwrite: Replace a detector that is there.

    Raises:
        FileExistsError: If the folder has weights and `overwrite` is False.
        OSError: If a file cannot be written.
    """
    config = {"architecture": _ARCHITECTURE, **asdict(description)}
    config["classes"] = [[number, name] for number, name in description.classes.items()]
    write_weights(folder, model.state_dict(), config, overwrite=overwrite)


def load_detector(folder: str | Path) -> tuple[Detector, Description]:
    """Read what `save_detector` wrote, with the digest of the weights checked.

    Args:
        folder: A folder, or the folder of a training, of which `best` is read.

    Returns:
        The detector in evaluation mode, and what built it.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds another kind of model, or damaged weights.
    """
    path = Path(folder)
    if (path / "best").is_dir():
        path = path / "best"
    config = read_config(path)
    if config.get("architecture") != _ARCHITECTURE:
        raise ValueError(
            f"{path} holds the architecture {config.get('architecture')!r}, not a Mask R-CNN that "
            "`mlla mask-rcnn train` wrote"
        )
    description = Description(
        backbone=config["backbone"],
        classes=dict(config["classes"]),
        size_px=config["size_px"],
        backbone_options=config["backbone_options"],
        detector_options=config["detector_options"],
    )
    model = description.build()
    model.load_state_dict(read_weights(path)[1])
    return model.eval(), description
