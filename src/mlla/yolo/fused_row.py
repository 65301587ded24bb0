# SPDX-License-Identifier: AGPL-3.0-only
"""How Ultralytics' `fuse()` reaches our rows."""

from __future__ import annotations

from typing import Any

from torch import nn
from ultralytics.nn.modules.block import RepVGGDW

from mlla.inference import FoldsItself


class FusedRow(FoldsItself, RepVGGDW):
    """Mixed into rows that have inference forms.

    `BaseModel.fuse()` calls `fuse()` of a few classes of Ultralytics only, this base among them;
    nothing else of it is used. So a stock `yolo predict model=best.pt` computes by the forms, too.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def fuse(self) -> None:
        """Compute by inference forms from now on."""
        self.fold()

    def forward_fuse(self, x: Any) -> Any:
        """Compute by inference forms."""
        return self.forward_folded(x)

    @property
    def conv1(self) -> bool:
        """Exist as long as there is something to fold: `is_fused()` asks for this name.

        Raises:
            AttributeError: Once it is folded.
        """
        if self.folded is not None:
            raise AttributeError("conv1")
        return True
