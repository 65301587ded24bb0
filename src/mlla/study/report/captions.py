"""Captions of a report that name numbers of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlla.study.report import numbers
from mlla.study.report.charts.latency import times_of


def captions(results: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, str]:
    """Return the captions that name numbers of the study.

    Args:
        results: Content of results.json.
        texts: Of the language.

    Returns:
        Fields of the page.
    """
    runs = [len(arm["runs"]) for arm in results["arms"]]
    if min(runs) == max(runs):
        each = texts["one_run"] if runs[0] == 1 else texts["several_runs"].format(count=runs[0])
        per_arm = texts["runs_equal"].format(runs=each)
    else:
        per_arm = texts["runs_between"].format(low=min(runs), high=max(runs))
    has_intervals = any(one["difference"]["low"] is not None for one in results["comparisons"])
    forest = texts["forest_caption"].format(margin=margin_of(results))
    size = results["settings"].get("imgsz", numbers.MISSING)
    return {
        "sample": texts["sample"].format(runs=per_arm, images=num_images_of(results)),
        "forest_caption": forest if has_intervals else f"{forest} {texts['forest_no_interval']}",
        "curves_caption": texts["curves_caption"].format(baseline=results["baseline"]),
        "accuracy_caption": texts["accuracy_caption"].format(missing=numbers.MISSING),
        "cost_caption": texts["cost_caption"].format(imgsz=size, memory=_memory(results, texts)),
        "times_caption": texts["times_caption"].format(imgsz=size),
        "equivalence_rule": _equivalence_rule(results, texts),
        "measured_on": " ".join(_measured_on(results, texts)),
        "power_caption": texts["power_caption"].format(missing=numbers.MISSING),
    }


def _memory(results: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Say of what the peak memory is."""
    found = [(arm.get("cost") or {}).get("peak_memory_kind") for arm in results["arms"]]
    kinds = dict.fromkeys(texts[kind] for kind in found if kind)
    return ", ".join(kinds) or numbers.MISSING


def _measured_on(results: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """Say for each runtime on what the time was measured."""
    found = {}
    for arm in results["arms"]:
        for runtime, time in times_of(arm).items():
            if time.get("device_name") and runtime not in found:
                found[runtime] = texts["measured_on"].format(
                    runtime=runtime,
                    version=time["versions"].get(runtime, ""),
                    device=time["device_name"],
                    threads=time["threads"],
                    rounds=time["rounds"],
                )
    return list(found.values())


def margin_of(results: Mapping[str, Any]) -> str:
    """Write the smallest gain that matters, in points."""
    return numbers.trimmed(100 * results["margin"])


def num_images_of(results: Mapping[str, Any]) -> str:
    """Write the number of scored images."""
    return numbers.count(results["data"]["splits"][results["scored"]]["images"])


def _equivalence_rule(results: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Say when an arm counts as good as the baseline and faster; nothing where it was not asked."""
    asked = [one["equivalence"] for one in results["comparisons"] if one["equivalence"]]
    if not asked:
        return ""
    runtimes = dict.fromkeys(one["runtime"] for one in asked if one.get("runtime"))
    return texts["equivalence_rule"].format(
        margin=numbers.trimmed(100 * asked[0]["margin"]),
        percent=numbers.trimmed(100 * asked[0]["faster_than"]),
        share=numbers.trimmed(1 - asked[0]["faster_than"]),
        runtime=", ".join(runtimes) or numbers.MISSING,
    )
