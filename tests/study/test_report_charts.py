"""Charts of a report: readable with few and many arms, in two languages, on any machine."""

import re
import unicodedata
import warnings
from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from made_up_results import FOUR_ARMS, TEN_ARMS, TWO_ARMS, arm, made_up_results
from PIL import ImageFont

from mlla.study.report.arm_style import order_arms, style_arms
from mlla.study.report.charts.canvas import text_width, wrap
from mlla.study.report.charts.draw import Charts, draw_charts
from mlla.study.report.texts import texts_in

SVG = "{http://www.w3.org/2000/svg}"
LONG = (
    arm("yolov8n", "baseline"),
    arm("my_project_without_any_limit_on_the_length_of_names_at_all_v2_final", "variant"),
    arm("unbrokennamewithoutanyseparatorthatgoesonandonandonandonandonandon", "variant"),
    arm("改进的多尺度线性注意力模块插入颈部网络之后的版本第二次尝试", "variant"),
)


def charts_of(results: dict[str, Any], language: str = "en") -> Charts:
    styles = style_arms(results["arms"])
    styles = {one["name"]: styles[one["name"]] for one in order_arms(results["arms"])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return draw_charts(results, styles, texts_in(language))


def texts_of(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}text"))


@cache
def font(name: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf", 100)


def place_of(text: ElementTree.Element) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a text, the letters as wide as those of DejaVu Sans."""
    words, style = text.text or "", text.attrib["style"]
    found = re.search(r"font(?:-size)?:[^;]*?([\d.]+)px", style)
    assert found is not None
    size = float(found[1])
    # the widest font of those that browsers take; a Chinese letter is a square
    is_bold = bool(re.search(r"font[^;]*: (?:bold|700)", style))
    narrow = "".join(letter for letter in words if unicodedata.east_asian_width(letter) not in "WF")
    width = font("DejaVuSans-Bold" if is_bold else "DejaVuSans").getlength(narrow) * size / 100
    width += size * (len(words) - len(narrow))
    left, bottom = float(text.attrib["x"]), float(text.attrib["y"])
    if "text-anchor: middle" in style:
        left -= width / 2
    elif "text-anchor: end" in style:
        left -= width
    return left, bottom - 0.75 * size, left + width, bottom + 0.1 * size


@pytest.mark.parametrize(
    ("arms", "language"),
    [(TWO_ARMS, "en"), (FOUR_ARMS, "en"), (FOUR_ARMS, "zh"), (TEN_ARMS, "zh"), (LONG, "en")],
    ids=["two", "four", "four, Chinese", "ten, Chinese", "long names"],
)
def test_no_text_of_a_chart_overlaps_or_is_cut(arms: Any, language: str) -> None:
    results = made_up_results(arms, runtimes=("torch",))
    files = charts_of(results, language).files()
    assert len(files) >= 5
    for name, svg in files.items():
        width, height = map(float, ElementTree.fromstring(svg).attrib["viewBox"].split()[2:])
        places = [
            (text.text, place_of(text)) for text in texts_of(svg) if (text.text or "").strip()
        ]
        assert len(places) > 5
        for words, (left, top, right, bottom) in places:
            assert left >= -1, (name, words)
            assert top >= -1, (name, words)
            assert right <= width + 1, (name, words)
            assert bottom <= height + 1, (name, words)
        for (first, a), (second, b) in combinations(places, 2):
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (name, first, second)


def test_text_stays_text_and_its_fonts_are_those_of_the_reader() -> None:
    chart = charts_of(made_up_results(), "zh").forest
    assert chart is not None
    words = "".join(text.text or "" for text in texts_of(chart))
    assert "与基线 yolov8n 相比" in words
    assert "PingFang SC" in ElementTree.fromstring(chart).attrib["font-family"]
    assert not any("font-family" in text.attrib["style"] for text in texts_of(chart))


def test_settings_of_the_user_change_nothing() -> None:
    results = made_up_results(TWO_ARMS)
    plain = charts_of(results)
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "path"}
    ):
        assert charts_of(results) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_ids_of_different_charts_differ() -> None:
    seen: set[str] = set()
    for svg in charts_of(made_up_results()).files().values():
        root = ElementTree.fromstring(svg)
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert len(ids) == len(set(ids))
        assert seen.isdisjoint(ids)
        seen.update(ids)
        # whatever is referred to is in the same chart
        references = re.findall(
            r"#([\w.-]+)", " ".join(re.findall(r'(?:href="|url\()#[^")]+', svg))
        )
        assert references
        assert set(references) <= set(ids)


def test_arms_look_different_everywhere() -> None:
    styles = style_arms(made_up_results(TEN_ARMS)["arms"])
    assert len(set(styles.values())) == len(TEN_ARMS)
    variant, control = styles["yolov8n+mlla@p5"], styles["yolov8n+conv_like_mlla@p5"]
    assert variant.marker == control.marker
    assert variant.is_filled
    assert not control.is_filled
    # lighter: nearer to white in every channel
    rgb = [matplotlib.colors.to_rgb(style.color) for style in (variant, control)]
    assert all(after > before for before, after in zip(*rgb, strict=True))


def test_the_colors_of_an_arm_do_not_depend_on_the_others() -> None:
    two, ten = style_arms(list(FOUR_ARMS)), style_arms(list(TEN_ARMS))
    assert all(ten[one["name"]] == two[one["name"]] for one in FOUR_ARMS)


def test_controls_stand_behind_what_they_explain() -> None:
    order = [one["name"] for one in order_arms(TEN_ARMS)]
    assert order[:6] == [
        "yolov8n",
        "yolov8n+mlla@neck",
        "yolov8n+conv_like_mlla@neck",
        "yolov8n+identity@neck",
        "yolov8n+mlla@p5",
        "yolov8n+conv_like_mlla@p5",
    ]
    assert sorted(order) == sorted(one["name"] for one in TEN_ARMS)


def marks_of(svg: str) -> list[tuple[float, float]]:
    """Return the places of all dots."""
    uses = ElementTree.fromstring(svg).iter(f"{SVG}use")
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in uses]


def tick_scale(svg: str) -> Callable[[float], float]:
    """Return the place of a number on the horizontal axis, as its ticks tell."""
    ticks = [text for text in texts_of(svg) if "text-anchor: middle" in text.attrib["style"]]
    pairs = []
    for tick in ticks:
        words = (tick.text or "").replace("\N{MINUS SIGN}", "-")
        if re.fullmatch(r"-?[\d.]+", words):
            pairs.append((float(words), float(tick.attrib["x"])))
    slope, offset = np.polyfit(*zip(*pairs, strict=True), 1)
    return lambda number: slope * number + offset


def test_the_forest_shows_every_difference_where_it_is() -> None:
    results = made_up_results()
    chart = charts_of(results).forest
    assert chart is not None
    place = tick_scale(chart)
    shown = np.array([x for x, _ in marks_of(chart)])
    for one in results["comparisons"]:
        for key in ("estimate", "low", "high"):
            expected = place(100 * one["difference"][key])
            assert np.abs(shown - expected).min() < 0.5


def test_one_huge_interval_does_not_hide_the_others() -> None:
    results = made_up_results()
    huge = results["comparisons"][-1]["difference"]
    huge.update(low=huge["estimate"] - 0.9, high=huge["estimate"] + 0.9)
    chart = charts_of(results).forest
    assert chart is not None
    place = tick_scale(chart)
    width = float(ElementTree.fromstring(chart).attrib["width"])
    one = results["comparisons"][0]["difference"]
    assert place(100 * one["high"]) - place(100 * one["low"]) > 0.05 * width
    # its numbers are not cut
    assert f"+{100 * huge['high']:.2f}]" in "".join(text.text or "" for text in texts_of(chart))
    assert all(0 <= x <= width for x, _ in marks_of(chart))


def test_every_run_has_a_dot() -> None:
    results = made_up_results(failed=(("yolov8n+mlla@neck", 1),))
    chart = charts_of(results).dots
    place = tick_scale(chart)
    shown = np.array([x for x, _ in marks_of(chart)])
    for one in results["arms"]:
        for run in one["runs"]:
            assert np.abs(shown - place(100 * run["summary"]["AP"])).min() < 0.5
    assert "4 of 5" in "".join(text.text or "" for text in texts_of(chart))


def test_arms_without_a_time_are_left_out_of_its_chart() -> None:
    results = made_up_results(runtimes=("torch",))
    results["arms"][1]["cost"]["latency"]["torch"].update(median_ms=None, error="it broke")
    chart = charts_of(results).latency["torch"]
    assert chart is not None
    words = " ".join(text.text or "" for text in texts_of(chart))
    assert "yolov8n+mlla@neck" not in words
    assert "yolov8n+identity@neck" in words
    for one in results["arms"]:
        one["cost"]["latency"]["torch"]["median_ms"] = None
    assert charts_of(results).latency == {"torch": None}


def test_curves_with_gaps_are_drawn() -> None:
    results = made_up_results(TWO_ARMS)
    curves = results["arms"][1]["curves"]
    curves["AP"][0] = curves["AP"][0][:7]
    curves["AP"][1] = [None] * len(curves["epoch"])
    curves["train_loss"] = [[None] * len(curves["epoch"])] * 5
    found = charts_of(results).curves
    assert len(found["AP"]) == 1
    # the baseline alone has a loss
    assert "yolov8n" in " ".join(text.text or "" for text in texts_of(found["train_loss"][0]))


@pytest.mark.parametrize("width", [40, 90, 200])
def test_wrapped_names_are_whole_and_fit(width: float) -> None:
    for one in (*TEN_ARMS, *LONG):
        lines = wrap(one["name"], width)
        assert "".join(lines) == one["name"]
        assert all(text_width(line) <= width for line in lines)
