"""Does it trace and export, and hold at another size than the exported one?"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mlla.check.attempt import FailedError, attempt
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject

_TOLERANCE = 1e-3
_REMEDY = (
    "Take sizes from x.shape and use them as they are: no int(n ** 0.5), no math.sqrt(n), no "
    "tables made for one size. Complex numbers (torch.view_as_complex) cannot be exported to "
    "ONNX: write the rotation with sine and cosine."
)


def probe_exports(subject: Subject) -> list[Finding]:
    """Trace and export at one size, run at two, compare with PyTorch."""
    findings = [_probe("torch.jit.trace", subject, _trace)]
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        seen = f"{' and '.join(missing)} not installed: pip install 'mlla[export]'"
        return [*findings, Finding("ONNX", Verdict.NOT_CHECKED, seen)]
    return [*findings, _probe("ONNX", subject, _export_onnx)]


class _MapsIn(nn.Module):
    """Takes maps for a module with another layout, so that all are exported alike."""

    def __init__(self, subject: Subject, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._call = subject.layout.call

    def forward(self, maps: Tensor) -> Tensor:
        """Call the module with maps."""
        return self._call(self.module, maps)


def _probe(
    check: str, subject: Subject, export: Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]]
) -> Finding:
    side = subject.side
    first = subject.square()
    others = [subject.maps(1, side + 8, side + 8), subject.maps(1, side - 4, side + 12)]
    done = f"Made it at {side}x{side}, ran it there and at other sizes that PyTorch handles."
    module = _MapsIn(subject, subject.build_spread()).eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = attempt(lambda: export(module, first))
            error = _error(exported, module, first)
    except FailedError as failure:
        return Finding(
            check,
            Verdict.NOTE,
            f"cannot be done: {failure}",
            done=done,
            why="Formats that are made from it, such as ONNX, OpenVINO and TensorRT, are not to "
            "be had.",
            remedy=_REMEDY,
        )
    if error > _TOLERANCE:
        return _fault(
            check, f"other numbers than PyTorch at {side}x{side}: off by {error:.1%}", done
        )
    tried, stuck, errors = [], [], [error]
    for maps in others:
        size = f"{maps.shape[2]}x{maps.shape[3]}"
        try:
            with torch.no_grad():
                expected = attempt(lambda: module(maps))  # noqa: B023
        except FailedError:
            continue
        if expected.shape != maps.shape:
            continue
        tried.append(size)
        try:
            error = _error(exported, module, maps)
        except FailedError:
            stuck.append(size)
            continue
        if error > _TOLERANCE:
            seen = f"made at {side}x{side}, it silently gives wrong numbers at {size}: "
            return _fault(check, seen + f"off by {error:.1%}", done)
        errors.append(error)
    if stuck:
        return Finding(
            check,
            Verdict.NOTE,
            f"works at {side}x{side} only, where it was made; raises at {', '.join(stuck)}",
            done=done,
            why="format=onnx dynamic=True does not work; a fixed size does.",
            remedy=_REMEDY,
        )
    where = f"{side}x{side}" + (f" and {', '.join(tried)}" if tried else " (no other size runs)")
    return Finding(
        check, Verdict.OK, f"equal to PyTorch at {where}, off by at most {max(errors):.0e}"
    )


def _error(exported: Callable[[Tensor], Tensor], module: nn.Module, maps: Tensor) -> float:
    """Return the largest error relative to the largest value; infinite if shapes differ."""
    with torch.no_grad():
        torch.manual_seed(0)
        expected = attempt(lambda: module(maps))
        torch.manual_seed(0)
        answer = attempt(lambda: exported(maps))
    if answer.shape != expected.shape:
        return float("inf")
    return ((answer - expected).abs().max() / expected.abs().max().clamp_min(1e-12)).item()


def _trace(module: nn.Module, maps: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.jit.trace(module, maps, check_trace=False)


def _export_onnx(module: nn.Module, maps: Tensor) -> Callable[[Tensor], Tensor]:
    onnxruntime = importlib.import_module("onnxruntime")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    axes = {0: "batch", 2: "height", 3: "width"}
    with _without_fused_attention(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "module.onnx"
        torch.onnx.export(
            module,
            (maps,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["maps"],
            output_names=["answer"],
            dynamic_axes={"maps": axes, "answer": axes},
        )
        content = path.read_bytes()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])

    def run(maps: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"maps": maps.numpy()})[0])

    return run


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Keep nn.MultiheadAttention from a form that only PyTorch can run."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _fault(check: str, seen: str, done: str) -> Finding:
    return Finding(
        check,
        Verdict.FAULT,
        seen,
        done=done,
        why="The trained model cannot be deployed as it was validated.",
        remedy=_REMEDY,
    )
