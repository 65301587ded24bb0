"""results.csv of any release, whole or broken."""

import math

import pytest
from run_folders import HEADER, REAL

from mlla.study.audit.results_csv import read_epochs

SCORE = "metrics/mAP50-95(B)"


def row(epoch, score):
    return f"{epoch},1.5,2.5,{score},{score},1.5,0.001,0.001,0.001"


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines, end="\n"):
        (tmp_path / "results.csv").write_text("\n".join(lines) + end)
        return read_epochs(tmp_path / "results.csv")

    return write_lines


@pytest.mark.parametrize("release", ["8.3.70", "8.4.190"])
def test_files_of_both_releases_are_read_by_name(release):
    epochs = read_epochs(REAL / f"{release}-seed-0" / "results.csv")
    assert epochs.numbers == tuple(range(1, 9))
    assert epochs.problems == ()
    assert all(0 <= score <= 1 for score in epochs.column(SCORE))
    assert len(epochs.column("lr/pg0")) == 8
    # losses, scores and validation losses, and no clock
    assert [len(values) for values in epochs.measured] == [10] * 8


def test_names_padded_with_spaces_are_read(write):
    padded = ",".join(f"{name:>23}" for name in HEADER.split(","))
    values = ",".join(f"{value:>23}" for value in row(1, 0.25).split(","))
    assert write(padded, values).column(SCORE) == (0.25,)


def test_a_row_cut_short_is_left_out_and_named(write):
    epochs = write(HEADER, row(1, 0.1), row(2, 0.2), "3,1.5,2.", end="")
    assert epochs.numbers == (1, 2)
    assert "1 broken row" in epochs.problems[0]


def test_null_bytes_of_a_crash_are_no_rows(write):
    epochs = write(HEADER, row(1, 0.1), "\0" * 100)
    assert epochs.numbers == (1,)
    assert epochs.problems == ()


def test_of_two_trainings_in_one_file_the_last_counts(write):
    epochs = write(HEADER, row(1, 0.1), row(2, 0.2), row(1, 0.3))
    assert epochs.column(SCORE) == (0.3,)
    assert "two trainings" in epochs.problems[0]


def test_epochs_that_a_resumed_training_repeats_count_once(write):
    epochs = write(HEADER, row(1, 0.1), row(2, 0.2), row(3, 0.3), row(3, 0.4), row(4, 0.5))
    assert epochs.numbers == (1, 2, 3, 4)
    assert epochs.column(SCORE) == (0.1, 0.2, 0.4, 0.5)
    assert epochs.problems == ()


def test_epochs_without_numbers_are_named(write):
    epochs = write(HEADER, row(1, 0.1), row(2, "nan"), row(3, "inf"))
    assert epochs.bad_epochs == (2, 3)
    assert math.isnan(epochs.column(SCORE)[1])


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "empty"), ("\n \n", "empty"), ("a,b\n1,2\n", "no column 'epoch'")],
)
def test_files_of_something_else_are_said_to_be_so(content, words, write):
    epochs = write(content)
    assert epochs.numbers == ()
    assert words in epochs.problems[0]


def test_a_missing_file_is_a_problem_and_no_error(tmp_path):
    assert "cannot be read" in read_epochs(tmp_path / "results.csv").problems[0]


def test_a_header_alone_is_no_epoch(write):
    epochs = write(HEADER)
    assert (epochs.numbers, epochs.column(SCORE), epochs.measured) == ((), (), ())


def test_the_clock_does_not_count_as_measured(write):
    first = write(HEADER, row(1, 0.1))
    second = write(HEADER, row(1, 0.1).replace("1,1.5", "1,99.5", 1))
    assert first.column("time") != second.column("time")
    assert first.measured == second.measured
