"""Ultralytics' count of our operators is that of torch and that of the formula."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.utils.torch_utils import get_flops

from mlla.layers import FourWayScan
from mlla.ops.grid_scan import NUM_SCANS
from mlla.yolo.counted_operators import count_our_operators

WIDTH, STATES, RANK, SIZE_PX = 6, 4, 2, 64


class Scanned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 3))
        self.scan = FourWayScan(WIDTH, num_states=STATES, dt_rank=RANK)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.scan(image.repeat(1, 2, 1, 1).permute(0, 2, 3, 1))


def test_scans_are_in_the_gflops_that_ultralytics_prints() -> None:
    if "mlla.selective_scan" not in count_our_operators():
        pytest.skip("this thop counts modules only")
    model = Scanned()
    printed = 1e9 * get_flops(model, imgsz=SIZE_PX)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, SIZE_PX, SIZE_PX))
    tokens = NUM_SCANS * SIZE_PX**2
    projected = 2 * tokens * WIDTH * (RANK + 2 * STATES + RANK)
    scanned = tokens * WIDTH * (7 * STATES + 3)
    assert counter.get_total_flops() == projected + scanned
    assert printed == pytest.approx(projected + scanned, rel=0.01)
