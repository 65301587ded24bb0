"""Export a model, compare the file with PyTorch, and only then give it its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mlla.export.difference import TOLERANCE, Difference, largest_difference
from mlla.export.draft import drafts_in, put_in_place
from mlla.export.formats import CHECKED, check_packages, format_of, refuse_unknown
from mlla.export.latency import measure
from mlla.export.patterns import make_images
from mlla.export.plan import Plan, check_batch, read_size
from mlla.export.report import Report, Scores, WrongExportError
from mlla.export.runners import Run, open_file, open_network, open_openvino, openvino_default
from mlla.export.subject import Subject, open_subject

# different images, where there is only one size
_IMAGES_OF_ONE_SIZE = 3
# what a pixel may change by without anybody noticing
_ROUNDING = 1e-6


def export(
    model: str | Path | nn.Module | Any,
    format: str = "onnx",
    *,
    out: str | Path | None = None,
    stem: str | None = None,
    imgsz: int | Sequence[int] | None = None,
    batch: int = 1,
    dynamic: bool | None = None,
    int8: bool = False,
    half: bool = False,
    data: str | Path | None = None,
    **options: Any,
) -> Report:
    """Export a model and compare the file with PyTorch.

    The file is written beside its final place, run, and moved there only if its raw outputs are
    those of PyTorch. Eight-bit and 16-bit files, and files with NMS inside, follow one in float32
    and without NMS that passed.

    Args:
        model: A checkpoint, a YAML or a packaged name of a detector, or an opened detector; a
            folder that `save_pretrained` or a training of this package wrote, a published .pth, or
            a name of timm; or any network that turns an image into tensors.
        format: "onnx", "openvino", "torchscript" or "torch_export"; for detectors also what else
            Ultralytics writes, such as "engine", "coreml" or "ncnn", which is not run here.
        out: Folder to write to; by default that of the checkpoint, else the current one.
        stem: What the file is called, without a suffix; needed for networks alone.
        imgsz: Pixels of both sides, or height and width.
        batch: Images at once.
        dynamic: Whether the file takes other batches and sizes, too; by default detectors do not,
            as in Ultralytics, and other networks do.
        int8: Whether it computes in eight bits; `data` must hold images to calibrate with.
        half: Whether it holds 16-bit numbers; for detectors.
        data: Images to score with: the data.yaml of a detector, the folder of a classifier.
        **options: Further arguments of Ultralytics, for detectors; `opset` for others.

    Returns:
        The errors, the latency, the scores, and where the file is.

    Raises:
        WrongExportError: If the file does not compute what PyTorch does; it is not kept.
        FileNotFoundError: If the model or the data does not exist.
        ModuleNotFoundError: If a package is missing; it says which extra brings it.
        ValueError: If the arguments do not go together.
        OSError: If nothing can be written there.
    """
    subject = open_subject(model, stem)
    refuse_unknown(format, subject.formats)
    check_packages(format, int8=int8)
    plan = _plan(
        subject, format, imgsz, batch, dynamic, int8=int8, half=half, data=data, options=options
    )
    subject.check(plan)
    folder = subject.home if out is None else _folder(out)
    with drafts_in(folder) as drafts:
        if format not in CHECKED:
            written = subject.write(plan, _made(drafts / "file"))
            return Report(put_in_place(written, folder / written.name), format, plan.precision)
        before = None if data is None else subject.score(plan, drafts / "scores", None)
        exact = _exact(plan)
        written = subject.write(exact, _made(drafts / "exact"))
        run = open_file(written, format)
        differences = _differences(subject, exact, run)
        _refuse_wrong(differences, format)
        remarks = _of_rounding(subject, exact, written)
        variant: list[Difference] = []
        if plan != exact:
            written = subject.write(plan, _made(drafts / "file"))
            run = open_file(written, format)
            variant, further = _compare_variant(subject, plan, run)
            remarks += further
        report = _measured(subject, plan, written, run, before, drafts)
        target = put_in_place(written, folder / written.name)
    return replace(report, file=target, differences=differences, variant=variant, remarks=remarks)


def check_export(
    model: str | Path | nn.Module | Any,
    file: str | Path,
    *,
    imgsz: int | Sequence[int] | None = None,
    batch: int = 1,
    dynamic: bool = False,
    data: str | Path | None = None,
    **options: Any,
) -> Report:
    """Compare a file in float32 that was exported before with the model it came from.

    Args:
        model: As for `export`.
        file: An .onnx, .torchscript or .pt2 file, or the folder of OpenVINO.
        imgsz: The size it was exported with.
        batch: The batch it was exported with.
        dynamic: Whether it takes other sizes, too.
        data: As for `export`.
        **options: As for `export`.

    Returns:
        The errors, the latency and the scores.

    Raises:
        WrongExportError: If the file does not compute what PyTorch does.
        FileNotFoundError: If the model, the file or the data does not exist.
        ValueError: If the file is none that is run here.
    """
    path = Path(file)
    name = format_of(path)
    check_packages(name)
    subject = open_subject(model, path.stem)
    plan = _plan(
        subject, name, imgsz, batch, dynamic, int8=False, half=False, data=data, options=options
    )
    subject.check(plan)
    run = open_file(path, name)
    differences = _differences(subject, plan, run)
    _refuse_wrong(differences, name)
    with drafts_in(path.parent) as drafts:
        before = None if data is None else subject.score(plan, drafts / "scores", None)
        report = _measured(subject, plan, path, run, before, drafts)
    return replace(report, differences=differences)


def _plan(
    subject: Subject,
    name: str,
    imgsz: int | Sequence[int] | None,
    batch: int,
    dynamic: bool | None,
    *,
    int8: bool,
    half: bool,
    data: str | Path | None,
    options: dict[str, Any],
) -> Plan:
    if int8 and half:
        raise ValueError("int8=True and half=True: a file has one of the two precisions")
    if int8 and data is None:
        raise ValueError(
            "int8=True needs images to calibrate with: data=data.yaml for detectors, the folder of "
            "the images for classifiers"
        )
    if data is not None and subject.measure() is None:
        raise ValueError(f"data= cannot be used: {subject.name} cannot be scored here")
    if data is not None and not Path(data).exists():
        raise FileNotFoundError(f"data={str(data)!r} does not exist")
    height, width = read_size(imgsz, subject.default_px, subject.step)
    return Plan(
        format=name,
        height=height,
        width=width,
        batch=check_batch(batch),
        dynamic=subject.is_open_by_default if dynamic is None else dynamic,
        int8=int8,
        half=half,
        data=data,
        options=options,
    )


def _folder(out: str | Path) -> Path:
    suffixes = {form.suffix for form in CHECKED.values()}
    if Path(out).suffix in suffixes:
        raise ValueError(
            f"out={str(out)!r} must be a folder; the file in it is called after the model"
        )
    return Path(out)


def _exact(plan: Plan) -> Plan:
    """Return the same in float32 and with raw outputs."""
    options = {key: value for key, value in plan.options.items() if key != "nms" or not value}
    return replace(plan, int8=False, half=False, options=options)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _differences(subject: Subject, plan: Plan, run: Run) -> list[Difference]:
    """Compare the file and PyTorch, at every size that the file takes."""
    expected = open_network(subject.reference(plan))
    layout = subject.layout(plan)
    sizes = plan.sizes(subject.step)
    repeated = sizes if len(sizes) > 1 else sizes * _IMAGES_OF_ONE_SIZE
    found = []
    for seed, (batch, height, width) in enumerate(repeated):
        shape = (batch, subject.channels, height, width)
        images = make_images(shape, seed, subject.pixel_range)
        try:
            given = run(images)
        # every runtime has errors of its own
        except Exception as error:
            raise WrongExportError(
                f"the exported file does not run on images of {batch} x {height} x {width} px: "
                f"{type(error).__name__}: {str(error)[:500]}; nothing was kept"
            ) from error
        wanted = expected(images)
        difference = largest_difference(wanted, given, shape, layout)
        if not difference.error <= TOLERANCE:
            nearly = expected(images * np.float32(1 + _ROUNDING))
            own = largest_difference(wanted, nearly, shape, layout).error
            difference = replace(difference, own_error=own)
        found.append(difference)
    return found


def _refuse_wrong(differences: Sequence[Difference], format_name: str) -> None:
    # written so that a number that is none is wrong, too
    wrong = [part for part in differences if not part.error <= TOLERANCE]
    if wrong:
        worst = max(wrong, key=lambda part: part.error)
        batch, _, height, width = worst.shape
        own = ""
        if worst.own_error > TOLERANCE:
            own = (
                f". PyTorch differs from itself by {worst.own_error:.2e} where pixels change by "
                f"{_ROUNDING:g} of their value, so rounding decides what this network returns, and "
                "no file of it can be checked: where boxes are ranked, as fresh weights rank them. "
                "Train it first"
            )
        raise WrongExportError(
            f"wrong export: {CHECKED[format_name].title} differs from PyTorch by {worst.error:.2e} "
            f"relative in {worst.quantity} on {batch} x {height} x {width} px, more than "
            f"{TOLERANCE:g}; nothing was kept{own}"
        )


def _of_rounding(subject: Subject, plan: Plan, file: Path) -> list[str]:
    """Return what to know where a runtime rounds unasked."""
    if plan.format != "openvino" or (default := openvino_default()) in ("f32", "float32"):
        return []
    rounded = _differences(subject, plan, open_openvino(file, exact=False))
    return [
        f"unless asked for f32, OpenVINO computes in {default} on this processor: error up to "
        f"{max(part.error for part in rounded):.1e}"
    ]


def _compare_variant(subject: Subject, plan: Plan, run: Run) -> tuple[list[Difference], list[str]]:
    """Compare a file that is not meant to be exact, for the user to judge."""
    if plan.options.get("nms"):
        run(_images(subject, plan))
        return [], ["boxes are selected inside the file (nms=True), after the outputs compared"]
    differences = _differences(subject, plan, run)
    broken = [part for part in differences if not np.isfinite(part.error)]
    if broken:
        raise WrongExportError(
            f"wrong export: in {plan.precision} the file returns {broken[0].quantity} that are not "
            "finite or of another shape; nothing was kept"
        )
    return differences, []


def _measured(
    subject: Subject, plan: Plan, file: Path, run: Run, before: float | None, drafts: Path
) -> Report:
    images = _images(subject, plan)
    pytorch = open_network(subject.deployed(plan))
    latency = measure(lambda: pytorch(images), lambda: run(images), torch.get_num_threads())
    scores = None
    if before is not None:
        after = subject.score(plan, drafts / "scores", (file, run))
        scores = Scores(str(subject.measure()), str(plan.data), before, after)
    return Report(file, CHECKED[plan.format].title, plan.precision, latency=latency, scores=scores)


def _images(subject: Subject, plan: Plan) -> np.ndarray:
    shape = (plan.batch, subject.channels, plan.height, plan.width)
    return make_images(shape, 0, subject.pixel_range)
