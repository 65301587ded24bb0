"""What MLLA blocks cost in each stage of yolov8n at 640 pixels, beside the stock C2f.

    python benchmarks/stage_cost.py

The parity gate: the blocks' attention equals the O(N^2) reference.
"""

from functools import partial

import torch
import ultralytics
from record import interleaved_ms, write_result
from ultralytics.nn.modules import C2f

from mlla.ops import linear_attention, linear_attention_reference
from mlla.yolo.rows import C2fMLLA, MLLABlocks

# row, input width, output width, repeats, side of the map
STAGES = {
    "2 (P2)": (32, 32, 1, 160),
    "4 (P3)": (64, 64, 2, 80),
    "6 (P4)": (128, 128, 2, 40),
    "8 (P5)": (256, 256, 1, 20),
    "12 (neck P4)": (384, 128, 1, 40),
    "15 (neck P3)": (192, 64, 1, 80),
    "18 (neck P4)": (192, 128, 1, 40),
    "21 (neck P5)": (384, 256, 1, 20),
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    grids = torch.rand(3, 1, 20, 20, 64).unbind()
    torch.testing.assert_close(
        linear_attention(*grids, num_heads=2), linear_attention_reference(*grids, num_heads=2)
    )
    rows = {}
    with torch.no_grad():
        for stage, (width_in, width, repeats, side) in STAGES.items():
            x, y = torch.rand(1, width_in, side, side), torch.rand(1, width, side, side)
            head_dim = min(32, width // 2)
            modules = {
                "C2f": (C2f(width_in, width, repeats, True), x),
                "C2fMLLA": (C2fMLLA(width_in, width, repeats, head_dim=head_dim), x),
                "MLLABlocks": (MLLABlocks(width, width), y),
            }
            calls = {name: partial(module.eval(), v) for name, (module, v) in modules.items()}
            times = interleaved_ms(calls)
            rows[stage] = {
                **{f"{name}_ms": round(value, 2) for name, value in times.items()},
                "C2fMLLA_over_C2f": round(times["C2fMLLA"] / times["C2f"], 2),
                "C2fMLLA_minus_C2f_ms": round(times["C2fMLLA"] - times["C2f"], 2),
            }
            print(stage, rows[stage], flush=True)
    print(write_result("stage_cost", {"stages": rows}, ultralytics=ultralytics.__version__))


if __name__ == "__main__":
    main()
