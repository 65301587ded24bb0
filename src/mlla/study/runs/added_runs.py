"""Existing runs of Ultralytics as arms of a study."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlla.study.audit.added import AddedArm, differences_from_plan, write_added_run
from mlla.study.guards.plan_guards import PASSED, WARNING, Guard, guard, replaced
from mlla.study.runs.run_folder import run_state


def add_runs(
    plan: dict[str, Any], added: Sequence[AddedArm], out: Path, *, trust: bool
) -> dict[str, Any]:
    """Predict with existing runs, and return the plan with their arms.

    Args:
        plan: The plan.
        added: The arms.
        out: Folder of the study.
        trust: Whether weights may be loaded that name code of others.

    Returns:
        The plan with these arms, what they had otherwise, and a guard about that.

    Raises:
        ValueError: If an arm has the name of another one, or its runs cannot stand beside the
            others.
    """
    if not added:
        return plan
    arms = {arm["name"]: arm for arm in plan["arms"]}
    entries = {entry["arm"]: entry for entry in plan.get("added", [])}
    for one in added:
        name, arm = one.arm.name, one.arm.to_dict()
        if arms.setdefault(name, arm) != arm:
            raise ValueError(f"add={name}:...: the study has another arm of this name; choose one")
        entries[name] = {
            "arm": name,
            "differences": differences_from_plan(one, plan),
            "runs": {str(seed): str(run.folder) for seed, run in one.runs.items()},
        }
        for seed, run in one.runs.items():
            folder = out / "runs" / one.arm.folder / f"seed-{seed}"
            if run_state(folder) != "done":
                write_added_run(run, folder, plan, name, seed, trust=trust)
    return {
        **plan,
        "arms": list(arms.values()),
        "added": list(entries.values()),
        "guards": replaced(plan["guards"], [_guard(list(entries.values()))]),
    }


def _guard(entries: Sequence[Mapping[str, Any]]) -> Guard:
    differing = {entry["arm"]: entry["differences"] for entry in entries if entry["differences"]}
    name = "added_runs_comparable"
    if not differing:
        return guard(
            name,
            PASSED,
            {},
            "The added runs were trained as the others, as far as their folders say; their order "
            "of images and initial weights are not known.",
            "就其文件夹所记录的内容而言，添加的运行与其他运行的训练方式一致；其图像顺序和初始权重未知。",
        )
    text = "; ".join(f"{arm}: {', '.join(found)}" for arm, found in differing.items())
    return guard(
        name,
        WARNING,
        differing,
        f"The added runs were trained otherwise than the study, which may be all their difference "
        f"({text}).",
        f"添加的运行与本研究的训练方式不同，差异可能全部由此引起（{text}）。",
    )
