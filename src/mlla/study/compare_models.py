"""Does a change to a detector help on a dataset? From the question to the report."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.data.data_yaml import read_data_yaml
from mlla.study.audit.added import read_existing_runs
from mlla.study.files import write_json
from mlla.study.guards.plan_guards import planned_guards, replaced
from mlla.study.guards.run_guards import finished_guards
from mlla.study.guards.seed_guard import check_seeds
from mlla.study.planning.arms import Arm, make_arms
from mlla.study.planning.dataset import StudyData, read_study_data, refuse_changed_images
from mlla.study.planning.out_folder import (
    default_folder,
    disk_need,
    refuse_foreign_folder,
    refuse_small_disk,
    study_lock,
)
from mlla.study.planning.plan import continued, read_plan, started, write_plan
from mlla.study.planning.plan_text import plan_text
from mlla.study.planning.request import (
    as_words,
    check_choices,
    command_of,
    make_request,
    threads_of_each,
)
from mlla.study.planning.settings import complete_settings
from mlla.study.report import write_report
from mlla.study.results import collect
from mlla.study.runs.added_runs import add_runs
from mlla.study.runs.devices import Devices, choose_devices
from mlla.study.runs.executors import check_executor, make_executor, opened
from mlla.study.runs.progress import Progress, Watched
from mlla.study.runs.run_folder import read_outcome, run_state
from mlla.study.runs.training_runs import Run, planned_runs, train_runs, unfinished

GPU_LOADER_WORKERS = 4
_PREFIXES = ("slurm_", "ray_")


@dataclass(frozen=True)
class _Found:
    """What was measured for a new study."""

    data: StudyData
    counts: dict[str, dict[str, int]]


def compare(
    data: str | Path,
    models: Sequence[str],
    *,
    plug: Sequence[str] = (),
    controls: bool | None = None,
    seeds: int = 5,
    epochs: int = 100,
    imgsz: int = 640,
    out: str | Path | None = None,
    pretrained: str | Path | None = None,
    test: float | None = None,
    near_duplicates: bool = True,
    checkpoint: str | None = None,
    margin: float = 0.005,
    device: str | int | None = None,
    workers: int | None = None,
    loader_workers: int | None = None,
    executor: str | Executor = "local",
    runtimes: Sequence[str] = ("torch",),
    language: str = "en",
    add: Sequence[str] = (),
    trust: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train models under several seeds, score them, and say what the difference is worth.

    Called again with the same arguments it goes on where it stopped; with more seeds it extends
    the study. The plan is printed before anything is trained, the progress to standard error.

    Args:
        data: The data.yaml of a detection dataset.
        models: Names or files of models, the first of which is the baseline.
        plug: Blocks to insert into the first model, "block@place" or "block@place@gate".
        controls: Whether variants get controls; by default those of `plug` do.
        seeds: Runs of each arm, with the seeds 0, 1, 2 and so on. A verdict takes 4 or more.
        epochs: Epochs of each run.
        imgsz: Size of the images in pixels.
        out: Folder of the study; by default studies/ and the name of the dataset.
        pretrained: Checkpoint whose weights all arms start from, as far as they share its rows.
        test: Share of the training images to make a test split of, if there is none.
        near_duplicates: Whether to search the splits for images that show the same.
        checkpoint: "best", which val chooses, or "last". By default "best" where there is a test
            split to score on, else "last".
        margin: The smallest gain of AP that matters, as a fraction.
        device: "cpu", "mps", the number of a CUDA device, or several for each run over all of them.
            By default every CUDA device gets runs of its own, or there is none and the CPU works.
        workers: Runs at a time on this machine.
        loader_workers: Processes that load images for each run; by default 0 on the CPU, else 4.
        executor: "local", "slurm", "ray", or any `concurrent.futures.Executor`.
        runtimes: Where to measure the latency: "torch", "onnxruntime", "openvino".
        language: Of the report, "en" or "zh".
        add: Existing runs as further arms, "NAME:FOLDER,FOLDER".
        trust: Whether the weights of existing runs may be loaded if they name code of others.
        **settings: Arguments of training, as Ultralytics takes them; and parameters of an executor
            with its prefix, such as `slurm_partition`.

    Returns:
        The content of results.json.

    Raises:
        ValueError: If an argument makes no sense, two arms are equal, the dataset cannot be used,
            the folder holds another study, or no run could be finished.
        FileNotFoundError: If a model, weights or the dataset is missing.
        RuntimeError: If another comparison works in the folder, the disk is too small, or seeds do
            not change the result.
        KeyboardInterrupt: After Ctrl-C, when all processes of this machine have ended.
    """
    arguments = {**locals(), **settings}
    del arguments["settings"]
    # ultralytics takes seconds to import
    from mlla.yolo.training_arguments import find_dataset

    check_choices(arguments)
    options = {key: settings.pop(key) for key in list(settings) if key.startswith(_PREFIXES)}
    check_executor(executor, options)
    is_local = executor == "local"
    devices = choose_devices(None if device is None else str(device), workers, is_local=is_local)
    path, datasets_folder = find_dataset(data)
    dataset = read_data_yaml(path, [], datasets_folder)
    given = {**settings, "epochs": epochs, "imgsz": imgsz, "device": devices.setting}
    complete = complete_settings(given, num_classes=len(dataset.names))
    if loader_workers is None:
        loader_workers = 0 if devices.setting == "cpu" else GPU_LOADER_WORKERS
    arms = make_arms(as_words(models), as_words(plug), controls=controls)
    request = make_request(
        command=command_of(arguments, _defaults()),
        arms=arms,
        num_seeds=seeds,
        data=path,
        test=test,
        near_duplicates=near_duplicates,
        checkpoint=_checkpoint(checkpoint, test is not None or "test" in dataset.places),
        pretrained=None if pretrained is None else str(Path(pretrained).absolute()),
        settings={**complete, "workers": loader_workers},
        margin=margin,
        threads=threads_of_each(len(devices.environments), options),
    )
    folder = (default_folder(path) if out is None else Path(out)).absolute()
    added = [read_existing_runs(spec, request["seeds"]) for spec in as_words(add)]
    is_begun = read_plan(folder) is not None
    found = None if is_begun else _measure(request, arms, folder, len(dataset.names))
    with study_lock(folder):
        plan = _plan(request, folder, found)
        runs = planned_runs(plan, folder)
        waiting = unfinished(runs)
        need = disk_need(plan, waiting, len(devices.environments))
        refuse_small_disk(folder, need)
        if found is not None:
            found.data.write(folder / "data")
        plan = add_runs(plan, added, folder, trust=trust)
        write_plan(folder, plan)
        where = f"{len(devices.environments)} at a time" if is_local else f"on {executor}"
        num_done = len(runs) - len(waiting)
        print(plan_text(plan, folder, num_done=num_done, where=where, disk_bytes=need), flush=True)
        if waiting:
            with _ready(executor, devices, options, folder) as ready:
                plan = check_seeds(plan, folder, ready)
                _train(plan, runs, waiting, ready, folder, language)
        results = _conclude(plan, runs, folder, runtimes=as_words(runtimes), language=language)
    print(f"report    {folder / 'report.html'}")
    return results


