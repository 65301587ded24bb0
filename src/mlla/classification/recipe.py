"""How MLLA was trained on ImageNet-1K, and what may be changed of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# learning rate of the recipe for each so many images of a batch
BASE_LR, BASE_BATCH = 5e-4, 512
WARMUP_SHARE = 20 / 300
# drop path and MESA of the published sizes
PUBLISHED = {"tiny": (0.2, 1.0), "small": (0.3, 1.5), "base": (0.5, 2.0)}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimisation and augmentation; the defaults are the published ones.

    Args:
        lr: Largest learning rate; by default 5e-4 for every 512 images of a batch.
        warmup_epochs: Epochs of the linear rise; by default a fifteenth of all, which are the 20
            of the published 300.
        warmup_lr: Where the rise begins.
        min_lr: Where the cosine ends.
        weight_decay: Of the matrices.
        label_smoothing: Share of the target that goes to all classes.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of CutMix; 0 for none. With both, each forward pass draws one of them.
        auto_augment: timm's name of a RandAugment or AutoAugment; None for none, which leaves
            crop, flip and some jitter of colours.
        random_erasing: Probability of erasing a rectangle.
        drop_path: Probability of skipping a branch in the last block; by default that of the
            size, 0 for models that are no MLLA.
        mesa: Weight of `mesa_loss`, from a quarter of the epochs on; by default that of the size,
            0 for models that are no MLLA.

    Raises:
        ValueError: If a value makes no sense.

    Source: arXiv 2405.16605, appendix; LeapLabTHU/MLLA @66b6d29.
    """

    lr: float | None = None
    warmup_epochs: float | None = None
    warmup_lr: float = 5e-7
    min_lr: float = 5e-6
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    random_erasing: float = 0.25
    drop_path: float | None = None
    mesa: float | None = None

    def __post_init__(self) -> None:
        if not (self.auto_augment is None or isinstance(self.auto_augment, str)):
            raise ValueError(f"auto_augment={self.auto_augment!r} must be a name, or None")
        for name, largest in (
            ("lr", math.inf),
            ("warmup_epochs", math.inf),
            ("warmup_lr", math.inf),
            ("min_lr", math.inf),
            ("weight_decay", math.inf),
            ("label_smoothing", 1),
            ("mixup", math.inf),
            ("cutmix", math.inf),
            ("random_erasing", 1),
            ("drop_path", 1),
            ("mesa", math.inf),
        ):
            value = getattr(self, name)
            if value is None and name in ("lr", "warmup_epochs", "drop_path", "mesa"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}={value!r} must be a number")
            least_is_missed = value <= 0 if name == "lr" else value < 0
            if least_is_missed or not math.isfinite(value) or value >= largest:
                raise ValueError(
                    f"{name}={value} must be {'more than' if name == 'lr' else 'at least'} 0"
                    + ("" if largest == math.inf else f" and less than {largest}")
                )

    def for_training(self, model: str, *, batch: int, epochs: int) -> Recipe:
        """Fill in what depends on the model, the batch and the length.

        Args:
            model: Name of the model.
            batch: Images of an update.
            epochs: Epochs of the training.

        Returns:
            A recipe without None.

        Raises:
            ValueError: If the warm-up takes all epochs, or the rates are out of order.
        """
        family, _, size = model.partition("_")
        drop_path, mesa = PUBLISHED.get(size, (0.0, 0.0)) if family in _FAMILIES else (0.0, 0.0)
        filled = replace(
            self,
            lr=BASE_LR * batch / BASE_BATCH if self.lr is None else self.lr,
            warmup_epochs=(
                epochs * WARMUP_SHARE if self.warmup_epochs is None else self.warmup_epochs
            ),
            drop_path=drop_path if self.drop_path is None else self.drop_path,
            mesa=mesa if self.mesa is None else self.mesa,
        )
        if filled.warmup_epochs is not None and filled.warmup_epochs >= epochs:
            raise ValueError(
                f"warmup_epochs={filled.warmup_epochs} must be less than epochs={epochs}"
            )
        if filled.lr is not None and max(self.warmup_lr, self.min_lr) > filled.lr:
            raise ValueError(
                f"warmup_lr={self.warmup_lr} and min_lr={self.min_lr} must not be more than "
                f"lr={filled.lr:g}; lower them too"
            )
        return filled


_FAMILIES = ("mlla", "mila")
