"""Inference of MLLA beside its authors' code, timm's models of the same cost and YOLO.

    python benchmarks/inference.py PART ... --official DIR [--model tiny]

Parts, each of some minutes: models, compiled, memory, pixels, attention, detectors. The parity
gate: with equal weights, outputs equal those of the authors' code.
"""

import argparse
import json
from functools import partial
from typing import Any

import timm
import torch
import ultralytics
from official import SIZES, equal_models, relative_error
from peak_memory import KINDS, peak_mib
from record import RESULTS, interleaved_ms, write_result
from torch import nn
from torch.nn import functional

import mlla
from mlla.ops import linear_attention_reference, projected_linear_attention
from mlla.yolo import YOLO, plug

PEERS = ("mambaout_tiny", "convnext_tiny", "swin_tiny_patch4_window7_224")
# must and goal of what is printed, by part and key: at least, or for the last three at most
TARGETS = {
    "float32, batch 1": (1.3, 1.6),
    "float32, batch 8": (1.45, 1.8),
    "bfloat16, batch 1": (2.4, 3.0),
    "bfloat16, batch 8": (2.8, 3.5),
    "80x80": (1.0, 1.0),
    "160x160": (1.0, 5.0),
    "memory": (0.7, 0.4),
    "time per pixel": (1.15, 1.0),
    "yolov8n + mlla@neck / yolov8n": (1.35, 1.15),
}
FLOAT32_TOLERANCE, BFLOAT16_TOLERANCE = 1e-5, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = {
        "models": models,
        "compiled": compiled,
        "memory": memory,
        "pixels": pixels,
        "attention": attention,
        "detectors": detectors,
    }
    parser.add_argument("parts", nargs="+", choices=parts)
    parser.add_argument("--official", required=True, help="the authors' repository")
    parser.add_argument("--model", choices=SIZES, default="tiny")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    file = RESULTS / f"inference_{arguments.model}.json"
    # parts measured in an earlier run stay, each with the ratios of that run
    results: dict[str, Any] = json.loads(file.read_text())["parts"] if file.exists() else {}
    for part in arguments.parts:
        with torch.inference_mode():
            results[part] = parts[part](arguments.official, arguments.model)
        show(part, results[part])
        versions = {"timm": timm.__version__, "ultralytics": ultralytics.__version__}
        print(write_result(file.stem, {"parts": results}, **versions), flush=True)


def models(folder: str, size: str) -> dict[str, Any]:
    """Time batches of 1 and 8, float32 and bfloat16, against the authors' eager float32."""
    theirs, ours = equal_models(folder, size)
    image = torch.rand(8, 3, 224, 224)
    fast = mlla.optimize(ours)
    half = mlla.optimize(ours, dtype=torch.bfloat16)
    check_parity(theirs, image[:2], fast, half)
    networks = {"official": theirs, "plain": ours, "float32": fast, "bfloat16": half}
    networks |= {name: timm.create_model(name).eval() for name in PEERS}
    result = {}
    for batch, rounds in ((1, 15), (8, 5)):
        calls = {name: partial(network, image[:batch]) for name, network in networks.items()}
        calls["official bfloat16"] = partial(autocast, theirs, image[:batch])
        times = interleaved_ms(calls, rounds)
        for name, time_ms in times.items():
            if name != "official":
                result[f"{name}, batch {batch}"] = round(times["official"] / time_ms, 2)
    return result


def check_parity(theirs: nn.Module, image: torch.Tensor, fast: nn.Module, half: nn.Module) -> None:
    wanted = theirs(image)
    errors = relative_error(wanted, fast(image)), relative_error(wanted, half(image))
    print(f"parity with the authors' code: float32 {errors[0]:.1e}, bfloat16 {errors[1]:.1e}")
    if errors[0] > FLOAT32_TOLERANCE or errors[1] > BFLOAT16_TOLERANCE:
        raise SystemExit("outputs differ from those of the authors' code; nothing was timed")


