"""Findings about what arms had otherwise than the arm they are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from mlla.study.audit.arguments import differences, effective_arguments, meaning, unique
from mlla.study.audit.case import Case
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.finding import Finding, Weight, counted, listed
from mlla.study.audit.grouping import RunGroup, fingerprint
from mlla.study.audit.optimizer import chosen_optimizer

# each optimizer has values of its own
_CONSEQUENCES = {"lr0", "momentum", "warmup_bias_lr"}


def setting_findings(case: Case) -> Iterator[Finding]:
    """Yield what arms, or runs of one arm, had otherwise."""
    for arm, against in case.pairs:
        yield from _arguments(case, arm, against)
        yield from _same_network(arm, against)
        yield from _epochs(arm, against)
    yield from _sizes(case)
    yield from _versions(case)
    for group in case.groups:
        yield from _within(group)
    yield from _auto(case)


def _arguments(case: Case, arm: RunGroup, against: RunGroup) -> Iterator[Finding]:
    found = differences({against.name: against.runs, arm.name: arm.runs})
    # what differs within an arm as well is said of that arm
    found = {key: by_arm for key, by_arm in found.items() if len(by_arm) > 1}
    found = {key: by_arm for key, by_arm in found.items() if _values_differ(by_arm)}
    if "optimizer" in found:
        found = {key: by_arm for key, by_arm in found.items() if key not in _CONSEQUENCES}
    if all(_is_start_known(case, group) for group in (arm, against)):
        # what came of it is said of the initial weights
        found.pop("pretrained", None)
    number = f"{counted(len(found), 'argument')}"
    verb = "differs" if len(found) == 1 else "differ"
    title, culprit = f"{number} besides the model {verb}", "whether the model or these arguments"
    if _is_one_model(arm, against):
        # one argument is what was tried; but scores on other images are no comparison
        if len(found) == 1 and "data" not in found:
            return
        title, culprit = f"{number} {verb} at once", "which of these"
    if not found:
        return
    lines = [
        f"{key} = {_text(by_arm[arm.name])} against {_text(by_arm[against.name])} ({meaning(key)})"
        for key, by_arm in found.items()
    ]
    yield Finding(
        Weight.FAULT,
        title,
        f"{arm.name} against {against.name}: {'; '.join(lines)}.",
        f"Whatever the scores say, nobody can tell {culprit} did it.",
        "Train both arms with the same arguments, but for the one in question.",
        tuple(run.name for run in (*arm.runs, *against.runs)),
        (arm.name, against.name),
    )


def _is_one_model(arm: RunGroup, against: RunGroup) -> bool:
    names = {PurePath(group.runs[0].model).stem for group in (arm, against)}
    return len(names) == 1 and _networks(arm) == _networks(against)


def _networks(group: RunGroup) -> set[str | None]:
    return {fingerprint(run) for run in group.runs}


def _is_start_known(case: Case, group: RunGroup) -> bool:
    known = [case.transfers[run.name] for run in group.runs]
    return all(found is not None and found.share is not None for found in known)


def _values_differ(by_arm: Mapping[str, list[Any]]) -> bool:
    first, second = by_arm.values()
    return unique(first) != unique(second) or len(first) > 1


def _text(values: list[Any]) -> str:
    return " or ".join(str(value) for value in values)


def _within(group: RunGroup) -> Iterator[Finding]:
    found = differences({run.name: [run] for run in group.runs})
    if found:
        lines = [
            f"{key} is {_text(unique(v for values in by_run.values() for v in values))}"
            for key, by_run in found.items()
        ]
        yield Finding(
            Weight.FAULT,
            "runs of one arm are no repetitions",
            f"Within {group.name}, {'; '.join(lines)}.",
            "Their spread is that of the arguments, not that of chance.",
            "Leave arms= out, so that only runs with the same arguments are put together.",
            tuple(run.name for run in group.runs),
        )
    networks = _networks(group) - {None}
    if len(networks) > 1:
        yield Finding(
            Weight.FAULT,
            "one arm, several networks",
            f"The runs of {group.name} have {len(networks)} different sets of weights.",
            "They are not repetitions of one training: the model was changed in between.",
            "Train all runs of an arm with one model file.",
            tuple(run.name for run in group.runs),
        )


def _same_network(arm: RunGroup, against: RunGroup) -> Iterator[Finding]:
    models = {PurePath(group.runs[0].model).name for group in (arm, against)}
    networks = _networks(arm) | _networks(against)
    # another start of the same model is a difference in arguments
    if len({PurePath(model).stem for model in models}) < 2 or None in networks:
        return
    pretrained = any(model.endswith(".pt") for model in models)
    if len(networks) == 1 and not pretrained:
        yield Finding(
            Weight.FAULT,
            "both arms are the same network",
            f"{arm.name} and {against.name} have the same weights by name and shape.",
            "The change to the model did not reach the network, so only chance can differ.",
            "Print the model and look for the block: it may be missing from the YAML.",
        )


def _epochs(arm: RunGroup, against: RunGroup) -> Iterator[Finding]:
    both = (*arm.runs, *against.runs)
    early = [run for run in both if run.stopped_early]
    trained = {
        group.name: sorted({run.num_epochs for run in group.distinct}) for group in (arm, against)
    }
    if early and len({number for found in trained.values() for number in found}) > 1:
        text = "; ".join(f"{name}: {listed(found, 6)}" for name, found in trained.items())
        patience = _text(unique(run.arguments.get("patience") for run in early))
        yield Finding(
            Weight.FAULT,
            "trained for different numbers of epochs",
            f"{counted(len(early), 'run')} stopped early (patience {patience}). Epochs: {text}.",
            "The learning rate falls with the epochs planned, so a run that stops early never "
            "reaches the low rates that bring the last gain; and when to stop was chosen on the "
            "images that are reported.",
            "Train with patience=0, so that all runs have the same budget.",
            tuple(run.name for run in early),
            (arm.name, against.name),
        )


def _sizes(case: Case) -> Iterator[Finding]:
    larger = []
    controlled = {group.runs[0].arm.get("control_of") for group in case.groups}
    for arm, against in case.pairs:
        if arm.name in controlled:
            continue
        first, second = (_num_parameters(group) for group in (against, arm))
        if first and second and second > 1.02 * first:
            growth = f"{second / first - 1:.0%}"
            larger.append(f"{arm.name} {second:,} ({growth} more than {against.name})")
    if larger:
        yield Finding(
            Weight.NOTE,
            "more parameters, and no control",
            f"{listed(larger)}.",
            "A gain could come from size alone.",
            "Add a control of equal size: mlla compare with controls=True trains a plain "
            "convolution block of as many parameters.",
        )


def _num_parameters(group: RunGroup) -> int:
    return next((run.checkpoint.num_parameters for run in group.runs if run.checkpoint), 0)


def _versions(case: Case) -> Iterator[Finding]:
    versions = {group.name: unique(run.version for run in group.runs) for group in case.groups}
    known = sorted({str(v) for found in versions.values() for v in found if v is not None})
    if len(known) > 1:
        text = "; ".join(f"{name}: {_text(found)}" for name, found in versions.items())
        yield Finding(
            Weight.FAULT,
            "several versions of ultralytics",
            f"{text}.",
            "Between releases the heads, the optimizers, the augmentation and the choice of "
            "best.pt changed, so runs of different releases cannot be compared.",
            "Train all arms with one release.",
            spoils=tuple(versions),
        )
    commits = {run.checkpoint.commit for run in case.runs if run.checkpoint} - {None}
    if len(commits) > 1:
        yield Finding(
            Weight.NOTE,
            "code changed between the runs",
            f"The checkpoints name {len(commits)} commits of the folder they were trained in: "
            f"{listed(sorted(str(commit)[:9] for commit in commits))}.",
            "If the model or the training code changed, the runs are not comparable.",
            "Look at what changed: git diff between these commits.",
        )


def _auto(case: Case) -> Iterator[Finding]:
    got: dict[str, list[str]] = {}
    for run in case.runs:
        if _asked_auto(run):
            one = chosen_optimizer(run)
            known = f"{one.name} with lr0 {one.lr0} (known from {one.evidence})"
            text = known if one.lr0 is not None else "something that nothing tells"
            got.setdefault(text, []).append(run.name)
    if got:
        lines = (f"{text} in {listed(names)}" for text, names in got.items())
        yield Finding(
            Weight.NOTE,
            "optimizer=auto",
            f"It became {'; '.join(lines)}.",
            "auto ignores lr0 and momentum, and chooses by the number of classes and steps: other "
            "epochs, batch or data give another optimizer.",
            "Name the optimizer and lr0 in every run.",
            tuple(name for names in got.values() for name in names),
        )


def _asked_auto(run: ExistingRun) -> bool:
    written = run.written_arguments or effective_arguments(run)
    return str(written.get("optimizer")).lower() == "auto"
