"""The folder of a training."""

import csv

import pytest
import torch

from mlla.training.files import replacing_file, replacing_folder
from mlla.training.run_folder import RunFolder

ASKED = {"task": "toy", "lr": 0.1, "depths": (1, 2), "workers": 4, "device": "auto"}


def test_the_same_arguments_open_it_again(tmp_path):
    for _ in range(2):
        RunFolder(tmp_path / "run").open(ASKED)
    assert RunFolder(tmp_path / "run").recorded_arguments()["depths"] == [1, 2]


def test_workers_and_device_may_change(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(ASKED)
    folder.open({**ASKED, "workers": 0, "device": "cpu"})


def test_other_arguments_are_named(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(ASKED)
    before = folder.arguments_file.read_bytes()
    with pytest.raises(
        ValueError, match=r"lr was 0.1 and is now 0.2; seed was None and is now 1\."
    ):
        folder.open({**ASKED, "lr": 0.2, "seed": 1})
    assert folder.arguments_file.read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty and not a training"):
        RunFolder(tmp_path).open(ASKED)
    with pytest.raises(ValueError, match="is not empty and not a training"):
        RunFolder(tmp_path).held().__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    out = tmp_path / "run"
    with RunFolder(out).held():
        with pytest.raises(RuntimeError, match="another training is at work in out="):
            RunFolder(out).held().__enter__()
        RunFolder(out).open(ASKED)
    with RunFolder(out).held():
        RunFolder(out).open(ASKED)


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path):
    with RunFolder(tmp_path / "run").held():
        pass
    assert not (tmp_path / "run").exists()


def test_a_damaged_state_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.load_state() is None
    folder.state_file.write_bytes(b"half")
    with pytest.raises(ValueError, match="not the state of a training"):
        folder.load_state()


def test_a_state_of_another_format_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    torch.save({"format": 2}, folder.state_file)
    with pytest.raises(ValueError, match="format 2 and this version of mlla reads 1"):
        folder.load_state()


def test_a_state_is_read_without_running_code(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save_state({"epochs": 3, "learner": {"weight": torch.ones(2)}})
    assert folder.load_state()["epochs"] == 3
    torch.save({"format": 1, "path": tmp_path}, folder.state_file)
    with pytest.raises(ValueError, match="not the state of a training"):
        folder.load_state()


def test_results_have_a_column_for_whatever_came_up(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_results([{"epoch": 1, "train/a": 0.5}, {"epoch": 2, "train/a": 0.4, "b": 3}])
    with folder.results_file.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["b"] for row in rows] == ["", "3"]


def test_a_failed_write_leaves_the_old(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()

    def fail(context):
        with context as draft:
            (draft / "new" if draft.is_dir() else draft).write_text("new")
            raise OSError("disk full")

    for context in (replacing_file(tmp_path / "file"), replacing_folder(tmp_path / "folder")):
        with pytest.raises(OSError, match="disk full"):
            fail(context)
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "folder" / "old").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
