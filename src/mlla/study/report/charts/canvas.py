"""Figures whose text stays text, so that a browser draws it in any script.

The machine that makes a report needs no font for its language: sizes are estimated here, and every
text is anchored at the point where it is put. One unit is a pixel of the page.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from mlla.study.report.name_parts import name_parts

FONT_FAMILIES = (
    "Arial, 'Helvetica Neue', 'Liberation Sans', 'PingFang SC', 'Microsoft YaHei', "
    "'Noto Sans CJK SC', 'Noto Sans SC', 'WenQuanYi Micro Hei', 'DejaVu Sans', sans-serif"
)
TEXT_PX, SMALL_TEXT_PX, LINE_PX = 13, 12, 16
INK, FAINT, GRID = "#222222", "#666666", "#dddddd"

# every machine that has matplotlib has it, and no common font is wider
_MEASURED_WITH = "DejaVu Sans"
_END_OF_LATIN = "\u0250"
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "mlla", "font.family": _MEASURED_WITH}

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


@contextmanager
def chart_settings() -> Iterator[None]:
    """Draw with the same settings on every machine, whatever its user has set."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width_px: float, height_px: float) -> Figure:
    """Return an empty white figure."""
    return Figure(figsize=(width_px / 72, height_px / 72), dpi=72, facecolor="white")


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes with a light frame.

    Args:
        figure: Where to.
        left: Pixels from the left edge of the figure.
        top: Pixels from its upper edge.
        width: Of the axes in pixels.
        height: Of the axes in pixels.

    Returns:
        The axes.
    """
    whole_width, whole_height = (72 * side for side in figure.get_size_inches())
    axes = figure.add_axes(
        (
            left / whole_width,
            1 - (top + height) / whole_height,
            width / whole_width,
            height / whole_height,
        )
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=SMALL_TEXT_PX, color=FAINT, labelcolor=INK)
    axes.set_axisbelow(True)
    return axes


def write(figure: Figure, text: str, left: float, top: float, **changes: Any) -> None:
    """Put one line of text on a figure, as it is: no part of it is read as a formula.

    Args:
        figure: Where to.
        text: The line.
        left: Pixels from the left edge to the anchor, the left end of the text unless `ha` says
            otherwise.
        top: Pixels from the upper edge to the middle of the line.
        changes: What else matplotlib knows about a text.
    """
    width, height = (72 * side for side in figure.get_size_inches())
    settings = {"fontsize": TEXT_PX, "color": INK, "va": "center_baseline", **changes}
    figure.text(left / width, 1 - top / height, text, parse_math=False, **settings)


def text_width(text: str, size_px: float = TEXT_PX, *, is_bold: bool = False) -> float:
    """Estimate, rather too large than too small, how wide a line of text is in pixels."""
    latin = "".join(letter for letter in text if letter < _END_OF_LATIN and letter.isprintable())
    font = get_font(findfont(_font(is_bold)))
    # large letters, since the widths of small ones are rounded; in parts of 64
    font.set_size(100, 72)
    font.set_text(latin)
    width = font.get_width_height()[0] / 64 / 100
    # any other letter may be a square, as the Chinese are
    return size_px * (width + len(text) - len(latin))


def wrap(
    text: str, width_px: float, size_px: float = TEXT_PX, *, is_bold: bool = False
) -> list[str]:
    """Break a name into lines, where names may be broken if possible.

    Args:
        text: The name.
        width_px: Of the longest line allowed.
        size_px: Of the letters.
        is_bold: Whether the letters are bold.

    Returns:
        The lines; put together again they are the name.
    """

    def fits(line: str) -> bool:
        return text_width(line, size_px, is_bold=is_bold) <= width_px

    lines = [""]
    for part in name_parts(text):
        for piece in (part,) if fits(part) else tuple(part):
            if lines[-1] and not fits(lines[-1] + piece):
                lines.append("")
            lines[-1] += piece
    return lines


def _font(is_bold: bool) -> FontProperties:
    return FontProperties(family=_MEASURED_WITH, weight="bold" if is_bold else "normal")


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an SVG element that can stand in a page or in a file of its own.

    Args:
        figure: The figure, made under `chart_settings`.
        name: Unique in the page, of letters, digits and "-": ids inside begin with it.
        description: What the figure shows, for those who cannot see it.

    Returns:
        The element; the same figure gives the same text.
    """
    target = io.StringIO()
    with warnings.catch_warnings():
        # the browser has the letters that the font for measuring lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(target.getvalue())
    for child in list(root):
        # the rule for all elements that stands in the first definitions would hold for the page
        is_rule = child.find(f"{{{_SVG}}}style") is not None
        if is_rule or child.tag == f"{{{_SVG}}}metadata":
            root.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                value = f"{name}-{value}"
            elif key in ("clip-path", f"{{{_XLINK}}}href"):
                value = value.replace("#", f"#{name}-")
            elif key == "style":
                value = value.replace(f"font-family: '{_MEASURED_WITH}'; ", "")
            element.set(key, value)
    width, height = root.attrib["viewBox"].split()[2:]
    root.attrib.update(
        {
            "width": width,
            "height": height,
            "role": "img",
            "aria-label": description,
            "font-family": FONT_FAMILIES,
            "stroke-linejoin": "round",
        }
    )
    return ElementTree.tostring(root, encoding="unicode")
