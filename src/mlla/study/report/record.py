"""How a study was made: command, arms, data, settings and versions, as a report lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mlla.study.report import numbers
from mlla.study.report.shown_path import shown_path
from mlla.study.report.tables import Table

MAX_EXAMPLES = 5


def data_name(results: Mapping[str, Any]) -> str:
    """Return what to call the dataset: its file, or its folder where the file is just data.yaml."""
    path = PurePath(results["data"]["yaml"])
    return path.parent.name or path.stem if path.stem in ("data", "dataset") else path.stem


def record_of(
    results: Mapping[str, Any], order: Sequence[str], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Return everything that someone needs to make the study again.

    Args:
        results: Content of results.json.
        order: Names of the arms in the order in which they are shown.
        texts: Of the language.

    Returns:
        Fields of the page.
    """
    data = results["data"]
    return {
        "command": results["command"],
        "models": _models(results, order, texts),
        "splits": Table(
            [texts["split"], texts["images"], texts["digest"]],
            [
                [split, numbers.count(one["images"]), one["sha256"]]
                for split, one in data["splits"].items()
            ],
            arms=False,
        ),
        "data": {
            texts["data_file"]: data["yaml"],
            texts["num_classes"]: ", ".join(data["names"]),
            texts["labels_digest"]: results.get("ground_truth_sha256") or numbers.MISSING,
            texts["created"]: results["created"],
        },
        "data_notes": _data_notes(data, texts),
        "checkpoint": texts[_checkpoint_key(results)],
        "settings": {
            **{key: _plain(value) for key, value in results["settings"].items()},
            "seeds": _plain(results["seeds"]),
            **{key: _plain(results[key]) for key in ("pretrained", "threads") if key in results},
        },
        "versions": {key: _plain(value) for key, value in results["versions"].items()},
    }


def _models(results: Mapping[str, Any], order: Sequence[str], texts: Mapping[str, str]) -> Table:
    """List how every arm is built."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    keys = ("arm", "kind", "model", "block", "place", "gate", "control_of")
    rows = [
        [
            name,
            texts[arms[name]["kind"]],
            *(_plain(arms[name][key]) for key in ("model", "block", "at", "gate", "control_of")),
        ]
        for name in order
    ]
    return Table([texts[key] for key in keys], rows, arms=True, text=True)


def _data_notes(data: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """Say how a missing split was made, and what the splits separate that belongs together."""
    notes = []
    if made := data["made_split"]:
        notes.append(
            texts["made_split"].format(
                percent=numbers.trimmed(100 * made["share"]),
                source=made["from"],
                groups=texts.get(made["groups"], made["groups"]),
            )
        )
    if leaks := data["leaks"]:
        near = leaks["near_duplicates"]
        notes.append(
            texts["leaks"].format(
                identical=numbers.count(leaks["identical"]),
                near=texts["not_searched"] if near is None else numbers.count(near),
                touched=numbers.count(leaks["test_images_touched"]),
            )
        )
        pairs = [
            " = ".join(shown_path(str(one), data["yaml"]) for one in pair)
            for pair in leaks["examples"][:MAX_EXAMPLES]
        ]
        if pairs:
            notes.append(texts["leak_examples"].format(pairs=", ".join(pairs)))
    return notes


def _checkpoint_key(results: Mapping[str, Any]) -> str:
    if results["checkpoint"] == "last":
        return "checkpoint_last"
    return "checkpoint_best_val" if results["scored"] == "val" else "checkpoint_best_test"


def _plain(value: Any) -> str:
    """Write a value of a setting; None is a dash."""
    if value is None:
        return numbers.MISSING
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
