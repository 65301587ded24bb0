"""`mlla audit` as a user meets it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))

from run_folders import write_arms, write_run

from mlla.cli import main

SOUND = {"yolov8n": (0.30, 0.31, 0.32, 0.33), "yolov8n-mlla": (0.40, 0.41, 0.42, 0.43)}


def test_faults_give_code_one_and_a_readable_answer(tmp_path, capsys):
    write_arms(tmp_path / "runs", {"yolov8n": (0.3,), "yolov8n-mlla": (0.4,)})
    assert main(["audit", str(tmp_path / "runs"), "--quick"]) == 1
    text = capsys.readouterr().out
    assert "ONE SEED EACH: yolov8n-mlla against yolov8n" in text
    assert "mlla compare data=DATA.yaml models=yolov8n,yolov8n-mlla seeds=5" in text


def test_sound_runs_give_code_zero(tmp_path, capsys):
    from mlla.data import write_demo

    data = write_demo(tmp_path / "demo", num_images=20, image_size_px=96, quiet=True)
    write_arms(tmp_path / "runs", SOUND)
    assert main(["audit", str(tmp_path / "runs"), f"data={data}", "--quick"]) == 0
    assert "no fault found" in capsys.readouterr().out


def test_json_goes_to_a_file_or_to_the_output(tmp_path, capsys):
    write_run(tmp_path / "runs" / "train")
    file = tmp_path / "report.json"
    main(["audit", str(tmp_path / "runs"), "--quick", "--json", str(file)])
    assert "1 run in 1 arm" in capsys.readouterr().out
    main(["audit", str(tmp_path / "runs"), "quick=True", "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text())


def test_arms_and_baseline_can_be_named(tmp_path, capsys):
    write_arms(tmp_path, SOUND)
    words = ["audit", str(tmp_path), r"arms=(yolov8n-mlla|yolov8n)-\d", "baseline=yolov8n-mlla"]
    main([*words, "--quick"])
    assert ": yolov8n against yolov8n-mlla\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs one RUNS_DIR"),
        (["a", "b"], "needs one RUNS_DIR"),
        (["nowhere"], "nowhere is no folder"),
        (["."], "holds no training of Ultralytics"),
        ([".", "dta=x"], "unknown option 'dta'; did you mean data"),
        ([".", "quick=maybe"], "must be True or False"),
        ([".", "json=report.txt"], "must be a file ending in .json"),
    ],
)
def test_wrong_words_give_code_two_and_say_what_is_right(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *words]) == 2
    assert message in capsys.readouterr().err


def test_help_says_that_trust_runs_code(capsys):
    assert main(["audit", "--help"]) == 0
    assert "RUNS THAT CODE" in capsys.readouterr().out


def test_trust_warns_before_it_runs_anything(tmp_path, capsys):
    write_run(tmp_path / "train")
    main(["audit", str(tmp_path), "--trust"])
    assert "runs code that they name" in capsys.readouterr().err
