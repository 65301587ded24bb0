"""All that a study found, in one dictionary: what results.json holds and the page shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mlla.study.files import read_json
from mlla.study.runs.run_folder import FAILURE, Outcome, read_outcome, run_state
from mlla.study.six_designs.classifier_run import MEASURES, PREDICTIONS
from mlla.study.six_designs.image_hits import ImageHits, read_hits
from mlla.study.six_designs.published_effects import (
    PublishedEffect,
    published_effects,
    published_row,
    sign_here,
)
from mlla.study.six_designs.row_runs import run_folder
from mlla.study.statistics.comparison import Comparison, compare_arms

_RECORD = (
    "created", "command", "size", "image_size", "seeds", "data", "checkpoint", "settings",
    "recipe", "margin", "guards", "versions", "extensions",
)  # fmt: skip


def collect(
    plan: Mapping[str, Any], out: Path, costs: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Score and compare the runs of a study, as far as they are finished.

    Args:
        plan: The plan.
        out: Folder of the study.
        costs: What `row_costs` returned, or None where it was not measured yet.

    Returns:
        The content of results.json: numbers that JSON can hold, with None for what there is not.

    Raises:
        ValueError: If no run is finished, or a file of a finished run was changed.
    """
    finished = {row: _finished(plan, out, row) for row in plan["rows"]}
    if not any(finished.values()):
        raise ValueError(f"no run of the study {out} is finished, so there is nothing to compare")
    hits = {
        row: {seed: read_hits(one.folder / PREDICTIONS) for seed, one in of.items()}
        for row, of in finished.items()
    }
    effects = {
        (effect.row, effect.against): effect
        for effect in published_effects(plan["rows"])
        if set(hits[effect.row]) & set(hits[effect.against])
    }
    pairs = [effect.pair for effect in effects.values()]
    found = compare_arms(hits, pairs, margin=plan["margin"])
    content = {
        **{key: plan[key] for key in _RECORD},
        "rows": [
            _row(plan, out, row, finished[row], hits[row], (costs or {}).get(row))
            for row in plan["rows"]
        ],
        "effects": [_effect(effects[one.pair.arm, one.pair.against], one) for one in found],
    }
    return _without_nan(content)


def _finished(plan: Mapping[str, Any], out: Path, row: str) -> dict[int, Outcome]:
    folders = {seed: run_folder(out, row, seed) for seed in plan["seeds"]}
    return {
        seed: read_outcome(folder)
        for seed, folder in folders.items()
        if run_state(folder) == "done"
    }


def _row(
    plan: Mapping[str, Any],
    out: Path,
    row: str,
    finished: Mapping[int, Outcome],
    hits: Mapping[int, ImageHits],
    costs: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what there is to say of one row alone."""
    published = published_row(row)
    everything = {seed: float(of.hits.mean()) for seed, of in hits.items()}
    missing = [seed for seed in plan["seeds"] if seed not in finished]
    failures = {
        seed: read_json(folder / FAILURE)["error"]
        for seed in missing
        if run_state(folder := run_folder(out, row, seed)) == "failed"
    }
    scores = list(everything.values())
    return {
        "name": row,
        "label": published.label,
        "table": published.table,
        "published": {
            name: getattr(published, name)
            for name in ("parameters_m", "flops_g", "images_per_second", "top1")
        },
        "costs": None if costs is None else dict(costs),
        "runs": [
            {
                "seed": seed,
                "folder": one.folder.relative_to(out).as_posix(),
                "top1": everything[seed],
                "checkpoint_epoch": one.checkpoint_epoch,
                "train_seconds": one.train_seconds,
                **_measures(one.folder),
            }
            for seed, one in finished.items()
        ],
        "failures": [{"seed": seed, "error": error} for seed, error in failures.items()],
        "unfinished": [seed for seed in missing if seed not in failures],
        "mean": float(np.mean(scores)) if scores else None,
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
    }


def _measures(folder: Path) -> dict[str, Any]:
    content = read_json(folder / MEASURES)
    return {key: content[key] for key in ("token_length_deviations", "forget_gate_averages")}


def _effect(effect: PublishedEffect, found: Comparison) -> dict[str, Any]:
    return {
        **asdict(effect),
        "seeds": list(found.seeds),
        "means": {"against": found.means[0], "row": found.means[1]},
        "identical": found.identical,
        "difference": vars(found.difference),
        "p_value": found.p_value,
        "adjusted_p_value": found.adjusted_p_value,
        "smallest_effect": found.smallest_effect,
        "verdict": found.verdict.value,
        "needed": vars(found.needed),
        "sign": sign_here(effect, found.verdict),
    }


def _without_nan(value: Any) -> Any:
    """Return the same with None in place of what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
