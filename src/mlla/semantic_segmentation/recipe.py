"""The published recipe of UPerNet on MLLA, and what of it can be changed."""

from __future__ import annotations

from dataclasses import dataclass

# of ADE20K: 160,000 updates of 16 crops of 20,210 images
PUBLISHED_EPOCHS = 127
PUBLISHED_BATCH = 16
# updates of the linear rise of the learning rate, and at most this share of a short training
_WARMUP_UPDATES, _LARGEST_WARMUP = 1500, 0.1


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe:
    """Optimisation and augmentation of a training.

    Args:
        lr: Largest learning rate.
        weight_decay: Of the matrices.
        power: How the rate falls: (1 - update / updates)^power.
        warmup_updates: Updates of the linear rise before; None for 1500, or a tenth of the
            training where that is less.
        size_px: Shorter side of the images that random scales multiply, and at which images are
            scored.
        crop_px: Height and width of the crops.
        auxiliary_weight: Weight of the loss of the second head; 0 leaves it out.
        dice_weight: Weight of the Dice loss beside the cross-entropy; None for what is published,
            1 for VM-UNet and 0 for the others.

    Raises:
        ValueError: If a number makes no sense.

    Source: mlla_b_upernet in LeapLabTHU/MLLA @66b6d29; for Dice, arXiv 2402.02491, section 3.2.
    """

    lr: float = 6e-5
    weight_decay: float = 0.01
    power: float = 1.0
    warmup_updates: int | None = None
    size_px: int = 512
    crop_px: int = 512
    auxiliary_weight: float = 0.4
    dice_weight: float | None = None

    def __post_init__(self) -> None:
        for name, is_right, wanted in (
            ("lr", self.lr > 0, "positive"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("power", self.power > 0, "positive"),
            ("warmup_updates", (self.warmup_updates or 0) >= 0, "at least 0, or None"),
            ("size_px", self.size_px >= 1, "at least 1 pixel"),
            ("crop_px", self.crop_px >= 1, "at least 1 pixel"),
            ("auxiliary_weight", self.auxiliary_weight >= 0, "at least 0"),
            ("dice_weight", (self.dice_weight or 0) >= 0, "at least 0, or None"),
        ):
            if not is_right:
                raise ValueError(f"{name}={getattr(self, name)} must be {wanted}")

    def warmup_of(self, updates: int) -> int:
        """Return the updates of the rise in a training of so many.

        Raises:
            ValueError: If the rise is asked to be longer than the training.
        """
        if self.warmup_updates is None:
            return min(_WARMUP_UPDATES, int(_LARGEST_WARMUP * updates))
        if self.warmup_updates >= updates:
            raise ValueError(
                f"warmup_updates={self.warmup_updates} must be less than the {updates} updates of "
                "the training"
            )
        return self.warmup_updates
