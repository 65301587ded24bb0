"""What VSS blocks cost in each stage of yolo11n at 640 pixels, beside the stock stage.

    python benchmarks/vss_stage_cost.py

The parity gate: the scan equals its reference.
"""

from functools import partial

import torch
import ultralytics
from record import interleaved_ms, write_result
from torch import nn
from ultralytics.nn.modules import C2PSA, C3k2

from mlla.ops import selective_scan, selective_scan_reference
from mlla.yolo.vss_rows import C2PSAVSS, C3k2VSS

# row: input width, output width, whether the stock stage has C3k units, expansion, side of the map
STAGES = {
    "2 (P2)": (32, 64, False, 0.25, 160),
    "4 (P3)": (64, 128, False, 0.25, 80),
    "6 (P4)": (128, 128, True, 0.5, 40),
    "8 (P5)": (256, 256, True, 0.5, 20),
    "13 (neck P4)": (384, 128, False, 0.5, 40),
    "16 (neck P3)": (256, 64, False, 0.5, 80),
    "19 (neck P4)": (192, 128, False, 0.5, 40),
    "22 (neck P5)": (384, 256, True, 0.5, 20),
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    check_parity()
    pairs: dict[str, tuple[int, int, nn.Module, nn.Module]] = {
        stage: (
            width_in,
            side,
            C3k2(width_in, width, 1, c3k, expansion),
            C3k2VSS(width_in, width, 1, expansion),
        )
        for stage, (width_in, width, c3k, expansion, side) in STAGES.items()
    }
    pairs["10 (P5, C2PSA)"] = (256, 20, C2PSA(256, 256, 1), C2PSAVSS(256, 256, 1))
    rows = {}
    with torch.no_grad():
        for stage, (width_in, side, stock, ours) in pairs.items():
            x = torch.rand(1, width_in, side, side)
            times = interleaved_ms(
                {"stock": partial(stock.eval(), x), "vss": partial(ours.eval(), x)}
            )
            rows[stage] = {
                **{f"{name}_ms": round(value, 2) for name, value in times.items()},
                "vss_over_stock": round(times["vss"] / times["stock"], 2),
                "vss_minus_stock_ms": round(times["vss"] - times["stock"], 2),
            }
            print(stage, rows[stage], flush=True)
    print(write_result("vss_stage_cost", {"stages": rows}, ultralytics=ultralytics.__version__))


def check_parity() -> None:
    tokens, steps = torch.randn(1, 4, 100, 32), torch.rand(1, 4, 100, 32)
    rates, skips = -torch.rand(4, 32, 16) - 0.1, torch.rand(4, 32)
    enter, leave = torch.randn(2, 1, 4, 100, 16).unbind()
    arguments = (tokens, steps, rates, enter, leave, skips)
    torch.testing.assert_close(selective_scan(*arguments), selective_scan_reference(*arguments))


if __name__ == "__main__":
    main()
