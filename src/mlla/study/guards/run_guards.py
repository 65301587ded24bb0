"""What must hold among the finished runs of a study before they may be compared."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mlla.study.guards.plan_guards import FAILED, PASSED, Guard, guard
from mlla.study.planning.plan import DECISIVE
from mlla.study.runs.run_folder import Outcome


def finished_guards(plan: Mapping[str, Any], outcomes: Sequence[Outcome]) -> list[Guard]:
    """Compare the finished runs with each other and with the plan.

    Args:
        plan: The plan.
        outcomes: Those of all finished runs that the study trained, at least one.
    """
    return [
        same_data_order(outcomes),
        _shared_initial_weights(plan, outcomes),
        _one_version(plan, outcomes),
    ]


def same_data_order(outcomes: Sequence[Outcome]) -> Guard:
    """Say whether all arms of a seed saw the same.

    Args:
        outcomes: Those of finished runs, at least one.
    """
    name = "same_data_order"
    by_seed: dict[int, dict[str, list[str]]] = defaultdict(dict)
    for outcome in outcomes:
        by_seed[outcome.seed][outcome.arm] = outcome.seen
    differing = [
        (seed, arm)
        for seed, seen in sorted(by_seed.items())
        for arm in seen
        if seen[arm] != next(iter(seen.values()))
    ]
    detail = {"seeds": len(by_seed), "runs": len(outcomes), "differing": differing}
    if differing:
        arms = ", ".join(sorted({arm for _, arm in differing}))
        return guard(
            name,
            FAILED,
            detail,
            f"Not all arms of a seed saw the same images, in the same order and augmented alike: "
            f"{arms} in {len(differing)} runs.",
            f"同一种子下并非所有方案都以相同顺序看到相同增强的图像：{arms}"
            f"（{len(differing)} 次运行）。",
        )
    return guard(
        name,
        PASSED,
        detail,
        f"For each of {len(by_seed)} seeds all arms saw the same images in the same order, "
        "augmented alike, in every epoch.",
        f"在 {len(by_seed)} 个种子中，各方案在每个轮次都以相同顺序看到相同增强的图像。",
    )


def _shared_initial_weights(plan: Mapping[str, Any], outcomes: Sequence[Outcome]) -> Guard:
    name = "shared_initial_weights"
    planned = plan["counts"]
    shared = {
        arm["name"]: [
            planned[arm["name"]]["shared_with_baseline"],
            planned[arm["name"]]["baseline_tensors"],
        ]
        for arm in plan["arms"]
        if arm["name"] in planned
    }
    wrong = [
        (outcome.seed, outcome.arm)
        for outcome in outcomes
        if [outcome.counts["shared_with_baseline"], outcome.counts["baseline_tensors"]]
        != shared[outcome.arm]
    ]
    detail = {"shared": shared, "differing": wrong}
    text = ", ".join(f"{arm} {n} / {total}" for arm, (n, total) in list(shared.items())[1:])
    if wrong:
        return guard(
            name,
            FAILED,
            detail,
            f"{len(wrong)} runs did not start from the numbers that they share with the baseline.",
            f"有 {len(wrong)} 次运行没有从与基线共享的初始权重开始。",
        )
    return guard(
        name,
        PASSED,
        detail,
        f"For every seed the arms start with the numbers of the baseline in the tensors they share "
        f"with it: {text}.",
        f"对每个种子，各方案与基线共享的张量均以相同数值开始：{text}。",
    )


def _one_version(plan: Mapping[str, Any], outcomes: Sequence[Outcome]) -> Guard:
    name = "one_version"
    found = {
        package: sorted({plan["versions"][package], *(o.versions[package] for o in outcomes)})
        for package in DECISIVE
    }
    devices = sorted({outcome.device for outcome in outcomes})
    detail = {**found, "devices": devices}
    text = ", ".join(f"{package} {' / '.join(values)}" for package, values in found.items())
    if any(len(values) > 1 for values in found.values()):
        return guard(
            name,
            FAILED,
            detail,
            f"The runs are of several versions: {text}.",
            f"各次运行使用了不同的版本：{text}。",
        )
    return guard(
        name,
        PASSED,
        detail,
        f"All runs are of {text}, on {' and '.join(devices)}.",
        f"所有运行均使用 {text}，设备：{'、'.join(devices)}。",
    )
