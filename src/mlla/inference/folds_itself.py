"""Modules that fold themselves and remain what they were for training and for files."""

from collections import Counter
from typing import Any, TypeVar

import torch
from torch import nn

from mlla.inference.forms import with_forms

Self = TypeVar("Self", bound="FoldsItself")


class FoldsItself(nn.Module):
    """Mixed into a module that is to compute by inference forms of its children, once it may.

    The forms stand beside the children, outside of the state dict. Copies and files hold the module
    as it was before; training, and loading other weights, drops the forms.
    """

    folded: nn.Module | None = None

    @torch.no_grad()
    def fold(self) -> None:
        """Compute by inference forms from now on; a module without any stays as it is."""
        self.unfold()
        twin = with_forms(self, Counter(), Counter(), in_place=False)
        if twin is not self:
            # past nn.Module, which would make it a child
            self.__dict__["folded"] = twin
            self.__dict__["forward"] = self.forward_folded

    def unfold(self) -> None:
        """Compute by the children again."""
        self.__dict__.pop("folded", None)
        self.__dict__.pop("forward", None)

    def forward_folded(self, *inputs: Any) -> Any:
        """Compute by inference forms, where there are any."""
        return type(self).forward(self if self.folded is None else self.folded, *inputs)

    def train(self: Self, mode: bool = True) -> Self:
        """Switch between training, which drops the forms, and evaluation."""
        if mode:
            self.unfold()
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the forms out of files and copies."""
        return {
            name: value for name, value in vars(self).items() if name not in ("folded", "forward")
        }

    def _apply(self: Self, fn: Any, recurse: bool = True) -> Self:
        if self.folded is not None:
            # what the two share becomes the same twice, which does nothing the second time
            self.folded._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.unfold()
        super()._load_from_state_dict(*args, **kwargs)
