"""Does every option of the constructor do something?"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mlla.check.arguments import HEADS_NAMES, RESOLUTION_NAMES, parameters_of, width_arguments
from mlla.check.attempt import FailedError
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject

_CHECK = "options"
_CHECK_HEADS = "number of heads"
# options that are meant to change speed or training dynamics, not results
_WITHOUT_RESULT = (
    "inplace", "checkpoint", "fused", "flash", "deploy", "device", "dtype", "verbose", "momentum",
    "debug", "name", "backend", "sdpa",
)  # fmt: skip
_UNKNOWN = "no_such_option"


def probe_options(subject: Subject) -> list[Finding]:
    """Change one option at a time and compare shapes of weights and outputs."""
    return [*_probe_each(subject), *_probe_heads(subject)]


def _probe_each(subject: Subject) -> list[Finding]:
    findings = []
    dead, alive, unclear, unused_sizes = [], [], [], []
    options = _options(subject)
    for name, values in options.items():
        effect = _effect(subject, name, values)
        if effect is False and name.lower() in RESOLUTION_NAMES:
            unused_sizes.append(name)
        elif effect is False and not _matters_beside_another(subject, name, options):
            dead.append(name)
        elif effect is None:
            unclear.append(name)
        else:
            alive.append(name)
    swallows = any(p.kind is p.VAR_KEYWORD for p in parameters_of(subject.target).values())
    if dead:
        seen = f"{_list(dead)} can be set and changes neither the weights nor the output"
        findings.append(
            Finding(
                _CHECK,
                Verdict.FAULT,
                seen,
                done="Built the module with another value of each option and compared names and "
                "shapes of weights, and outputs with the same weights, in eval and train mode.",
                why="Whoever sets such an option believes to have tried something; tables of "
                "ablations made with it compare a network with itself.",
                remedy="Use the option where it belongs, or take it out of the constructor.",
            )
        )
    elif alive:
        findings.append(Finding(_CHECK, Verdict.OK, f"{_list(alive)}: each changes the result"))
    if unclear:
        seen = f"no other value of {_list(unclear)} could be tried"
        findings.append(Finding("other options", Verdict.NOT_CHECKED, seen))
    if unused_sizes:
        findings.append(
            Finding(
                "size option",
                Verdict.NOTE,
                f"{_list(unused_sizes)} changes nothing",
                done="Built the module for two sizes and compared.",
                why="A module that takes its size from the input needs no such argument; one that "
                "has it looks as if it were bound to a size.",
                remedy="Take it out of the constructor.",
            )
        )
    if swallows and _swallows_unknown(subject):
        findings.append(
            Finding(
                "misspelt options",
                Verdict.NOTE,
                f"{subject.target.__name__}({_UNKNOWN}=1) is accepted without a word",
                done="Passed an option that does not exist.",
                why="**kwargs takes every misspelt option and drops it: num_head=8 would build "
                "the default number of heads.",
                remedy="Remove **kwargs from the constructor.",
            )
        )
    return findings


def _options(subject: Subject) -> dict[str, list[Any]]:
    """Return the options whose results can be compared, each with other values to try."""
    options = {}
    for name, parameter in parameters_of(subject.target).items():
        is_optional = parameter.default is not parameter.empty
        if not is_optional and name.lower() not in HEADS_NAMES:
            continue
        if name in width_arguments(subject.target):
            continue
        if not any(part in name.lower() for part in _WITHOUT_RESULT):
            value = subject.arguments.get(name, parameter.default)
            options[name] = [other for other in _alternatives(name, value) if other != value]
    return options


def _alternatives(name: str, value: Any) -> list[Any]:
    """Propose values of an option, by its present one."""
    if name.lower() in HEADS_NAMES and not isinstance(value, bool):
        return [2, 1, 8, 4]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value * 2, value + 1, value + 2, value // 2, 1]
    if isinstance(value, float):
        return [0.5, 0.25, value * 2]
    if isinstance(value, tuple | list) and value and all(isinstance(v, int) for v in value):
        return [type(value)(v * 2 for v in value), type(value)(v + 2 for v in value)]
    if value is None:
        return [0.5, 8, True]
    if inspect.isclass(value) and issubclass(value, nn.Module):
        return [nn.Tanh, nn.Identity]
    return []


def _matters_beside_another(subject: Subject, name: str, options: dict[str, list[Any]]) -> bool:
    """Tell whether an option has an effect once another one is changed.

    A dilation matters only if the kernel is larger than 1, for instance.
    """
    for other, values in options.items():
        for value in values:
            if other == name:
                continue
            changed = replace(subject, arguments={**subject.arguments, other: value})
            if _effect(changed, name, options[name]):
                return True
    return False


def _effect(subject: Subject, name: str, values: list[Any]) -> bool | None:
    """Tell whether an option has an effect; None if no other value can be built and run."""
    tried = False
    for value in values:
        try:
            if _differs(subject, {name: value}):
                return True
            tried = True
        except FailedError:
            continue
    return False if tried else None


def _differs(subject: Subject, change: dict[str, Any]) -> bool:
    module, other = subject.build_spread(), subject.build_spread(**change)
    if _shapes(module) != _shapes(other):
        return True
    other.load_state_dict(module.state_dict())
    # dropout and its like act in training only, and not on every draw
    return any(
        not _same(_answer(subject, module, train), _answer(subject, other, train))
        for train in (False, True)
    )


@torch.no_grad()
def _answer(subject: Subject, module: nn.Module, train: bool) -> Tensor:
    return subject.run(module.train(train), subject.square(4))


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _swallows_unknown(subject: Subject) -> bool:
    try:
        subject.build(**{_UNKNOWN: 1})
    except FailedError:
        return False
    return True


def _probe_heads(subject: Subject) -> list[Finding]:
    """Look at a number of heads that the constructor does not offer."""
    offered = HEADS_NAMES & {name.lower() for name in parameters_of(subject.target)}
    heads = heads_of(subject.build())
    if offered or heads is None:
        return []
    widths = width_arguments(subject.target)
    wider = dict.fromkeys(widths, 8 * subject.width)
    try:
        follows_width = bool(widths) and heads_of(subject.build(**wider)) != heads
    except FailedError:
        follows_width = False
    if follows_width:
        seen = f"{heads} at width {subject.width}, another number at other widths"
        return [Finding(_CHECK_HEADS, Verdict.OK, seen)]
    claims = claims_mlla(subject)
    return [
        Finding(
            _CHECK_HEADS,
            Verdict.FAULT if claims else Verdict.NOTE,
            f"{heads} head{'s' * (heads > 1)} whatever the width, and no option for it",
            done="Looked for num_heads on the module at two widths, and in the constructor.",
            why="The published models keep heads of 32 channels: 2 heads at width 64, 16 at 512.",
            remedy="Take num_heads as an argument, or num_heads = dim // 32.",
        )
    ]


def heads_of(module: nn.Module) -> int | None:
    """Return the number of heads that a module or a part of it states."""
    for part in module.modules():
        for name, value in vars(part).items():
            if name.lower() in HEADS_NAMES and isinstance(value, int):
                return value
    return None


def claims_mlla(subject: Subject) -> bool:
    """Tell whether the name of the class says that it is the published block."""
    return any(word in subject.target.__name__.lower() for word in ("mlla", "mila"))


def _list(names: list[str]) -> str:
    return ", ".join(names)
