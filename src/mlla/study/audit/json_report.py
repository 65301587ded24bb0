"""What an audit found, as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlla.study.audit.case import Case
from mlla.study.audit.claims import Claim, figures_of
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.grouping import RunGroup
from mlla.study.audit.optimizer import chosen_optimizer
from mlla.study.audit.rescored import Rescored
from mlla.study.audit.start_findings import start_text
from mlla.study.audit.statement import Statement


def json_text(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file, with null in place of what JSON has no number for."""
    return json.dumps(_without_nan(content), indent=1, ensure_ascii=False) + "\n"


def claim_content(claim: Claim, statement: Statement, rescored: Rescored | None) -> dict[str, Any]:
    """Return what there is to say of one claim."""
    again = None if rescored is None else {**asdict(rescored), "verdict": rescored.verdict.value}
    numbers = {**asdict(claim), "difference": claim.difference}
    return {**numbers, **asdict(statement), "rescored": again}


def arm_content(case: Case, group: RunGroup) -> dict[str, Any]:
    """Return what there is to say of one arm."""
    return {
        "name": group.name,
        "is_baseline": group is case.baseline,
        **asdict(figures_of(group.distinct)),
        "runs": [_run(case, group, run) for run in group.runs],
    }


def _run(case: Case, group: RunGroup, run: ExistingRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "seed": run.seed,
        "counts": run in group.distinct,
        "model": run.model,
        "version": run.version,
        "date": run.checkpoint.date if run.checkpoint is not None else None,
        "commit": run.checkpoint.commit if run.checkpoint is not None else None,
        "parameters": run.checkpoint.num_parameters if run.checkpoint is not None else None,
        "epochs": run.num_epochs,
        "planned_epochs": run.planned_epochs,
        "interrupted": run.is_interrupted,
        "stopped_early": run.stopped_early,
        "last": run.last_score,
        "best": run.best_score,
        "best_epoch": None if run.best_row is None else run.epochs.numbers[run.best_row],
        "optimizer": asdict(chosen_optimizer(run)),
        "start": start_text(case.transfers[run.name]),
        "problems": run.problems,
    }


def _without_nan(value: Any) -> Any:
    """Return the same with None in place of what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
