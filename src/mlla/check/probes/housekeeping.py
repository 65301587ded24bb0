"""What a training does to a module besides running it: print, copy, save, differentiate."""

from __future__ import annotations

import copy
import io

import torch
from torch import Tensor, nn

from mlla.check.attempt import FailedError, attempt
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject


def probe_housekeeping(subject: Subject) -> list[Finding]:
    """Do with the module what Ultralytics does around a training."""
    return [
        _probe_print(subject),
        _probe_copy(subject),
        _probe_state(subject),
        _probe_gradients(subject),
        _probe_repeats(subject),
        _probe_samples(subject),
        _probe_input(subject),
    ]


def _probe_print(subject: Subject) -> Finding:
    try:
        attempt(lambda: repr(subject.build()))
    except FailedError as failure:
        return Finding(
            "print(model)",
            Verdict.FAULT,
            f"raises {failure}",
            done="Called repr() on a freshly built module.",
            why="Any model that contains it can no longer be printed; loggers and debuggers do.",
            remedy="Repair extra_repr or __repr__: it reads attributes that are never set.",
        )
    return Finding("print(model)", Verdict.OK, "it prints")


def _probe_copy(subject: Subject) -> Finding:
    check = "copy and save"
    module = subject.build_spread()
    try:
        subject.run(module.train(), subject.square(2).requires_grad_()).sum().backward()
        copied = attempt(lambda: copy.deepcopy(module))
        file = io.BytesIO()
        attempt(lambda: torch.save(module, file))
        size = file.tell()
        file.seek(0)
        saved = attempt(lambda: torch.load(file, weights_only=False))
        with torch.no_grad():
            expected = subject.run(module.eval(), subject.square())
            answers = [subject.run(other.eval(), subject.square()) for other in (copied, saved)]
    except FailedError as failure:
        seen = f"raises {failure}"
    else:
        if all(_close(answer, expected) for answer in answers):
            weights = sum(t.numel() * t.element_size() for t in module.state_dict().values())
            return _sizes_of_copy(check, module, size, weights)
        seen = "a copy computes something else than the original"
    return Finding(
        check,
        Verdict.FAULT,
        seen,
        done="After one training step: copy.deepcopy, torch.save of the whole module, torch.load.",
        why="Ultralytics copies the model for its moving average and saves it whole.",
        remedy="Keep no tensors of a run, no lambdas and no open resources as attributes.",
    )


def _sizes_of_copy(check: str, module: nn.Module, size: int, weights: int) -> Finding:
    left = [
        f"{name}.{key}".lstrip(".")
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, Tensor)
    ]
    if not left:
        return Finding(check, Verdict.OK, "deepcopy and torch.save after a training step agree")
    return Finding(
        check,
        Verdict.NOTE,
        f"tensors stay on the module as plain attributes: {', '.join(left[:4])}",
        done="Looked for tensors among the attributes after a training step.",
        why=f"They are saved along ({size / 1e3:.0f} kB for {weights / 1e3:.0f} kB of weights), "
        "stay on the old device when the model moves, and keep memory alive.",
        remedy="Compute them in forward, or register a buffer with persistent=False.",
    )


@torch.no_grad()
def _probe_state(subject: Subject) -> Finding:
    check = "state dict"
    module = subject.build_spread()
    before = _shapes(module)
    # another size than the first, square so that every class has a chance
    for side in (subject.side, subject.side + 8):
        try:
            subject.run(module, subject.maps(1, side, side))
        except FailedError:
            continue
    after = _shapes(module)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    try:
        fresh = subject.build()
        attempt(lambda: fresh.load_state_dict(module.state_dict()))
        same = _close(subject.run(fresh, subject.square()), subject.run(module, subject.square()))
        seen = "" if same else "a fresh module with the same state dict computes something else"
    except FailedError as failure:
        seen = f"a fresh module does not take it: {failure}"
    if changed:
        where = f"{', '.join(changed[:4])} appears or changes its shape when the module runs"
        seen = f"{where}; {seen}" if seen else where
    if not seen:
        return Finding(check, Verdict.OK, f"{len(before)} tensors; a fresh module takes them all")
    return Finding(
        check,
        Verdict.FAULT,
        seen,
        done=f"Ran {subject.side}x{subject.side} and {subject.side + 8}x{subject.side + 8} maps, "
        "then loaded the state dict into a fresh module.",
        why="Weights saved after a run do not load again, and weights made during a run are "
        "unknown to the optimizer.",
        remedy="Create layers and buffers in __init__ only; compute what depends on the size in "
        "forward, without storing it.",
    )


