"""Tables of a report for other programs, its numbers, and its boxes."""

import csv
import html
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
from hypothesis import given
from hypothesis import strategies as st
from made_up_results import FOUR_ARMS, TEN_ARMS, arm, made_up_results

from mlla.study.report import numbers, write_report
from mlla.study.report.box_matching import match_boxes
from mlla.study.report.csv_table import csv_table
from mlla.study.report.latex_table import escape, latex_table
from mlla.study.report.means import mean_difference, mean_over_runs
from mlla.study.report.name_parts import name_parts
from mlla.study.report.texts import texts_in

VARIANT = "yolov8n+mlla@neck"
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.points(0.41234), "41.23"),
        (numbers.points(0.0), "0.00"),
        (numbers.points(None), DASH),
        (numbers.signed_points(0.0123), "+1.23"),
        (numbers.signed_points(-0.0123), f"{MINUS}1.23"),
        (numbers.signed_points(-0.00001), "0.00"),
        (numbers.signed_points(None), DASH),
        (numbers.points_with_spread(0.4, 0.01), "40.00 ± 1.00"),
        (numbers.points_with_spread(0.4, None), "40.00"),
        (numbers.points_with_spread(None, None), DASH),
        (numbers.interval(-0.01, 0.02), f"[{MINUS}1.00, +2.00]"),
        (numbers.interval(None, 0.02), DASH),
        (numbers.probability(0.00099), "< 0.001"),
        (numbers.probability(0.0316), "0.032"),
        (numbers.probability(1.0), "1.000"),
        (numbers.probability(None), DASH),
        (numbers.count(3012018), "3,012,018"),
        (numbers.count(0), "0"),
        (numbers.count(None), DASH),
        (numbers.millions(3012018), "3.01"),
        (numbers.millions(None), DASH),
        (numbers.significant(0.01234), "0.0123"),
        (numbers.significant(12.0), "12.0"),
        (numbers.significant(1234.5), "1,234"),
        (numbers.significant(None), DASH),
        (numbers.ratio(1.0), "1.00"),
        (numbers.ratio(None), DASH),
        (numbers.between("1", "2"), f"1{DASH}2"),
        (numbers.between("1", DASH), DASH),
        (numbers.gibibytes(2**30 * 1.5), "1.50"),
        (numbers.gibibytes(None), DASH),
        (numbers.duration(59.6), "0:01:00"),
        (numbers.duration(36061), "10:01:01"),
        (numbers.duration(None), DASH),
        (numbers.trimmed(0.5), "0.5"),
        (numbers.trimmed(20.0), "20"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_every_run_has_a_row_in_the_csv() -> None:
    results = made_up_results(failed=((VARIANT, 1),))
    results["arms"][3]["runs"].pop()
    results["data"]["names"][0] = 'a "quoted", name'
    rows = list(csv.DictReader(io.StringIO(csv_table(results))))
    assert len(rows) == 4 * 5
    states = {(row["arm"], row["seed"]): row["state"] for row in rows}
    assert states[VARIANT, "1"] == "failed"
    assert states["yolov8n+identity@neck", "4"] == "unfinished"
    assert list(states.values()).count("done") == 18
    by_run = {(row["arm"], int(row["seed"])): row for row in rows}
    for one in results["arms"]:
        for run in one["runs"]:
            row = by_run[one["name"], run["seed"]]
            assert float(row["AP"]) == run["summary"]["AP"]
            assert row["APs"] == ""
            assert float(row["AP of patches"]) == run["per_class"]["patches"]
            assert float(row["AP lost to Loc"]) == run["error_types"]["Loc"]
            assert float(row["calibration_error"]) == run["calibration_error"]
            assert int(row["parameters"]) == one["cost"]["parameters"]
    failed = by_run[VARIANT, 1]
    assert failed["error"] == "RuntimeError: CUDA out of memory"
    assert failed["AP"] == failed["train_seconds"] == ""


def test_the_latex_table_holds_the_numbers() -> None:
    results = made_up_results()
    results["arms"][1]["mean"]["AP"], results["arms"][1]["std"]["AP"] = 0.4321, 0.0123
    results["comparisons"][0]["difference"].update(estimate=0.0312, low=-0.0011, high=0.0735)
    results["comparisons"][0]["adjusted_p_value"] = 0.0316
    order = [one["name"] for one in results["arms"]]
    rows = latex_table(results, order, texts_in("en")).splitlines()
    row = next(line for line in rows if "mlla@" in line and "conv" not in line)
    cells = [cell.strip() for cell in row.removesuffix(r"\\").split("&")]
    assert cells[1:4] == [r"43.21 $\pm$ 1.23", r"+3.12 {[}$-$0.11, +7.35]", "0.032"]
    assert cells[4] == f"{results['arms'][1]['cost']['parameters'] / 1e6:.2f}"
    assert len(cells) == 8
    # the baseline is not compared with itself
    baseline = next(line for line in rows if line.startswith(r"\raggedright yolov8n &"))
    assert [cell.strip() for cell in baseline.split("&")][2:4] == ["", ""]


@given(st.text(alphabet='ab -_{}\\$%&#~^<>|"[]*+@./±\n'))
def test_escaped_text_is_plain_to_latex(text: str) -> None:
    # without what stands for one letter, no letter is left that LaTeX would act upon
    left = re.sub(
        r"\\text[a-z]+\{\}|\\allowbreak\{\}|\\[&%$#_{}]|\{\\char34\}|\{\[\}|\{\*\}|\$\\pm\$",
        "",
        escape(text, breakable=True),
    )
    assert not set(left) & set('\\{}$&#_%~^<>|"[*\n')


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
@pytest.mark.parametrize("arms", [FOUR_ARMS, TEN_ARMS], ids=["four", "ten"])
def test_the_latex_table_compiles(arms: Any, tmp_path: Path) -> None:
    evil = arm('a_b\\c{d}$e$ 50% #1 & ~^ <x> "q" [1]*|', "variant")
    results = made_up_results((*arms[:-1], evil))
    order = [one["name"] for one in results["arms"]]
    (tmp_path / "results.tex").write_text(latex_table(results, order, texts_in("en")))
    (tmp_path / "document.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}"
        "\\input{results.tex}\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_means_leave_out_what_is_missing() -> None:
    runs = [{"seed": seed, "summary": {"AP": score}} for seed, score in enumerate([0.2, None, 0.6])]
    others = [{"seed": seed, "summary": {"AP": 0.1}} for seed in (2, 3)]
    assert mean_over_runs(runs, "summary", "AP") == pytest.approx(0.4)
    assert mean_over_runs(runs, "summary", "APl") is None
    # seed 2 alone is in both
    assert mean_difference(others, runs, "summary", "AP") == pytest.approx(0.5)
    assert mean_difference(others, runs[:2], "summary", "AP") is None


def box(name: str, left: float, score: float | None = None) -> dict[str, Any]:
    scored = {} if score is None else {"score": score}
    return {"name": name, "bbox": [left, 0.0, 10.0, 10.0], **scored}


def test_the_surest_detection_takes_the_label() -> None:
    label = box("cat", 0)
    # two thirds and nine elevenths of the union are shared
    found = match_boxes([label], [box("cat", 2, 0.6), box("cat", 1, 0.5)])
    assert found.hits == [box("cat", 2, 0.6)]
    assert found.false == [box("cat", 1, 0.5)]
    assert found.missed == []


def test_other_classes_and_small_overlaps_do_not_match() -> None:
    labels = [box("cat", 0), box("dog", 100)]
    # a shift by 4 leaves 6 of 14, by 3 leaves 7 of 13
    found = match_boxes(labels, [box("cat", 4, 0.9), box("cat", 100, 0.8), box("dog", 103, 0.7)])
    assert found.hits == [box("dog", 103, 0.7)]
    assert found.false == [box("cat", 4, 0.9), box("cat", 100, 0.8)]
    assert found.missed == [box("cat", 0)]


def test_an_object_labelled_twice_is_two_labels() -> None:
    found = match_boxes([box("cat", 0), box("cat", 0)], [box("cat", 0, 0.9)])
    assert len(found.hits) == len(found.missed) == 1


def test_a_collected_study_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("hotcoco")
    from study_folder import write_study_folder

    from mlla.study.results import collect

    out = write_study_folder(
        tmp_path / "study", seeds=2, num_images=8, failed=[("yolov8n-mlla", 1)]
    )
    results = collect(out, runtimes=())
    page = write_report(results, out, language="zh").read_text(encoding="utf-8")
    words = html.unescape(page.replace("<wbr>", ""))
    assert all(one["sentence"]["zh"] in words for one in results["comparisons"])
    assert "RuntimeError: made up" in words
    assert page.count("data:image/jpeg") > 0


def test_names_break_where_a_reader_would_break_them() -> None:
    assert name_parts("yolov8n+MyBlock_v2@4-6-9") == ["yolov8n+", "My", "Block_", "v2@4-6-9"]
    assert name_parts("peak memory, GiB") == ["peak memory, GiB"]
    assert name_parts("a gain of +0.5 points (-0.1)") == ["a gain of +0.5 points (-0.1)"]