def autocast(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return network(image)


def compiled(folder: str, size: str) -> dict[str, Any]:
    """Time torch.compile of ours, plain and optimized, where there is a C++ compiler."""
    theirs, ours = equal_models(folder, size)
    image = torch.rand(8, 3, 224, 224)
    networks = {
        "plain": ours,
        "float32": mlla.optimize(ours),
        "bfloat16": mlla.optimize(ours, dtype=torch.bfloat16),
    }
    calls = {"official": partial(theirs, image)}
    calls |= {name: partial(torch.compile(n), image) for name, n in networks.items()}
    times = interleaved_ms(calls, rounds=5)
    return {
        f"{name} compiled, batch 8": round(times["official"] / time_ms, 2)
        for name, time_ms in times.items()
        if name != "official"
    }


def memory(folder: str, size: str) -> dict[str, Any]:
    """Measure the peak of a batch of 8 above the loaded model, each in a fresh process."""
    peaks = {kind: peak_mib(kind, folder, size, batch=8) for kind in KINDS}
    result = {f"{kind}, MiB": round(peak) for kind, peak in peaks.items()}
    return {**result, "memory": round(peaks["optimized"] / peaks["official"], 2)}


def pixels(folder: str, size: str) -> dict[str, Any]:
    """Time one image of growing size, per pixel and relative to 224 pixels."""
    fast = mlla.optimize(equal_models(folder, size)[1])
    sides = (224, 448, 896, 2048)
    calls = {str(side): partial(fast, torch.rand(1, 3, side, side)) for side in sides}
    times = interleaved_ms(calls, rounds=3)
    per_pixel = {side: times[side] / int(side) ** 2 for side in times}
    relative = {f"{side} px": round(per_pixel[side] / per_pixel["224"], 2) for side in times}
    return {**relative, "time per pixel": max(relative.values())}


def attention(_folder: str, _size: str) -> dict[str, Any]:
    """Time the attention core from projections to output against softmax attention, 2 heads."""
    small = torch.randn(1, 6, 5, 128), torch.randn(1, 6, 5, 64)
    query, key = (functional.elu(small[0]) + 1).chunk(2, dim=-1)
    wanted = linear_attention_reference(query, key, small[1], num_heads=2)
    torch.testing.assert_close(projected_linear_attention(*small, num_heads=2), wanted)
    result = {}
    for side in (20, 40, 80, 160):
        query_key, value = torch.randn(1, side, side, 128), torch.randn(1, side, side, 64)
        heads = torch.randn(3, 1, 2, side**2, 32).unbind()
        calls = {
            "linear": partial(projected_linear_attention, query_key, value, num_heads=2),
            "softmax": partial(functional.scaled_dot_product_attention, *heads),
        }
        times = interleaved_ms(calls, rounds=3 if side > 40 else 15)
        result[f"{side}x{side}"] = round(times["softmax"] / times["linear"], 2)
    return result


def detectors(_folder: str, _size: str) -> dict[str, Any]:
    """Time fused detectors at 640 pixels, each against the one without our blocks."""
    stock = YOLO("yolov8n.yaml")
    pairs = {
        "yolov8n + mlla@neck / yolov8n": (plug(stock, at="neck"), stock),
        "yolo11n-c2psa-mlla / yolo11n": (YOLO("yolo11n-c2psa-mlla"), YOLO("yolo11n.yaml")),
        "yolo12n-mlla / yolo12n": (YOLO("yolo12n-mlla"), YOLO("yolo12n.yaml")),
    }
    image = torch.rand(1, 3, 640, 640)
    networks: dict[str, nn.Module] = {}
    for name, (ours, base) in pairs.items():
        ours.model.eval()
        wanted = ours.model(image)[0]
        networks[name] = ours.model.fuse(verbose=False)
        error = relative_error(wanted, networks[name](image)[0])
        if error > 1e-4:
            raise SystemExit(f"{name}: fuse() changes outputs by {error:.1e}; nothing was timed")
        networks[name.split(" / ")[1]] = base.model.eval().fuse(verbose=False)
    calls = {name: partial(network, image) for name, network in networks.items()}
    times = interleaved_ms(calls, rounds=7)
    return {name: round(times[name] / times[name.split(" / ")[1]], 2) for name in pairs}


def show(part: str, result: dict[str, Any]) -> None:
    print(f"\n{part}")
    for name, value in result.items():
        must, goal = TARGETS.get(name, ("", ""))
        print(f"  {name:36} {value:>8}  {f'must {must}, goal {goal}' if must else ''}")


if __name__ == "__main__":
    main()