def _probe_gradients(subject: Subject) -> Finding:
    check = "gradients"
    module = subject.build_spread().train()
    maps = subject.square(2).requires_grad_()
    try:
        subject.run(module, maps).square().sum().backward()
    except (FailedError, RuntimeError) as error:
        return Finding(
            check,
            Verdict.FAULT,
            f"training raises {error}",
            done="One forward and backward pass in train mode, batch 2.",
            why="The class cannot be trained.",
            remedy="Change nothing in place that the backward pass needs, and detach nothing.",
        )
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    unused = [name for name, parameter in parameters.items() if parameter.grad is None]
    wrong = [n for n, p in parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
    if maps.grad is None:
        unused.append("the input")
    if not unused and not wrong:
        return Finding(check, Verdict.OK, f"all {len(parameters)} parameters get a finite gradient")
    seen = "; ".join(
        f"{', '.join(names[:6])} {what}"
        for names, what in ((unused, "gets no gradient"), (wrong, "gets NaN or infinity"))
        if names
    )
    return Finding(
        check,
        Verdict.FAULT,
        seen,
        done="One forward and backward pass in train mode, batch 2.",
        why="Such weights never learn but count as parameters; training on several GPUs stops "
        "with an error about unused parameters.",
        remedy="Use the layers in forward, or do not create them.",
    )


@torch.no_grad()
def _probe_repeats(subject: Subject) -> Finding:
    check = "eval repeats"
    if _repeats(subject):
        return Finding(check, Verdict.OK, "the same map gives the same answer twice")
    return Finding(
        check,
        Verdict.FAULT,
        "the same map gives two different answers in eval mode",
        done="Ran one map twice through one module in eval mode.",
        why="Validation scores and exported models become a matter of chance.",
        remedy="Use nn.Dropout, or pass training=self.training to functional.dropout.",
    )


@torch.no_grad()
def _repeats(subject: Subject) -> bool:
    module = subject.build_spread()
    maps = subject.square()
    # without Subject.run, which makes random layers repeat
    first, second = (attempt(lambda: subject.layout.call(module, maps.clone())) for _ in range(2))
    return _close(first, second)


@torch.no_grad()
def _probe_samples(subject: Subject) -> Finding:
    check = "samples apart"
    if not _repeats(subject):
        return Finding(check, Verdict.NOT_CHECKED, "answers are random anyway")
    module = subject.build_spread()
    maps = subject.square(3)
    try:
        together = subject.run(module, maps)
        alone = torch.cat([subject.run(module, one) for one in maps.split(1)])
    except FailedError as failure:
        return Finding(check, Verdict.NOT_CHECKED, str(failure))
    if _close(together, alone):
        return Finding(check, Verdict.OK, "each sample of a batch gets the answer it gets alone")
    error = (together - alone).abs().max() / alone.abs().max()
    return Finding(
        check,
        Verdict.FAULT,
        f"answers change by up to {error:.0%} with the other samples of the batch",
        done="Ran three samples together and one by one in eval mode.",
        why="Images of one batch leak into each other; scores depend on the batch size.",
        remedy="Keep the batch dimension first in every reshape; nn.MultiheadAttention needs "
        "batch_first=True for (B, N, C).",
    )


@torch.no_grad()
def _probe_input(subject: Subject) -> Finding:
    check = "input kept"
    module = subject.build_spread()
    maps = subject.square()
    given = maps.clone()
    # without Subject.run, which gives a copy
    attempt(lambda: subject.layout.call(module, given))
    if torch.equal(given, maps):
        return Finding(check, Verdict.OK, "the map it was given is unchanged")
    return Finding(
        check,
        Verdict.FAULT,
        "overwrites its input",
        done="Compared the map before and after a run.",
        why="In a detector other rows, such as a Concat of the neck, read the same map later and "
        "get the changed one.",
        remedy="Write x = x + y instead of x += y, and no inplace=True on the input.",
    )


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _close(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(
        torch.allclose(
            first, second, rtol=1e-4, atol=1e-4 * float(second.abs().max()), equal_nan=True
        )
    )
