"""`mlla check` as a user meets it, and the page that shows it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from probing import SPECIMENS

from mlla.check import Finding, Report, Verdict
from mlla.cli import main
from mlla.cli.arguments import UsageError
from mlla.cli.check import read_call_arguments

PAGE = Path(__file__).parents[2] / "docs" / "check.md"


def mlla(*words, cwd):
    command = [str(Path(sys.executable).with_name("mlla")), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def report(*findings, **changes):
    return Report("file.py:Net", "Net(dim=64)", "a map (B, C, H, W)", findings, **changes)


OK = Finding("square maps", Verdict.OK, "fine")
FAULT = Finding("gradients", Verdict.FAULT, "none", done="Tried.", why="Bad.", remedy="Mend it.")


@pytest.fixture
def checked(monkeypatch):
    """Let the command print a given report, and keep what it was asked."""
    asked = {}

    def answer_with(result):
        def check_class(file, class_name, **options):
            asked.update(file=str(file), class_name=class_name, **options)
            return result

        monkeypatch.setattr("mlla.cli.check.check_class", check_class)
        return asked

    return answer_with


@pytest.mark.parametrize(
    ("result", "code", "headline"),
    [
        (report(OK), 0, "no fault found (1 check ok)"),
        (report(OK, FAULT), 1, "FAULTS FOUND (1 fault, 1 check ok)"),
        (report(OK, is_complete=False), 2, "no fault found, NOT ALL CHECKED (1 check ok)"),
    ],
)
def test_exit_code_and_headline(checked, capsys, result, code, headline):
    checked(result)
    assert main(["check", "file.py:Net"]) == code
    printed = capsys.readouterr()
    assert headline in printed.out.splitlines()[0]
    assert printed.err.startswith("mlla check: running the code of file.py with your rights")


def test_words_reach_the_check(checked, tmp_path):
    asked = checked(report(OK))
    file = tmp_path / "report.json"
    words = ["check", "a/b.py:Net", "width=32", "args=dim=8, act='relu', shape=(2, 3)"]
    assert main([*words, "timeout=9.5", "seed=4", f"json={file}"]) == 0
    arguments = {"dim": 8, "act": "relu", "shape": (2, 3)}
    assert asked == {
        "file": str(Path("a/b.py")), "class_name": "Net", "width": 32, "arguments": arguments,
        "timeout_s": 9.5, "seed": 4,
    }  # fmt: skip
    assert json.loads(file.read_text())["ok"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_json_alone_prints_json(checked, capsys):
    checked(report(OK, FAULT))
    assert main(["check", "file.py:Net", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["ok"] is False
    assert content["findings"][1]["remedy"] == "Mend it."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs one FILE.py:Class"),
        (["nothing.py:Net"], "nothing.py is not a file"),
        (["nothing.py"], "no file of that name"),
        ([str(SPECIMENS / "broken.py")], "broken.py:TutorialMLLAttention"),
        (["a.py:Net", "width=-1"], "width must be a positive number, got '-1'"),
        (["a.py:Net", "args=dim=open('x')"], "must be names with plain values"),
        (["a.py:Net", "json=report.txt"], "must be a file ending in .json"),
        (["a.py:Net", "widht=3"], "did you mean width"),
    ],
)
def test_errors_name_the_remedy(capsys, words, message):
    assert main(["check", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["64", "**{}", "dim=__import__('os')", "dim=", "dim=1); f(2"])
def test_arguments_are_never_run(text):
    with pytest.raises(UsageError, match="plain values"):
        read_call_arguments(text)


def test_importing_the_command_is_light():
    code = "import sys; import mlla.cli.check; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_shows_what_is_printed(tmp_path):
    shown = re.search(r"```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL).group(1)
    shutil.copy(SPECIMENS / "broken.py", tmp_path / "tutorial.py")
    # the time is for a busy machine and changes nothing that is printed
    result = mlla("check", "tutorial.py:TutorialMLLAttention", "timeout=500", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert _without_digits(result.stdout).startswith(_without_digits(shown).rstrip())
    assert [path.name for path in tmp_path.iterdir()] == ["tutorial.py"]


def _without_digits(text):
    # how far a rounding error goes depends on the machine
    return re.sub(r"\d[\d.e-]*|\s+", " ", text)