def _defaults() -> dict[str, Any]:
    """Return the defaults of the arguments of `compare`."""
    parameters = inspect.signature(compare).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _checkpoint(asked: str | None, has_test: bool) -> str:
    """Choose which checkpoint is scored."""
    if asked == "best" and not has_test:
        raise ValueError(
            "checkpoint='best' is chosen on val, and without a test split it would be scored on "
            "val, too; make one with test=0.2, or score the last epoch"
        )
    return asked or ("best" if has_test else "last")


def _measure(
    request: Mapping[str, Any], arms: Sequence[Arm], folder: Path, num_classes: int
) -> _Found:
    """Find out what the plan of a new study says; nothing is written."""
    from mlla.yolo.start import build_start, refuse_equal_networks

    refuse_foreign_folder(folder)
    refuse_equal_networks(arms, num_classes)
    counts = {}
    for arm in arms:
        model, of_arm = build_start(
            arm, arms[0], seed=0, num_classes=num_classes, pretrained=request["pretrained"]
        )
        parameters = sum(parameter.numel() for parameter in model.parameters())
        counts[arm.name] = {**of_arm, "parameters": parameters}
    given = request["data"]
    data = read_study_data(
        given["yaml"], test=given["test"], near_duplicates=given["near_duplicates"]
    )
    return _Found(data, counts)


