"""The page of a report: complete, honest about gaps, safe, and the same in two languages."""

import re
import warnings
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
from made_up_results import FOUR_ARMS, TEN_ARMS, TWO_ARMS, arm, made_up_results

from mlla.study.report import write_report
from mlla.study.report.pictures import MAX_ROWS
from mlla.study.report.texts import LANGUAGES, texts_in

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
CHINESE = re.compile("[\u4e00-\u9fff]")
VARIANT = "yolov8n+mlla@neck"
ALL_FAILED = tuple((VARIANT, seed) for seed in range(5))
CASES: dict[str, dict[str, Any]] = {
    "four arms": {},
    "two arms, one seed": {"arms": TWO_ARMS, "seeds": 1, "runtimes": ("torch",)},
    "two arms, two seeds, no latency": {"arms": TWO_ARMS, "seeds": 2, "runtimes": ()},
    "ten arms": {"arms": TEN_ARMS, "seeds": 8},
    "a failed run": {"failed": ((VARIANT, 1), ("yolov8n", 3))},
    "a failed arm": {"failed": ALL_FAILED},
    "a failed baseline": {"failed": tuple(("yolov8n", seed) for seed in range(5))},
}
VOID = {"meta", "br", "wbr"}


class Page(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attributes)
        self.links += [value or "" for key, value in named.items() if key in ("href", "src")]
        if tag in ("td", "text"):
            # cells stand apart
            self.words.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def page_of(results: dict[str, Any], out: Path, language: str = "en") -> Page:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = write_report(results, out, language=language)
    assert path == out / "report.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_every_study_has_a_page_that_stands_alone(case: str, tmp_path: Path) -> None:
    language = LANGUAGES[list(CASES).index(case) % 2]
    page = page_of(made_up_results(**CASES[case]), tmp_path, language)
    assert page.tags.isdisjoint({"script", "link", "iframe", "img"})
    # inside the page, or inside the file
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    assert not re.search(r"\b(None|nan|inf|NaN)\b|[{}]", page.text)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "results.csv",
        "results.tex",
        "charts",
    }


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    results = made_up_results(TWO_ARMS)
    untouched = deepcopy(results)
    pages = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_report(results, tmp_path / name)
        files = sorted((tmp_path / name).rglob("*.*"))
        pages.append([file.read_bytes() for file in files])
    assert pages[0] == pages[1]
    assert results == untouched


