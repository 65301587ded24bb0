"""The plan of a study: written before anything is trained, and kept to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mlla.study.files import read_json, write_json
from mlla.study.guards.plan_guards import replaced, seeds_guard

PLAN = "study.json"
# results of two versions of these are not comparable
DECISIVE = ("ultralytics", "torch")


def write_plan(out: Path, plan: Mapping[str, Any]) -> None:
    """Write study.json.

    Args:
        out: Folder of the study.
        plan: The plan.
    """
    write_json(out / PLAN, dict(plan))


def read_plan(out: Path) -> dict[str, Any] | None:
    """Read study.json.

    Args:
        out: Folder of the study.

    Returns:
        The plan; None if there is none.

    Raises:
        ValueError: If it cannot be read, or the folder was moved since.
    """
    if not (out / PLAN).exists():
        return None
    plan = read_json(out / PLAN)
    home = Path(plan["data"]["study_yaml"]).parents[1]
    if home.resolve() != out.resolve():
        raise ValueError(
            f"the study in {out} was made in {home} and its runs name that place; move it back, or "
            "start another one"
        )
    return plan


def started(request: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    """Return the plan of a new study.

    Args:
        request: What is asked for.
        **found: What was measured: data, counts and guards.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    data = {**request["data"], **found.pop("data")}
    return {**request, **found, "data": data, "extensions": [], "created": now}


def continued(plan: dict[str, Any], request: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Return the plan of a study that goes on, with more seeds if there are to be more.

    Args:
        plan: The plan so far.
        request: What is asked for now.
        out: Folder of the study.

    Raises:
        ValueError: If something else is asked for than before.
    """
    if others := list(_differences(plan, request)):
        raise ValueError(
            f"{out} holds another study; nothing was changed. "
            + "; ".join(others)
            + ". Ask for the same as before, or choose another folder with out="
        )
    before, now = len(plan["seeds"]), len(request["seeds"])
    if now < before:
        raise ValueError(
            f"seeds={now}, but the study in {out} has {before}, and choosing among finished runs "
            f"would falsify it; ask for {before} or more, or choose another folder with out="
        )
    if now == before:
        return plan
    # looked at and extended: a reader of the p-values has to know
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    extension = {"from": before, "to": now, "time": when}
    num_claims = sum(arm["kind"] == "variant" for arm in plan["arms"])
    return {
        **plan,
        "command": request["command"],
        "seeds": request["seeds"],
        "guards": replaced(plan["guards"], [seeds_guard(now, num_claims)]),
        "extensions": [*plan["extensions"], extension],
    }


def _differences(plan: Mapping[str, Any], request: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words what is asked for otherwise than planned; seeds and threads may differ."""
    old_arms = {arm["name"]: arm for arm in plan["arms"] if arm["kind"] != "added"}
    new_arms = {arm["name"]: arm for arm in request["arms"]}
    if list(old_arms) != list(new_arms):
        yield f"its arms are {', '.join(old_arms)}, not {', '.join(new_arms)}"
    else:
        for name in old_arms:
            if old_arms[name] != new_arms[name]:
                yield f"its arm {name} is built otherwise: {old_arms[name]}, not {new_arms[name]}"
    for file in [file for file in plan["files"] if file in request["files"]]:
        if plan["files"][file] != request["files"][file]:
            yield f"{file} was changed since"
    places = [
        *((key, plan["data"][key], request["data"][key]) for key in ("test", "near_duplicates")),
        ("data", plan["data"]["yaml"], request["data"]["yaml"]),
        *((key, plan[key], request[key]) for key in ("checkpoint", "pretrained", "margin")),
        *_pairs(plan["settings"], request["settings"]),
    ]
    for key, old, new in places:
        if old != new:
            yield f"its {key} is {old}, not {new}"
    for package in DECISIVE:
        old, new = plan["versions"][package], request["versions"][package]
        if old != new:
            yield f"it was begun with {package} {old}, and {new} is installed now"


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in {**old, **new}:
        yield key, old.get(key), new.get(key)