def _plan(request: Mapping[str, Any], folder: Path, found: _Found | None) -> dict[str, Any]:
    """Return the plan of a new study, or the one in the folder if it answers the same question."""
    plan = read_plan(folder)
    if plan is not None:
        refuse_changed_images(plan["data"])
        return continued(plan, request, folder)
    if found is None:
        raise RuntimeError(f"{folder} was removed in the meantime; give the same command again")
    guards = planned_guards(
        found.data,
        checkpoint=request["checkpoint"],
        num_seeds=len(request["seeds"]),
        num_claims=sum(arm["kind"] == "variant" for arm in request["arms"]),
        settings=request["settings"],
    )
    data = found.data.to_dict(folder / "data")
    return started(request, data=data, counts=found.counts, guards=guards)


@contextmanager
def _ready(
    executor: str | Executor, devices: Devices, options: Mapping[str, Any], folder: Path
) -> Iterator[Executor]:
    """Yield an executor; at the end it is shut down, unless it is the caller's."""
    try:
        if isinstance(executor, Executor):
            yield executor
        else:
            with opened(make_executor(executor, devices, options, folder=folder)) as made:
                yield made
    except KeyboardInterrupt:
        print("\nmlla compare: stopped; the same command goes on", file=sys.stderr)
        raise


def _train(
    plan: dict[str, Any],
    runs: Sequence[Run],
    waiting: Sequence[Run],
    executor: Executor,
    folder: Path,
    language: str,
) -> None:
    """Train what is left, with a report after every seed that is complete."""
    left = Counter(run.seed for run in waiting)

    def ended(run: Run) -> None:
        left[run.seed] -= 1
        if left[run.seed] or not any(left.values()):
            return
        try:
            _conclude(plan, runs, folder, runtimes=(), language=language)
        # a report in between must not cost the trainings that are at work
        except Exception as error:
            print(f"mlla compare: no report so far: {error}", file=sys.stderr)

    watched = [Watched(run.label, run.folder) for run in waiting]
    need = disk_need(plan, waiting[:1], 1)
    with Progress(watched, plan["settings"]["epochs"]) as progress:
        failures = train_runs(waiting, executor, progress, needed_bytes=need, ended=ended)
    if len(failures) == len(runs):
        raise RuntimeError(
            "no run could be finished; the same command tries them again:\n"
            + "\n".join(f"  {label}: {error}" for label, error in failures.items())
        )


def _conclude(
    plan: dict[str, Any],
    runs: Sequence[Run],
    folder: Path,
    *,
    runtimes: Sequence[str],
    language: str,
) -> dict[str, Any]:
    """Check the finished runs against each other, and write results and report."""
    outcomes = [read_outcome(run.folder) for run in runs if run_state(run.folder) == "done"]
    if outcomes:
        guards = replaced(plan["guards"], finished_guards(plan, outcomes))
        write_plan(folder, {**plan, "guards": guards})
    results = collect(folder, runtimes=runtimes)
    write_json(folder / "results.json", results)
    write_report(results, folder, language=language)
    return results
