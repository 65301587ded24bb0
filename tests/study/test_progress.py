"""How far a study is, read from its run folders."""

import io
import json

import pytest

from mlla.study.runs import progress
from mlla.study.runs.progress import Progress, Watched, in_words


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    time = {"now": 100.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: time["now"])
    return time


def train(folder, epochs):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"epoch": n, "digest": "0", "images": 1}) for n in range(epochs)]
    (folder / "seen.jsonl").write_text("".join(f"{line}\n" for line in lines))


def watched(tmp_path, *names):
    return [Watched(name, tmp_path / name) for name in names]


def test_every_epoch_is_one_plain_line_where_nobody_watches(tmp_path, clock):
    runs = watched(tmp_path, "a", "b")
    out = io.StringIO()
    with Progress(runs, 3, stream=out) as shown:
        clock["now"] += 10
        train(tmp_path / "a", 1)
        shown.update([tmp_path / "a"])
        shown.update([tmp_path / "a"])
        clock["now"] += 10
        train(tmp_path / "a", 3)
        shown.update([tmp_path / "a", tmp_path / "b"])
        shown.end(tmp_path / "a", "done")
        shown.end(tmp_path / "b", "failed: no luck")
    # one epoch in 10 s leaves 5; three in 20 s leave 3
    assert out.getvalue().splitlines() == [
        "a: epoch 1 of 3 (0 of 2 runs, 50 s left)",
        "a: epoch 3 of 3 (0 of 2 runs, 20 s left)",
        "a: done (1 of 2 runs, 20 s left)",
        "b: failed: no luck (2 of 2 runs)",
    ]


def test_what_was_trained_before_does_not_count_for_the_pace(tmp_path, clock):
    train(tmp_path / "a", 8)
    shown = Progress(watched(tmp_path, "a"), 10, stream=io.StringIO())
    assert shown.seconds_left() is None
    assert shown.summary() == "0 of 1 runs"
    clock["now"] += 30
    train(tmp_path / "a", 9)
    shown.update([tmp_path / "a"])
    assert shown.seconds_left() == 30


def test_on_a_terminal_every_run_at_work_has_a_line_and_there_is_a_total(tmp_path, clock):
    runs = watched(tmp_path, "first", "second", "third")
    out = Terminal()
    with Progress(runs, 4, stream=out) as shown:
        clock["now"] += 4
        train(tmp_path / "first", 2)
        train(tmp_path / "second", 0)
        shown.update([tmp_path / "first", tmp_path / "second"])
        text = out.getvalue()
        assert "2 of 4 epochs" in text
        assert "second" in text
        assert "third" not in text
        assert "0 of 3 runs, 20 s left" in text
        shown.end(tmp_path / "first", "done")
        shown.update([tmp_path / "second"])
    assert "first: done (1 of 3 runs" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (40, "40 s"),
        (59.9, "60 s"),
        (61, "1 min"),
        (3599, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (201_600, "2 days 8 h"),
    ],
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert in_words(seconds) == words
