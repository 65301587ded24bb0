"""What stands at the top of a report: the question, the verdicts, and whether to trust them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlla.study.report.captions import margin_of, num_images_of
from mlla.study.report.record import data_name

# more arms than this are counted in the title
MAX_NAMED = 2
# what a reader must see first
_STATES = ("failed", "not checked", "warning", "passed")


def answers(
    results: Mapping[str, Any], order: Sequence[str], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the question, the answers, and what is missing.

    Args:
        results: Content of results.json.
        order: Names of the arms in the order in which they are shown.
        texts: Of the language.

    Returns:
        Fields of the page.
    """
    kinds = {arm["name"]: arm["kind"] for arm in results["arms"]}
    asked = [name for name in order if kinds[name] in ("variant", "added")]
    data = data_name(results)
    comparisons = sorted(
        results["comparisons"],
        key=lambda one: (one["family"] != "baseline", order.index(one["arm"])),
    )
    claims = [one for one in comparisons if one["family"] == "baseline" and one["arm"] in asked]
    question = texts["question_one" if len(asked) == 1 else "question_several"]
    names = ", ".join(asked)
    many = texts["several_arms"].format(count=len(asked))
    in_title = names if len(asked) <= MAX_NAMED else many
    return {
        "title": texts["title"].format(arms=in_title, baseline=results["baseline"], data=data),
        "question": question.format(
            arms=names,
            baseline=results["baseline"],
            data=data,
            classes=len(results["data"]["names"]),
            images=num_images_of(results),
            scored=results["scored"],
        ),
        "claims": claims,
        "controls": [one for one in comparisons if one not in claims],
        "points_meaning": texts["points_meaning"].format(margin=margin_of(results)),
        "unjudged": [
            texts["unjudged"].format(arm=name, baseline=results["baseline"])
            for name in asked
            if name not in [one["arm"] for one in claims]
        ],
        "unfinished": _unfinished(results, texts),
        "failures": _failures(results, texts),
    }


def _unfinished(results: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Say how far the study is; nothing where it is complete."""
    finished = sum(len(arm["runs"]) for arm in results["arms"])
    failed = sum(len(arm["failures"]) for arm in results["arms"])
    planned = len(results["seeds"]) * len(results["arms"])
    if finished + failed < planned:
        return texts["unfinished"].format(finished=finished, planned=planned, failed=failed)
    return texts["some_failed"].format(planned=planned, failed=failed) if failed else ""


def _failures(results: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """Name the runs that failed, those of one arm and one reason together."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for arm in results["arms"]:
        for failure in arm["failures"]:
            seeds.setdefault((arm["name"], failure["error"]), []).append(failure["seed"])
    return [
        texts["failed_runs"].format(arm=arm, seeds=", ".join(map(str, of)), error=error)
        for (arm, error), of in seeds.items()
    ]


def guards(results: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the guards, the worst first.

    Args:
        results: Content of results.json.
        texts: Of the language.

    Returns:
        Fields of the page.
    """
    found = sorted(results["guards"], key=lambda guard: _STATES.index(guard["state"]))
    bad = [guard for guard in found if guard["state"] != "passed"]
    key = "guards_bad" if bad else "guards_good" if found else "guards_none"
    return {
        "guards": found,
        "guards_are_bad": bool(bad) or not found,
        "guards_summary": texts[key].format(count=len(bad), all=len(found)),
    }
