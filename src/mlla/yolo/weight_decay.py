# SPDX-License-Identifier: AGPL-3.0-only
"""Which parameters Ultralytics' optimizers must not decay, besides those it knows."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from mlla.layers import FourWayScan

# one number per channel, or per channel and state; dt_proj_weight and x_proj_weight are matrices
_NOT_DECAYED = ("A_log", "D", "dt_proj_bias")


def spare_scans(optimizer: Optimizer, model: nn.Module) -> None:
    """Treat the rates, skips and step biases of scans as Ultralytics treats norms.

    Decay pulls a rate of decay towards 1 and a skip towards 0, which nothing but the data should
    decide. Ultralytics spares only norms and names with "bias", and MuSGD, which orthogonalises
    every parameter of two dimensions, takes the four vectors of a `FourWayScan` for a matrix.

    Args:
        optimizer: What `build_optimizer` returned; its groups change in place.
        model: The model whose parameters it holds.

    Source: arXiv 2312.00752, whose code decays neither A_log nor D.
    """
    scans = [module for module in model.modules() if isinstance(module, FourWayScan)]
    if not scans:
        return
    spared = {id(getattr(scan, name)) for scan in scans for name in _NOT_DECAYED}
    # the first norm belongs to the backbone, as scans do: MuSGD learns the head faster
    norms = (m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.BatchNorm2d))
    norm = id(next(norms).weight)
    without_decay = next(
        group for group in optimizer.param_groups if any(id(p) == norm for p in group["params"])
    )
    for group in optimizer.param_groups:
        if group["weight_decay"] or group.get("use_muon"):
            without_decay["params"] += [p for p in group["params"] if id(p) in spared]
            group["params"] = [p for p in group["params"] if id(p) not in spared]
