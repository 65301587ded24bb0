"""The arms of a study as a table for a paper or a thesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlla.study.report import numbers
from mlla.study.report.charts.latency import runtimes_of, times_of
from mlla.study.report.name_parts import name_parts

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    # a bracket or star behind the end of a row would be read as its argument
    "[": "{[}",
    "*": "{*}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    numbers.MINUS: "$-$",
    numbers.DASH: "--",
    "±": r"$\pm$",
    "\n": " ",
}


def latex_table(results: Mapping[str, Any], order: Sequence[str], texts: Mapping[str, str]) -> str:
    """Return a table with the rules of booktabs.

    Args:
        results: Content of results.json.
        order: Names of the arms from the top down.
        texts: Of the language.

    Returns:
        LaTeX to be included in a document; its first line says which packages it needs.
    """
    arms = {arm["name"]: arm for arm in results["arms"]}
    gaps = {one["arm"]: one for one in results["comparisons"] if one["family"] == "baseline"}
    runtimes = runtimes_of(results)
    # one line of the heading for each text
    columns = [
        (texts["arm"],),
        ("AP",),
        (texts["difference"], f"[{texts['interval']}]"),
        ("p",),
        (texts["short_parameters"], "(M)"),
        ("GFLOPs",),
        *((texts["short_time"], runtime) for runtime in runtimes),
    ]
    rows = [_row(arms[name], gaps.get(name), runtimes) for name in order]
    caption = texts["latex_caption"].format(
        baseline=results["baseline"],
        images=results["data"]["splits"][results["scored"]]["images"],
        seeds=len(results["seeds"]),
    )
    lines = [
        f"% {texts['latex_needs']}",
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(caption)}}}\smallskip",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{@{{}}p{{0.22\linewidth}}*{{{len(columns) - 1}}}{{r}}@{{}}}}",
        r"\toprule",
        " & ".join(_heading(column) for column in columns) + r" \\",
        r"\midrule",
        *(f"{row} \\\\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}}%",
        "% a table too wide for the page is made smaller",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str, *, breakable: bool = False) -> str:
    """Return text that LaTeX prints as it is.

    Args:
        text: Any text.
        breakable: Whether a line may end inside a name.
    """
    parts = name_parts(text) if breakable else [text]
    escaped = ("".join(_SPECIAL.get(letter, letter) for letter in part) for part in parts)
    return r"\allowbreak{}".join(escaped)


def _heading(lines: Sequence[str]) -> str:
    """Return the heading of a column, one line below the other."""
    text = r"\\".join(map(escape, lines))
    return text if len(lines) == 1 else rf"\shortstack[r]{{{text}}}"


def _row(
    arm: Mapping[str, Any], compared: Mapping[str, Any] | None, runtimes: Sequence[str]
) -> str:
    """Return the cells of one arm."""
    cost = arm.get("cost") or {}
    times = [times_of(arm).get(runtime) or {} for runtime in runtimes]
    gap, p_value = "", ""
    if compared is not None:
        found = compared["difference"]
        limits = numbers.interval(found["low"], found["high"])
        gap = f"{numbers.signed_points(found['estimate'])} {limits}"
        p_value = numbers.probability(compared["adjusted_p_value"])
    cells = [
        numbers.points_with_spread(arm["mean"].get("AP"), arm["std"].get("AP")),
        gap,
        p_value,
        numbers.millions(cost.get("parameters")),
        numbers.significant(cost.get("gflops")),
        *(numbers.significant(time.get("median_ms")) for time in times),
    ]
    name = rf"\raggedright {escape(arm['name'], breakable=True)}"
    return " & ".join([name, *map(escape, cells)])
