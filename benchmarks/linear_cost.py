"""How cost grows with image size and batch, and where linear attention overtakes softmax attention.

    python benchmarks/linear_cost.py [--plot docs/linear-cost.svg]

Three measurements: an optimized MLLA-T per pixel from 224 to 2048 pixels, the same per image in
batches of 1 to 64, and one layer of 64 channels on grids of growing side: linear attention and
softmax attention of two heads, and the selective scan in four directions with 16 states. Without
`--plot` the figures are printed and stored; with it they are drawn as well.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from record import interleaved_ms, write_result
from torch.nn import functional

import mlla
from mlla.ops import projected_linear_attention, selective_scan

SIDES_PX = (224, 320, 448, 640, 896, 1280, 2048)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
GRID_SIDES = (7, 10, 14, 20, 28, 40, 56, 80, 112, 160)
CHANNELS, HEADS, STATES, DIRECTIONS = 64, 2, 16, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plot", type=Path, help="file to draw the figures into")
    options = parser.parse_args()
    torch.manual_seed(0)
    with torch.inference_mode():
        result = {"per_pixel_ns": per_pixel(), "per_image_ms": per_image(), "layer_ms": layers()}
    result["linear_is_faster_from_side"] = crossover(result["layer_ms"], "softmax attention")
    for name, values in result.items():
        print(name, values)
    print(write_result("linear_cost", result, timm=timm.__version__))
    if options.plot:
        draw(result, options.plot)


def per_pixel() -> dict[str, float]:
    fast = mlla.optimize(timm.create_model("mlla_tiny"))
    calls = {str(side): partial(fast, torch.rand(1, 3, side, side)) for side in SIDES_PX}
    times = interleaved_ms(calls, rounds=5)
    return {side: round(ms * 1e6 / int(side) ** 2, 1) for side, ms in times.items()}


def per_image() -> dict[str, float]:
    fast = mlla.optimize(timm.create_model("mlla_tiny"))
    calls = {str(batch): partial(fast, torch.rand(batch, 3, 224, 224)) for batch in BATCHES}
    times = interleaved_ms(calls, rounds=5)
    return {batch: round(ms / int(batch), 1) for batch, ms in times.items()}


def layers() -> dict[str, dict[str, float]]:
    """Time what mixes tokens, without projections, in milliseconds."""
    result: dict[str, dict[str, float]] = {}
    for side in GRID_SIDES:
        tokens = side**2
        heads = torch.randn(3, 1, HEADS, tokens, CHANNELS // HEADS).unbind()
        query_key, value = (
            torch.randn(1, side, side, 2 * CHANNELS),
            torch.randn(1, side, side, CHANNELS),
        )
        x, delta = torch.randn(2, 1, DIRECTIONS, tokens, CHANNELS)
        rates = -torch.arange(1.0, STATES + 1).repeat(DIRECTIONS, CHANNELS, 1)
        enter, read = torch.randn(2, 1, DIRECTIONS, tokens, STATES)
        skip = torch.ones(DIRECTIONS, CHANNELS)
        scan = partial(selective_scan, x, delta.abs() / 10, rates, enter, read, skip)
        calls = {
            "linear attention": partial(
                projected_linear_attention, query_key, value, num_heads=HEADS
            ),
            "softmax attention": partial(functional.scaled_dot_product_attention, *heads),
            "selective scan, 4 directions": scan,
        }
        times = interleaved_ms(calls, rounds=3 if side > 80 else 15)
        for name, ms in times.items():
            result.setdefault(name, {})[str(side)] = round(ms, 3)
    return result


def crossover(times: dict[str, dict[str, float]], peer: str) -> int | None:
    """Return the smallest side from which on linear attention is faster than a peer."""
    linear = times["linear attention"]
    slower = [int(side) for side in linear if linear[side] >= times[peer][side]]
    later = [side for side in GRID_SIDES if not slower or side > max(slower)]
    return min(later, default=None)


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "mlla"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    curve(axes[0], result["per_pixel_ns"], "image side, pixels", "time per pixel, ns")
    axes[0].set_title("MLLA-T, one image")
    curve(axes[1], result["per_image_ms"], "images in a batch", "time per image, ms")
    axes[1].set_title("MLLA-T, 224 x 224")
    for name, times in result["layer_ms"].items():
        axes[2].loglog([int(s) ** 2 for s in times], times.values(), marker="o", label=name)
    axes[2].set(xlabel="tokens", ylabel="time, ms", title="one layer, 64 channels")
    axes[2].legend()
    for axis in axes:
        axis.grid(True, alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    print(path)


def curve(axis: Any, values: dict[str, float], horizontal: str, vertical: str) -> None:
    axis.semilogx([int(key) for key in values], values.values(), marker="o", base=2)
    ticks = [int(key) for key in values]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel=horizontal, ylabel=vertical, ylim=(0, 1.1 * max(values.values())))


if __name__ == "__main__":
    main()
