# SPDX-License-Identifier: AGPL-3.0-only
"""`train(cls_loss=...)`: another classification loss in the place of binary cross-entropy.

The criteria of Ultralytics' detectors keep an element-wise binary cross-entropy at `.bce`, alone
or, where a head is trained one-to-many and one-to-one, in two criteria. The trainer lets the
network build its criterion as ever and then changes that one attribute. Validation has a criterion
of its own, which stays as it is.

The choice is stored with the network's configuration, so that a resumed training finds it.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn.modules import RTDETRDecoder
from ultralytics.utils import DEFAULT_CFG, LOGGER

from mlla.losses import EMASlideLoss, FocalLoss, QualityFocalLoss, SlideLoss, VarifocalLoss

PLAIN = "bce"
CLASS_LOSSES: dict[str, type[nn.Module]] = {
    PLAIN: nn.BCEWithLogitsLoss,
    "slide": SlideLoss,
    "ema_slide": EMASlideLoss,
    "focal": FocalLoss,
    "varifocal": VarifocalLoss,
    "quality_focal": QualityFocalLoss,
}
TASKS = ("detect", "segment", "pose", "obb")
# keys of a network's configuration
_NAME, _STATE = "cls_loss", "cls_loss_state"


def class_loss_name(asked: object) -> str:
    """Return the name of a loss as `CLASS_LOSSES` has it.

    Raises:
        ValueError: If there is no such loss.
    """
    name = asked.strip().lower().replace("-", "_") if isinstance(asked, str) else None
    if name not in CLASS_LOSSES:
        near = get_close_matches(str(name), CLASS_LOSSES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"cls_loss={asked!r} is unknown; {hint}Choose from {', '.join(CLASS_LOSSES)}"
        )
    return str(name)


def check_class_loss(asked: object, network: Any, task: str, trainer: object) -> None:
    """Raise where a loss cannot be chosen, before anything is built.

    Args:
        asked: What was given as `cls_loss`.
        network: The model to train.
        task: Its task.
        trainer: The class that will train it.

    Raises:
        ValueError: If the loss is unknown, or network or trainer have no place for it.
    """
    class_loss_name(asked)
    if task not in TASKS or isinstance(network.model[-1], RTDETRDecoder):
        kind = "an RT-DETR" if task in TASKS else f"a model for the task {task!r}"
        raise ValueError(
            f"cls_loss={asked!r}: {kind} is not trained with an element-wise binary "
            f"cross-entropy that could be replaced; leave cls_loss out. Only the YOLO models for "
            f"{', '.join(TASKS)} are"
        )
    if not (isinstance(trainer, type) and issubclass(trainer, ChoosesClassLoss)):
        raise ValueError(
            f"cls_loss={asked!r}: the trainer {trainer!r} does not know it; derive your trainer "
            "from the one of the task in mlla.yolo.trainers"
        )


class ChoosesClassLoss:
    """Mixed into a trainer of Ultralytics, before it, whose criterion has the slot.

    Args:
        cfg: As in Ultralytics.
        overrides: As in Ultralytics; and `cls_loss`, the name of a loss.
        _callbacks: As in Ultralytics.

    Raises:
        ValueError: If the loss is unknown.
    """

    args: Any
    ema: Any
    model: Any
    resume: bool
    save_dir: Path

    def __init__(
        self, cfg: Any = DEFAULT_CFG, overrides: Any = None, _callbacks: Any = None
    ) -> None:
        overrides = dict(overrides or {})
        asked = overrides.pop("cls_loss", None)
        self.cls_loss = None if asked is None else class_loss_name(asked)
        super().__init__(cfg, overrides, _callbacks)  # type: ignore[call-arg]

    def get_model(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Build a model; unless it is resumed, it forgets the loss of an earlier training."""
        network = super().get_model(*args, **kwargs)  # type: ignore[misc]
        if not self.resume:
            for key in (_NAME, _STATE):
                network.yaml.pop(key, None)
            if self.cls_loss not in (None, PLAIN):
                network.yaml[_NAME] = self.cls_loss
        return network

    def train(self) -> Any:
        """Train, here or in one process per GPU."""
        if self.cls_loss is not None and _starts_processes(self.args.device):
            # before 8.4.145 they build their trainer and model from these alone
            self.args.cls_loss = self.cls_loss
        return super().train()  # type: ignore[misc]

    def run_callbacks(self, event: str) -> None:
        """Run callbacks; the loss is swapped just before those of `on_pretrain_routine_end`."""
        if event == "on_pretrain_routine_end":
            self._swap_class_loss()
        if event == "on_train_epoch_end":
            self._before_validation()
        super().run_callbacks(event)  # type: ignore[misc]

    def _swap_class_loss(self) -> None:
        network = _network(self.model)
        name = network.yaml.get(_NAME, PLAIN)
        if self.cls_loss not in (None, name):
            raise ValueError(
                f"cls_loss={self.cls_loss!r}: the training to resume has {name!r} and goes on with "
                "it; leave cls_loss out, or start a new training from the checkpoint"
            )
        if name == PLAIN:
            return
        # resuming, Ultralytics has built the criterion of a YOLO26 already
        if getattr(network, "criterion", None) is None:
            network.criterion = network.init_criterion()
        criteria = _with_slot(network.criterion)
        for criterion in criteria:
            criterion.bce = CLASS_LOSSES[name](reduction="none")
        if _STATE in network.yaml:
            for criterion, state in zip(criteria, network.yaml[_STATE], strict=True):
                criterion.bce.load_state_dict(state)
        LOGGER.info(f"cls_loss: {name} in the place of binary cross-entropy, in training only")
        if int(os.environ.get("RANK", -1)) in (-1, 0):
            # the file that Ultralytics writes knows its own arguments only
            with (self.save_dir / "args.yaml").open("a", encoding="utf-8") as file:
                file.write(f"cls_loss: {name}\n")

    def _before_validation(self) -> None:
        network = _network(self.model)
        if network.yaml.get(_NAME, PLAIN) == PLAIN:
            return
        states = [dict(c.bce.state_dict()) for c in _with_slot(network.criterion, swapped=True)]
        if any(states):
            network.yaml[_STATE] = states
        if self.ema:
            # after a loss of NaN Ultralytics copies the network anew, and its criterion with it
            _network(self.ema.ema).criterion = None


def _with_slot(criterion: Any, *, swapped: bool = False) -> list[Any]:
    """Return the criteria that keep an element-wise binary cross-entropy.

    Raises:
        ValueError: If there is none.
    """
    nested = [getattr(criterion, name, None) for name in ("one2many", "one2one")]
    criteria = [criterion] if None in nested else nested
    kinds = tuple(CLASS_LOSSES.values()) if swapped else nn.BCEWithLogitsLoss
    for found in criteria:
        loss = getattr(found, "bce", None)
        if not isinstance(loss, kinds) or loss.reduction != "none":
            raise ValueError(
                f"cls_loss: {type(found).__name__} has no element-wise binary cross-entropy at "
                "'.bce' that could be replaced; leave cls_loss out"
            )
    return criteria


def _network(model: Any) -> Any:
    """Return the network inside the wrappers of several processes, compilation, distillation."""
    for wrapped in ("module", "_orig_mod", "student_model"):
        model = getattr(model, wrapped, model)
    return model


def _starts_processes(device: object) -> bool:
    several = isinstance(device, list | tuple) or "," in str(device)
    return several and "LOCAL_RANK" not in os.environ
