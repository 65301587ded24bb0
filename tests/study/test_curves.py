"""Curves as results.csv of several versions of Ultralytics tell them."""

from pathlib import Path

import pytest

from mlla.study.scoring.curves import read_curves

HEADER = (
    "epoch,time,train/box_loss,train/cls_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss"
)


def table(folder: Path, name: str, *rows: str, header: str = HEADER) -> Path:
    file = folder / name
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def test_runs_are_aligned_by_epoch(tmp_path: Path) -> None:
    long = table(tmp_path, "a.csv", "1,10,2.5,1.5,0.2,0.1,9", "2,20,2,1,0.4,0.3,9")
    short = table(tmp_path, "b.csv", "1,10,3,2,0.1,0.05,9")
    assert read_curves([long, short]) == {
        "epoch": [1, 2],
        "AP": [[0.1, 0.3], [0.05, None]],
        "AP50": [[0.2, 0.4], [0.1, None]],
        "train_loss": [[4.0, 3.0], [5.0, None]],
    }


def test_older_versions_pad_their_columns(tmp_path: Path) -> None:
    header = "  epoch, train/giou_loss, metrics/mAP50(B), metrics/mAP50-95(B)"
    file = table(tmp_path, "a.csv", "      1,    2.5,    0.2,    0.1", header=header)
    assert read_curves([file])["AP"] == [[0.1]]
    assert read_curves([file])["train_loss"] == [[2.5]]


def test_what_is_no_number_is_none(tmp_path: Path) -> None:
    file = table(tmp_path, "a.csv", "1,10,nan,1,0.2,nan,9", "2,10,inf,1,0.2,0.3,9")
    curves = read_curves([file])
    assert curves["AP"] == [[None, 0.3]]
    assert curves["train_loss"] == [[None, None]]


def test_the_last_word_on_an_epoch_counts(tmp_path: Path) -> None:
    file = table(tmp_path, "a.csv", "1,10,1,1,0.2,0.1,9", "1,10,1,1,0.2,0.4,9")
    assert read_curves([file])["AP"] == [[0.4]]


def test_another_table_is_named(tmp_path: Path) -> None:
    file = table(tmp_path, "a.csv", "1,0.5", header="epoch,metrics/accuracy_top1")
    with pytest.raises(ValueError, match=r"a\.csv is not the table of a training of a detector.*"):
        read_curves([file])
    broken = table(tmp_path, "b.csv", "1,10,2,1,0.2,0.1,9", "2,10,x,1,0.2,0.1,9")
    with pytest.raises(ValueError, match=r"b\.csv.*line 3"):
        read_curves([broken])


def test_no_run_has_no_curve() -> None:
    assert read_curves([]) == {"epoch": [], "AP": [], "AP50": [], "train_loss": []}
