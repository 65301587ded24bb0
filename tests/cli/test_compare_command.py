"""`mlla compare` as a user meets it: words, answers, exit codes, and what survives a kill."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlla.cli import main
from mlla.cli.arguments import UsageError
from mlla.cli.compare import answer, read_arguments
from mlla.study.runs.run_folder import execute, prepare_run

MLLA = str(Path(sys.executable).with_name("mlla"))


def results(*, failures=(), unfinished=()):
    arm = {"name": "b", "kind": "variant", "failures": list(failures), "unfinished": unfinished}
    return {
        "comparisons": [{"sentence": {"en": "b is better.", "zh": "b 更好。"}}],
        "guards": [
            {"state": "passed", "en": "All is well.", "zh": "一切正常。"},
            {"state": "warning", "en": "Few seeds.", "zh": "种子太少。"},
        ],
        "arms": [{"name": "a", "kind": "baseline", "failures": [], "unfinished": []}, arm],
    }


@pytest.fixture
def asked(monkeypatch):
    """Answer at once, and note what was asked for."""
    import mlla.study

    calls = []

    def compare(**arguments):
        calls.append(arguments)
        return results()

    monkeypatch.setitem(vars(mlla.study), "compare", compare)
    return calls


def test_words_become_arguments_of_the_right_types():
    words = [
        "data=a b.yaml", "models=yolov8n,yolov8n-mlla", "plug=mlla@neck,my.py:Block@4-6-9@none",
        "seeds=8", "--epochs", "30", "test=0.2", "controls=True", "near_duplicates=False",
        "out=studies/007", "device=0", "executor=slurm", "slurm_time=90", "slurm_partition=gpu",
        "optimizer=SGD", "lr0=1e-2", "runtimes=torch,onnxruntime", "language=zh",
        "add=old:runs/a,runs/b;older:runs/c", "pretrained=None",
    ]  # fmt: skip
    assert read_arguments(words) == {
        "data": "a b.yaml",
        "models": ["yolov8n", "yolov8n-mlla"],
        "plug": ["mlla@neck", "my.py:Block@4-6-9@none"],
        "seeds": 8,
        "epochs": 30,
        "test": 0.2,
        "controls": True,
        "near_duplicates": False,
        "out": "studies/007",
        "device": "0",
        "executor": "slurm",
        "slurm_time": 90,
        "slurm_partition": "gpu",
        "optimizer": "SGD",
        "lr0": 0.01,
        "runtimes": ["torch", "onnxruntime"],
        "language": "zh",
        "add": ["old:runs/a,runs/b", "older:runs/c"],
        "pretrained": None,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=x", "yolov8n"], "'yolov8n' is not key=value"),
        (["data=x", "seeds=1", "seeds=2"], "'seeds' is given twice"),
        (["data=x", "controls=maybe"], "controls must be True or False, got 'maybe'"),
        (["data=x", "trust=1.5"], "trust must be True or False"),
    ],
)
def test_words_that_are_none_are_named(words, message):
    with pytest.raises(UsageError, match=message):
        read_arguments(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "mlla compare needs data=..."),
        (["data=x.yaml"], "mlla compare needs models=..."),
        (["data=x.yaml", "modles=a,b"], "needs models=...; is modles= meant to be that?"),
    ],
)
def test_what_is_missing_is_asked_for(words, message, capsys):
    assert main(["compare", *words]) == 2
    assert message in capsys.readouterr().err


def test_help_names_every_argument_of_the_library(capsys):
    from mlla.study.planning.settings import OWN

    assert main(["compare", "--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in OWN if name not in text] == []


def test_the_library_is_asked_and_its_sentences_are_printed(asked, capsys):
    words = ["data=d.yaml", "models=a,b", "seeds=5"]
    assert main(["compare", *words]) == 0
    assert asked == [{"data": "d.yaml", "models": ["a", "b"], "seeds": 5}]
    printed = capsys.readouterr().out
    assert "b is better." in printed
    assert "warning: Few seeds." in printed
    assert "All is well." not in printed
    assert main(["compare", *words, "language=zh"]) == 0
    assert "b 更好。" in capsys.readouterr().out


def test_a_failed_run_is_named_and_makes_the_exit_code_1(monkeypatch, capsys):
    import mlla.study

    found = results(failures=[{"seed": 3, "error": "no memory"}], unfinished=[4])
    monkeypatch.setitem(vars(mlla.study), "compare", lambda **_: found)
    assert main(["compare", "data=d.yaml", "models=a,b"]) == 1
    printed = capsys.readouterr().out
    assert "failed: b, seed 3: no memory" in printed
    assert "2 runs are not finished; the same command tries them again" in printed
    assert answer(results(), language="en").count("failed") == 0


# -- real processes ------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The words for a real study of two arms and two seeds that takes a minute of one core."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    demo = tmp_path / "demo"
    subprocess.run([MLLA, "data", "demo", demo, "num_images=60", "image_size_px=96"], check=True)
    return [
        MLLA, "compare", f"data={demo / 'data.yaml'}", "models=yolov8n", "plug=mlla@p5",
        "controls=False", "seeds=2", "epochs=4", "imgsz=32", "batch=8", "device=cpu",
        f"out={tmp_path / 'study'}", "near_duplicates=False",
    ]  # fmt: skip


@pytest.fixture
def begin():
    """Start a command; it ends with the test."""
    started = []

    def start(command):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen(command, **streams, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(file: Path, lines: int, process) -> None:
    while not (file.exists() and len(file.read_text().splitlines()) >= lines):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)


def workers_of(study: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "mlla.study.runs.worker" in words and any(word.startswith(str(study)) for word in words):
            found.append(int(entry.name))
    return found


def wait_until_alone(study: Path) -> None:
    deadline = time.monotonic() + 60
    while workers_of(study):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.2)


def outcome(folder: Path) -> dict:
    return json.loads((folder / "outcome.json").read_text())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.timeout(3600)
def test_a_study_survives_kill_and_ctrl_c_and_ends_as_if_nothing_happened(command, begin, tmp_path):
    study = tmp_path / "study"
    first = study / "runs" / "yolov8n" / "seed-0"
    process = begin(command)
    wait_for(study / "study.json", 1, process)
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 2
    assert "another comparison is at work" in second.stderr
    wait_for(first / "seen.jsonl", 1, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_alone(study)
    assert not (study / "results.json").exists()

    process = begin(command)
    wait_for(first / "attempts.txt", 2, process)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 130
    assert "stopped; the same command goes on" in text
    assert workers_of(study) == []

    third = subprocess.run(command, capture_output=True, text=True)
    assert third.returncode == 0, third.stderr
    assert outcome(first)["attempts"] == 3
    assert "figures, but no verdict" in third.stdout
    page = (study / "report.html").read_text()
    assert "yolov8n+mlla@p5" in page

    # the same run, undisturbed, finds the same
    calm = tmp_path / "calm"
    job = json.loads((first / "job.json").read_text())
    prepare_run(calm, {key: value for key, value in job.items() if key != "format"})
    assert execute(str(calm))["state"] == "done"
    assert outcome(calm)["attempts"] == 1
    name = "predictions.json.gz"
    assert outcome(calm)["files"][name] == outcome(first)["files"][name]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("executor", ["slurm", "ray"])
def test_the_runs_of_a_study_go_through_an_engine(command, tmp_path, executor):
    pytest.importorskip({"slurm": "submitit", "ray": "ray"}[executor])
    options = {
        "slurm": ["slurm_time=30", "slurm_cluster=local"],
        "ray": ["ray_address=local", "ray_num_cpus=1"],
    }
    words = [*command, f"executor={executor}", *options[executor]]
    words = ["epochs=1" if word == "epochs=4" else word for word in words]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"on {executor}" in done.stdout
    assert len(list((tmp_path / "study" / "runs").glob("*/*/outcome.json"))) == 4
