"""The report: for readers, for programs, and without a trace in the folder."""

import hashlib
import json
import re

import pytest
from run_folders import network, write_arms, write_run

from mlla.study.audit import audit


def digest(root):
    """SHA-256 over names, content and times of all files."""
    total = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        total.update(f"{file} {file.stat().st_mtime_ns}".encode())
        total.update(file.read_bytes() if file.is_file() else b"")
    return total.hexdigest()


@pytest.fixture
def runs(tmp_path):
    write_arms(tmp_path / "runs", {"yolov8n": (0.3, 0.31), "yolov8n-mlla": (0.4,)}, imgsz=320)
    write_run(tmp_path / "runs" / "broken", (0.1, float("nan"), 0.2), made=network((8, 17)), seed=9)
    return tmp_path / "runs"


def test_nothing_in_the_folder_changes(runs):
    before = digest(runs)
    audit(runs, quiet=True)
    assert digest(runs) == before


def test_claims_come_first_then_arms_then_faults_then_the_command(runs):
    text = audit(runs, quick=True).text()
    titles = [
        "What the comparisons are worth",
        "The arms, and how runs were put together",
        "Faults, the most important first",
        "Notes",
        "Not checked",
        "What to do next",
    ]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    # but for the path and the command
    lines = text.splitlines()[1:]
    assert all(len(line) <= 96 for line in lines if "mlla compare" not in line)


def test_every_run_stands_under_its_arm(runs):
    text = audit(runs, quick=True).text()
    arms = text[text.index("The arms") : text.index("Faults")]
    for name in ("yolov8n-0", "yolov8n-1", "yolov8n-mlla-0", "broken"):
        assert re.search(rf"\b{name}\b", arms)


def test_json_holds_the_same_and_no_nan(runs):
    report = audit(runs, quick=True)
    content = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert content["ok"] is False
    assert [finding["title"] for finding in content["findings"]] == [
        finding.title for finding in report.findings
    ]
    assert content["claims"][0]["headline"] == report.statements[0].headline
    assert content["claims"][0]["figures"]["last"]["mean"] == report.claims[0].figures.last.mean
    assert content["claims"][0]["sentences"] == list(report.statements[0].sentences)
    assert content["next"] == report.next
    names = {run["name"]: run for arm in content["arms"] for run in arm["runs"]}
    assert names["broken"]["counts"] is False
    assert names["yolov8n-1"]["last"] == 0.31
    assert names["yolov8n-1"]["version"] == "8.4.190"


def test_the_next_command_is_one_that_compare_takes(runs):
    from mlla.cli.arguments import read_options

    command = audit(runs, quick=True, baseline="yolov8n imgsz=320").next
    program, name, *words = command.split()
    assert (program, name) == ("mlla", "compare")
    _, options = read_options(
        words,
        known=("data", "models", "seeds", "epochs", "imgsz", "batch", "test", "optimizer", "lr0"),
    )
    assert options["models"] == "yolov8n,yolov8n-mlla"
    assert options["imgsz"] == "320"
    assert int(options["seeds"]) >= 5
    assert options["data"] == "DATA.yaml"


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("yolov8n.pt", "yolov8n-mlla.yaml", "models=yolov8n,yolov8n-mlla"),
        ("yolov8n.yaml", "cfg/own.yaml", "models=yolov8n,cfg/own.yaml"),
        ("yolov8n.yaml", "cfg/plugged.pt", "models=yolov8n,cfg/plugged.pt"),
    ],
)
def test_models_are_named_as_compare_takes_them(first, second, wanted, tmp_path):
    write_run(tmp_path / "a", model=first)
    write_run(tmp_path / "b", model=second, made=network((8, 24)))
    baseline = first.partition(".")[0]
    command = audit(tmp_path, quick=True, baseline=baseline).next
    assert wanted in command
    assert ("pretrained=yolov8n.pt" in command) is (first == "yolov8n.pt")


def test_a_plugged_block_becomes_an_arm_of_plug(tmp_path):
    write_run(tmp_path / "a")
    config = {
        "plug": {"block": "mlla", "rows": [15, 18, 21], "gate": "zero"},
        "yaml_file": "yolov8n-mlla-neck.yaml",
    }
    made = network((8, 24), **config)
    write_run(tmp_path / "b", model="yolov8n-mlla-neck.yaml", made=made)
    command = audit(tmp_path, quick=True, baseline="yolov8n").next
    assert "models=yolov8n plug=mlla@neck" in command


def test_settings_of_one_model_have_no_command_but_advice(tmp_path):
    write_run(tmp_path / "a", mosaic=0.0)
    write_run(tmp_path / "b", mosaic=0.5)
    report = audit(tmp_path, quick=True)
    assert report.next is None
    assert "at least 4 seeds" in report.text()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda root: root / "nowhere", FileNotFoundError, "is no folder"),
        (lambda root: root, ValueError, "holds no training of Ultralytics"),
    ],
)
def test_folders_without_runs_are_errors(make, error, words, tmp_path):
    with pytest.raises(error, match=words):
        audit(make(tmp_path))


def test_a_data_yaml_that_is_missing_is_an_error(runs):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        audit(runs, data="nowhere.yaml")
