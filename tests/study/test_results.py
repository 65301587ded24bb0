"""What a study found, collected from a made-up folder whose files say what is true."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hotcoco")
pytest.importorskip("scipy")
from study_folder import ARMS, BASELINE, IDENTITY, PLUG_VARIANT, write_study_folder

from mlla.study.files import read_json, write_json
from mlla.study.results import collect
from mlla.study.scoring.ground_truth import read_ground_truth
from mlla.study.scoring.score import score

SEEDS, NUM_IMAGES = 5, 24
CONVOLUTION = "yolov8n+conv_like_mlla@neck"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies") / "complete"
    return write_study_folder(out, seeds=SEEDS, num_images=NUM_IMAGES)


@pytest.fixture(scope="module")
def results(study: Path) -> dict[str, Any]:
    return collect(study, runtimes=())


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    """Return a copy of the study that a test may damage; the plan names the original's data."""
    return Path(shutil.copytree(study, tmp_path / "copy"))


def arm_of(results: dict[str, Any], name: str) -> dict[str, Any]:
    return next(arm for arm in results["arms"] if arm["name"] == name)


def comparison_of(results: dict[str, Any], arm: str, against: str = "yolov8n") -> dict[str, Any]:
    pairs = {(one["arm"], one["against"]): one for one in results["comparisons"]}
    return pairs[arm, against]


