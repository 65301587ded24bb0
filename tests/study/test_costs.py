"""What arms cost: measured once under the same conditions, and errors named beside the rest."""

from functools import partial
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("hotcoco")
pytest.importorskip("scipy")
pytest.importorskip("ultralytics")
from study_folder import BASELINE, IMGSZ, PLUG_VARIANT, write_study_folder

from mlla.study.costs import latency, study_costs
from mlla.study.costs.runtimes import check_runtimes, open_detector
from mlla.study.files import read_json, write_json
from mlla.study.results import collect

ARMS = (BASELINE, PLUG_VARIANT)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a study of two arms with the weights of one seed."""
    out = tmp_path_factory.mktemp("costs") / "study"
    return write_study_folder(out, arms=ARMS, seeds=2, num_images=12, weights=True)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "MIN_ROUNDS", 7)
    monkeypatch.setattr(latency, "MAX_ROUNDS", 7)


def cost_of(study: Path, arm: dict[str, Any], **options: Any) -> dict[str, Any]:
    arms = collect(study, **options)["arms"]
    return next(one["cost"] for one in arms if one["name"] == arm["name"])


def test_both_counts_agree_and_the_baseline_is_once_itself(study: Path) -> None:
    baseline, variant = (cost_of(study, arm) for arm in ARMS)
    assert baseline["parameters"] < variant["parameters"]
    for cost in (baseline, variant):
        assert cost["gflops"] == pytest.approx(cost["gflops_torch"], rel=0.03)
        assert not cost["gflops_disagree"]
        assert cost["error"] is None
        assert cost["latency"]["torch"]["error"] is None
        assert cost["latency"]["torch"]["rounds"] == 7
        assert cost["latency"]["torch"]["size_px"] == IMGSZ
    assert baseline["latency"]["torch"]["ratio"] == {"median": 1, "low": 1, "high": 1}
    # three blocks more cannot be free
    assert variant["latency"]["torch"]["ratio"]["median"] > 1


def test_what_was_measured_is_not_measured_again(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [cost_of(study, arm) for arm in ARMS]

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(study_costs, "checkpoint_size", fail)
    monkeypatch.setattr(study_costs, "open_detector", fail)
    assert [cost_of(study, arm) for arm in ARMS] == before


def test_other_conditions_are_measured_anew(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(study)
    sizes = []

    def opened(_runtime: str, _file: Path, *, size_px: int, **_: Any) -> Any:
        sizes.append(size_px)
        return lambda: None

    monkeypatch.setattr(study_costs, "open_detector", opened)
    collect(study)
    assert sizes == []
    plan = read_json(study / "study.json")
    changed = {**plan, "settings": {**plan["settings"], "imgsz": 64}}
    write_json(study / "study.json", changed)
    try:
        collect(study)
        assert sizes == [64, 64]
        monkeypatch.setattr(study_costs, "_device_name", lambda _: "another processor")
        collect(study)
        assert sizes == [64] * 4
    finally:
        write_json(study / "study.json", plan)
        (study / "costs.json").unlink()


def test_one_arm_that_cannot_be_measured_does_not_stop_the_others(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study / "costs.json").unlink(missing_ok=True)

    def opened(_runtime: str, file: Path, **_: Any) -> Any:
        if PLUG_VARIANT["name"] in str(file):
            raise RuntimeError("cannot be exported\nfor many reasons")
        return lambda: None

    monkeypatch.setattr(study_costs, "open_detector", opened)
    baseline, variant = (cost_of(study, arm)["latency"]["torch"] for arm in ARMS)
    assert baseline["error"] is None
    assert baseline["median_ms"] >= 0
    assert variant["error"] == "RuntimeError: cannot be exported"
    assert (variant["median_ms"], variant["ratio"]) == (None, None)
    # tried again the next time
    monkeypatch.undo()
    assert cost_of(study, PLUG_VARIANT)["latency"]["torch"]["error"] is None


def test_missing_weights_are_named(tmp_path: Path) -> None:
    study = write_study_folder(tmp_path / "study", arms=ARMS, seeds=1, num_images=12)
    cost = cost_of(study, BASELINE)
    assert cost["error"] == "runs/yolov8n/seed-0/weights/best.pt is missing"
    assert cost["latency"]["torch"]["error"] == cost["error"]
    assert (cost["gflops"], cost["gflops_torch"]) == (None, None)
    # what the run itself noted remains
    assert cost["parameters"] == 3_012_018


def test_a_checkpoint_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    study = write_study_folder(tmp_path / "study", arms=ARMS, seeds=1, num_images=12)
    weights = study / "runs" / "yolov8n" / "seed-0" / "weights"
    weights.mkdir()
    (weights / "best.pt").write_bytes(b"not a checkpoint")
    cost = cost_of(study, BASELINE)
    assert "ValueError" in cost["error"]
    assert "ValueError" in cost["latency"]["torch"]["error"]


def test_runtimes_that_are_not_installed_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_runtimes(["torch"])
    monkeypatch.setattr("mlla.study.costs.runtimes.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"'openvino' needs .* pip install openvino"):
        check_runtimes(["torch", "openvino"])
    with pytest.raises(ValueError, match="runtimes='onnx' is unknown"):
        check_runtimes(["onnx"])


def run_once(runtime: str, study: Path) -> list[np.ndarray]:
    """Open the baseline in a runtime and return its outputs, the detections first."""
    checkpoint = study / "runs" / "yolov8n" / "seed-0" / "weights" / "best.pt"
    call = open_detector(runtime, checkpoint, size_px=64, device="cpu", num_threads=1)
    found: Any = call()
    values = found.values() if hasattr(found, "values") else found
    return [np.asarray(part) for part in values if not isinstance(part, list | dict)]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_detector_finds_what_torch_finds(
    runtime: str, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    if "dynamo" in signature(torch.onnx.export).parameters:
        # older Ultralytics relied on the default, which was the tracing exporter then
        monkeypatch.setattr(torch.onnx, "export", partial(torch.onnx.export, dynamo=False))
    weights = study / "runs" / "yolov8n" / "seed-0" / "weights"
    before = sorted(weights.iterdir())
    expected, found = run_once("torch", study)[0], run_once(runtime, study)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    # nothing was written beside the checkpoint
    assert sorted(weights.iterdir()) == before