def test_the_question_and_the_verdicts_come_first(tmp_path: Path) -> None:
    results = made_up_results()
    text = page_of(results, tmp_path).text
    order = [
        "detect better than yolov8n on NEU-DET: 6 classes, scored on the 120 images",
        "3 of 5 guards did not pass",
        results["comparisons"][0]["sentence"]["en"],
        "One seed gave two results.",
        "Not checked yet.",
        "3 pairs of images.",
        "Two seeds, two results.",
        results["comparisons"][1]["sentence"]["en"],
        "Differences of AP",
        "Every run",
        "Accuracy and speed",
        "Training",
        "The arms in numbers",
        "Class by class",
        "What goes wrong",
        "Where the arms disagree most",
        "What a study of this size can see",
        "How it was made",
        results["command"],
        "How the statistics work",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert all(one["sentence"]["en"] in text for one in results["comparisons"])


def test_numbers_of_the_results_stand_in_the_tables(tmp_path: Path) -> None:
    results = made_up_results()
    found = results["arms"][1]
    found["mean"]["AP"], found["std"]["AP"] = 0.4321, 0.0123
    found["cost"].update(
        parameters=3_456_789,
        gflops=8.765,
        gflops_torch=8.5,
        train_seconds=4000.0,
        peak_memory_bytes=3 * 2**30,
    )
    found["cost"]["latency"]["torch"].update(median_ms=12.34, low_ms=11.5, high_ms=13.25)
    results["comparisons"][0]["difference"].update(estimate=0.0312, low=-0.0011, high=0.0735)
    results["comparisons"][0].update(adjusted_p_value=0.0004, smallest_effect=0.0456)
    text = page_of(results, tmp_path).text
    shown = [
        "43.21 ± 1.23",
        "3.46",
        "8.77",
        "8.50",
        "1:06:40",
        "3.00",
        f"12.3 11.5{DASH}13.2",
        f"+3.12 [{MINUS}0.11, +7.35]",
        "< 0.001",
        "4.56",
    ]
    assert [number for number in shown if number not in text] == []
    assert "355 / 355" in text
    assert "349 / 355" in text


def test_hashes_versions_and_settings_are_recorded(tmp_path: Path) -> None:
    results = made_up_results()
    text = page_of(results, tmp_path).text
    recorded = [
        *(split["sha256"] for split in results["data"]["splits"].values()),
        results["ground_truth_sha256"],
        results["data"]["yaml"],
        "ultralytics 8.4.190",
        "optimizer AdamW",
        "lr0 0.001",
        "seeds 0, 1, 2, 3, 4",
        "The test split was made of 20 % of train, keeping together: near-duplicates.",
        "3 nearly identical pairs of images; 2 scored images are touched",
        "Such as image_1.jpg = image_7.jpg.",
        "best.pt: the validation images chose the epoch",
    ]
    assert [part for part in recorded if part not in text] == []


@pytest.mark.parametrize(
    ("checkpoint", "scored", "words"),
    [
        ("last", "val", "last.pt: the last epoch, which no image chose"),
        ("best", "val", "every figure is too high"),
        ("best", "test", "the validation images chose the epoch"),
    ],
)
def test_the_page_says_what_chose_the_checkpoint(
    checkpoint: str, scored: str, words: str, tmp_path: Path
) -> None:
    results = {**made_up_results(TWO_ARMS), "checkpoint": checkpoint, "scored": scored}
    assert words in page_of(results, tmp_path).text


def test_failed_runs_are_named_and_count_for_nothing(tmp_path: Path) -> None:
    text = page_of(made_up_results(failed=ALL_FAILED), tmp_path).text
    assert "5 of 20 runs failed." in text
    assert f"{VARIANT}, seed 0, 1, 2, 3, 4: RuntimeError: CUDA out of memory" in text
    assert f"no verdict {VARIANT} has no finished run" in text
    assert "no finished run" in text
    # nothing became a zero
    assert f"{VARIANT} 0 of 5 {' '.join([DASH] * 7)}" in text


def test_a_study_under_way_says_so(tmp_path: Path) -> None:
    results = made_up_results()
    del results["arms"][2]["runs"][3:]
    assert "18 of 20 runs are finished and 0 failed" in page_of(results, tmp_path).text


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    text = page_of(made_up_results(TWO_ARMS, seeds=1), tmp_path).text
    assert "With one seed there is no interval." in text
    assert "n = 1 seed per arm" in text
    assert "[" not in text.partition("How it was made")[0]


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    results = made_up_results()
    results["arms"][1]["cost"]["latency"]["onnxruntime"] = {
        "median_ms": None,
        "low_ms": None,
        "high_ms": None,
        "ratio": None,
        "error": "no opset for it",
    }
    results["arms"][2]["cost"]["gflops_disagree"] = True
    results["arms"][3]["cost"].update(error="best.pt is missing", gflops=None)
    text = page_of(results, tmp_path).text
    assert f"{VARIANT} in onnxruntime: no opset for it" in text
    assert "yolov8n+conv_like_mlla@neck: the two counters of GFLOPs disagree" in text
    assert "yolov8n+identity@neck: parts of the cost were not measured: best.pt is missing" in text
    without = made_up_results(TWO_ARMS, runtimes=())
    assert "The time per image was not measured." in page_of(without, tmp_path).text


def test_added_runs_without_costs_counts_or_curves_are_shown(tmp_path: Path) -> None:
    results = made_up_results((*TWO_ARMS, arm("old runs", "added")))
    bare = results["arms"][2]
    del bare["cost"]
    bare.update(counts=None, curves={"epoch": [], "AP": [], "AP50": [], "train_loss": []})
    for run in bare["runs"]:
        run.update(train_seconds=None, peak_memory_bytes=None, calibration_error=None)
    page_of(results, tmp_path)


def test_no_guard_is_not_a_passed_guard(tmp_path: Path) -> None:
    results = {**made_up_results(TWO_ARMS), "guards": []}
    assert "No guard was recorded" in page_of(results, tmp_path).text


def test_names_and_messages_are_shown_as_they_are(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> & "x" $a_b$ \\frac {{ 7*7 }} %'
    results = made_up_results((FOUR_ARMS[0], arm(evil, "variant")), failed=((evil, 2),))
    results["arms"][1]["failures"][0]["error"] = "<b>bold</b>"
    results["data"]["names"][0] = "<i>class</i>"
    results["command"] = "mlla compare 'a<b>&c'"
    path = write_report(results, tmp_path)
    raw = path.read_text(encoding="utf-8")
    assert "<script>" not in raw
    assert "<b>bold" not in raw
    assert "<i>" not in raw
    text = re.sub(r"\s+", " ", "".join(Page(raw.replace("{{ 7*7 }}", "")).words))
    assert "mlla compare 'a<b>&c'" in text
    assert '<script>alert(1)</script> & "x" $a_b$ \\frac' in text


def test_pictures_of_disagreements_are_inside_the_page(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "out").mkdir()
    arms = tuple(one for one in TEN_ARMS if one["kind"] in ("baseline", "variant", "added"))
    results = made_up_results(arms, seeds=1, runtimes=(), images=tmp_path / "images")
    page = page_of(results, tmp_path / "out")
    pictures = [link for link in page.links if link.startswith("data:")]
    # one for each row, used three times
    assert len(pictures) == MAX_ROWS
    assert page.links.count("#picture-1") == 2
    # of every arm before a second of any
    claims = [one["name"] for one in results["arms"] if one["kind"] in ("variant", "added")]
    shown = re.findall(r"(\S[^:]{0,60}) finds \S+ objects (?:more|fewer)", page.text)
    assert all(any(name in line for line in shown[:5]) for name in claims)
    assert "2 of 4 found, 1 false" in page.text
    assert "4 of 4 found, 0 false" in page.text
    assert (tmp_path / "out" / "report.html").stat().st_size < 3e6


def test_pictures_that_are_gone_are_named(tmp_path: Path) -> None:
    text = page_of(made_up_results(TWO_ARMS), tmp_path).text
    assert "the image /nowhere/image_0.jpg cannot be read: No such file or directory" in text
    results = {**made_up_results(TWO_ARMS), "disagreements": []}
    assert "no image on which an arm and the baseline" in page_of(results, tmp_path).text


def test_an_unknown_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"language='fr' is unknown; choose from en, zh"):
        write_report(made_up_results(), tmp_path, language="fr")


def test_both_languages_say_the_same_things() -> None:
    english, chinese = texts_in("en"), texts_in("zh")
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        fields = re.findall(r"{\w*}", text)
        assert set(fields) == set(re.findall(r"{\w*}", chinese[key])), key
        assert "\n" not in text + chinese[key]
    # nothing was left untranslated but names
    same = [key for key, text in english.items() if text == chinese[key]]
    assert same == ["digest"]
    foreign = [key for key, text in chinese.items() if not CHINESE.search(text)]
    assert set(foreign) <= {"digest", "runs_of", "gflops", "gflops_torch", "latency_error"}


def test_a_chinese_page_holds_no_english_sentence(tmp_path: Path) -> None:
    # messages of the system are in its language
    results = {**made_up_results(), "disagreements": []}
    text = page_of(results, tmp_path, "zh").text.partition("文献")[0]
    # as every English sentence has; names and settings stay what they are
    assert not re.findall(r"\b(?:the|of|is|are|and|with|no|to|in|on|not|an?)\b", text)