def test_results_can_be_written_and_read(results: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", results)
    assert read_json(tmp_path / "results.json") == results


def test_scores_are_those_of_the_evaluator(study: Path, results: dict[str, Any]) -> None:
    truth = read_ground_truth(study / "data" / "data.yaml")
    run = arm_of(results, PLUG_VARIANT["name"])["runs"][2]
    packed = (study / run["folder"] / "predictions.json.gz").read_bytes()
    expected = score(truth.coco, json.loads(gzip.decompress(packed)))
    assert run["seed"] == 2
    assert run["summary"]["AP"] == expected.summary["AP"]
    assert run["error_types"] == expected.error_types
    assert run["calibration_error"] == expected.calibration_error
    assert list(run["per_class"]) == results["data"]["names"]


def test_mean_and_spread_are_over_the_runs(results: dict[str, Any]) -> None:
    arm = arm_of(results, "yolov8n-mlla")
    scores = [run["summary"]["AP50"] for run in arm["runs"]]
    assert arm["mean"]["AP50"] == pytest.approx(np.mean(scores))
    assert arm["std"]["AP50"] == pytest.approx(np.std(scores, ddof=1))
    assert arm["cost"]["train_seconds"] == pytest.approx(
        np.mean([run["train_seconds"] for run in arm["runs"]])
    )


def test_differences_are_those_of_the_means(results: dict[str, Any]) -> None:
    for one in results["comparisons"]:
        means = [arm_of(results, one[key])["mean"]["AP"] for key in ("against", "arm")]
        assert [one["means"][key] for key in ("against", "arm")] == pytest.approx(means)
        assert one["difference"]["estimate"] == pytest.approx(means[1] - means[0], abs=1e-12)
        assert one["seeds"] == list(range(SEEDS))


def test_arms_are_compared_with_the_baseline_and_with_their_controls(
    results: dict[str, Any],
) -> None:
    pairs = [(one["arm"], one["against"], one["family"]) for one in results["comparisons"]]
    plug = PLUG_VARIANT["name"]
    assert pairs == [
        *((arm["name"], "yolov8n", "baseline") for arm in ARMS[1:]),
        (plug, CONVOLUTION, "control"),
    ]
    # two claims, corrected together; controls by themselves
    for one in results["comparisons"]:
        corrected = one["is_claim"] and one["family"] == "baseline"
        factor = one["adjusted_p_value"] / one["p_value"]
        assert factor in ((1.0, pytest.approx(2.0)) if corrected else (1.0,))


def test_the_identity_is_the_baseline_bit_for_bit(results: dict[str, Any]) -> None:
    one = comparison_of(results, IDENTITY["name"])
    assert one["identical"]
    assert (one["difference"]["estimate"], one["difference"]["low"]) == (0, 0)
    assert "exactly 0" in one["sentence"]["en"]


def test_a_gain_that_the_control_shares_is_not_the_blocks(results: dict[str, Any]) -> None:
    one = comparison_of(results, PLUG_VARIANT["name"])
    assert one["verdict"] == "supported"
    assert comparison_of(results, CONVOLUTION)["verdict"] == "supported"
    assert "due to the extra parameters as far as this study can tell" in one["sentence"]["en"]
    assert "就本研究所见，提升来自额外的参数" in one["sentence"]["zh"]  # noqa: RUF001


def test_curves_follow_the_runs(results: dict[str, Any]) -> None:
    curves = arm_of(results, "yolov8n-mlla")["curves"]
    assert curves["epoch"] == list(range(1, 13))
    assert len(curves["AP"]) == len(curves["train_loss"]) == SEEDS
    assert curves["train_loss"][0][-1] < curves["train_loss"][0][0]


def test_images_to_show_exist_and_carry_boxes(results: dict[str, Any]) -> None:
    shown = results["disagreements"]
    assert {one["arm"] for one in shown} == {"yolov8n-mlla", PLUG_VARIANT["name"]}
    for one in shown:
        assert Path(one["image"]).is_file()
        assert len(one["boxes"]["truth"]) == one["objects"]
        assert one["gain"] != 0


def test_a_failed_run_is_named_and_left_out(copy: Path) -> None:
    folder = copy / "runs" / "yolov8n-mlla" / "seed-3"
    (folder / "outcome.json").unlink()
    write_json(folder / "failure.json", {"error": "RuntimeError: out of memory", "attempt": 1})
    results = collect(copy, runtimes=())
    arm = arm_of(results, "yolov8n-mlla")
    assert arm["failures"] == [{"seed": 3, "error": "RuntimeError: out of memory"}]
    one = comparison_of(results, "yolov8n-mlla")
    assert one["seeds"] == [0, 1, 2, 4]
    assert one["sentence"]["en"].endswith("not both arms have finished them: seed 3.")
    # the others lose nothing
    assert comparison_of(results, PLUG_VARIANT["name"])["seeds"] == [0, 1, 2, 3, 4]


def test_an_arm_without_any_run_has_no_comparison(copy: Path) -> None:
    shutil.rmtree(copy / "runs" / "yolov8n-mlla")
    results = collect(copy, runtimes=("torch",))
    arm = arm_of(results, "yolov8n-mlla")
    assert (arm["runs"], arm["mean"], arm["unfinished"]) == ([], {}, [0, 1, 2, 3, 4])
    assert arm["cost"]["error"] == "no run is finished"
    assert arm["cost"]["latency"]["torch"]["median_ms"] is None
    assert "yolov8n-mlla" not in {one["arm"] for one in results["comparisons"]}
    # the other variant is the only claim now
    one = comparison_of(results, PLUG_VARIANT["name"])
    assert one["adjusted_p_value"] == one["p_value"]


def test_one_seed_gives_figures_without_intervals(copy: Path) -> None:
    plan = read_json(copy / "study.json")
    write_json(copy / "study.json", {**plan, "seeds": [0]})
    results = collect(copy, runtimes=())
    one = comparison_of(results, "yolov8n-mlla")
    assert one["difference"]["estimate"] < 0
    assert one["difference"]["low"] is None
    assert one["smallest_effect"] is None
    assert one["verdict"] == "too little data"
    assert one["equivalence"]["not_worse"] is None
    assert arm_of(results, "yolov8n-mlla")["std"]["AP"] is None
    # what is equal is so even once
    assert comparison_of(results, IDENTITY["name"])["difference"]["low"] == 0


def test_an_existing_run_is_read_where_it_is(copy: Path) -> None:
    plan = read_json(copy / "study.json")
    arms = [BASELINE, {**plan["arms"][1], "kind": "added"}]
    write_json(copy / "study.json", {**plan, "arms": arms})
    for seed in range(SEEDS):
        folder = copy / "runs" / "yolov8n-mlla" / f"seed-{seed}"
        elsewhere = copy.parent / f"train{seed}"
        elsewhere.mkdir()
        shutil.move(folder / "results.csv", elsewhere)
        outcome = read_json(folder / "outcome.json")
        outcome["files"] = {"predictions.json.gz": outcome["files"]["predictions.json.gz"]}
        missing = dict.fromkeys(("train_seconds", "peak_memory_bytes", "counts"))
        existing = {"folder": str(elsewhere), "seed": seed + 100}
        write_json(folder / "outcome.json", {**outcome, **missing, "existing": existing})
    results = collect(copy, runtimes=())
    arm = arm_of(results, "yolov8n-mlla")
    assert arm["cost"]["train_seconds"] is None
    assert len(arm["curves"]["AP"]) == SEEDS
    assert comparison_of(results, "yolov8n-mlla")["is_claim"]


def test_predictions_edited_by_hand_are_noticed(copy: Path) -> None:
    file = copy / "runs" / "yolov8n-mlla" / "seed-0" / "predictions.json.gz"
    file.write_bytes(gzip.compress(b"[]"))
    with pytest.raises(ValueError, match=r"predictions\.json\.gz was changed"):
        collect(copy, runtimes=())


def test_a_study_without_a_finished_run_has_no_results(copy: Path) -> None:
    shutil.rmtree(copy / "runs")
    with pytest.raises(ValueError, match=r"no run of the study .* is finished"):
        collect(copy)


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"study\.json"):
        collect(tmp_path)


def test_an_unknown_runtime_is_refused(study: Path) -> None:
    with pytest.raises(ValueError, match="runtimes='tensorrt' is unknown; choose from torch"):
        collect(study, runtimes=("tensorrt",))
