"""A plan as a person reads it, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_MARKS = {"passed": "ok", "failed": "FAILED"}


def plan_text(
    plan: Mapping[str, Any], out: Path, *, num_done: int, where: str, disk_bytes: float
) -> str:
    """Return the plan in some twenty lines.

    Args:
        plan: The plan.
        out: Folder of the study.
        num_done: Runs that are done already.
        where: How many runs are trained at a time, or where.
        disk_bytes: What the study needs at most.
    """
    rows: list[tuple[str, str]] = [
        ("study", str(out)),
        *_data_rows(plan),
        ("training", _training(plan)),
        *_arm_rows(plan),
        *(("check", text) for text in _guards(plan)),
        ("runs", _runs(plan, num_done, where, disk_bytes)),
    ]
    lines, last = [], ""
    for label, text in rows:
        lines.append(f"{label if label != last else '':<9} {text}")
        last = label
    return "\n".join(lines)


def _data_rows(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = plan["data"]
    sizes = ", ".join(f"{split} {part['images']}" for split, part in data["splits"].items())
    yield "data", f"{data['yaml']}: {len(data['names'])} classes, images: {sizes}"
    if made := data["made_split"]:
        kept = made["groups"].replace("identical", "identical images")
        yield "data", f"test is {made['share']:.0%} of train, {kept} kept together"
    if plan["checkpoint"] == "best":
        chosen = f"best.pt, which val chooses, is scored on {data['scored']}"
    elif data["scored"] == "val":
        chosen = (
            "last.pt is scored on val: there is no test split, and val chooses best.pt (test=0.2 "
            "makes one from train)"
        )
    else:
        chosen = f"last.pt is scored on {data['scored']}"
    yield "data", chosen


def _training(plan: Mapping[str, Any]) -> str:
    settings = plan["settings"]
    weights = f"from {plan['pretrained']}" if plan["pretrained"] else "from scratch"
    return (
        f"{settings['epochs']} epochs at {settings['imgsz']} px, batch {settings['batch']}, "
        f"{settings['optimizer']} with lr0 {settings['lr0']}, {weights}, "
        f"device {settings['device'] or 'cuda'}"
    )


def _arm_rows(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    width = max(len(arm["name"]) for arm in plan["arms"])
    for number, arm in enumerate(plan["arms"]):
        name = f"{arm['name']:<{width}}"
        if arm["kind"] == "added":
            yield "arms", f"{name}  existing runs"
            continue
        counts = plan["counts"][arm["name"]]
        text = f"{name}  {counts['parameters']:>11,} parameters"
        if number:
            shared = f"{counts['shared_with_baseline']} of {counts['baseline_tensors']}"
            text += f", starts with {shared} tensors of the baseline"
        elif plan["pretrained"]:
            kept = f"{counts['pretrained_kept']} of {counts['pretrained_tensors']}"
            text += f", keeps {kept} pretrained tensors"
        roles = {"convolution": "control for", "identity": "control for"}
        if arm["kind"] in roles:
            text += f", {roles[arm['kind']]} {arm['control_of']}"
        yield "arms", text


def _guards(plan: Mapping[str, Any]) -> Iterator[str]:
    for guard in plan["guards"]:
        if guard["state"] != "not checked" or guard["detail"]:
            yield f"{_MARKS.get(guard['state'], guard['state']):<11} {guard['en']}"


def _runs(plan: Mapping[str, Any], num_done: int, where: str, disk_bytes: float) -> str:
    arms = sum(arm["kind"] != "added" for arm in plan["arms"])
    seeds = len(plan["seeds"])
    text = f"{arms} arms x {seeds} seeds = {arms * seeds}"
    if num_done == arms * seeds:
        return f"{text}, all done"
    done = f", {num_done} of them done" if num_done else ""
    return (
        f"{text}{done}; {where}; up to {disk_bytes / 1e6:,.0f} MB of disk; the time left is shown "
        "after the first epoch"
    )
