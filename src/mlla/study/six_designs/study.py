"""Which designs of Mamba help linear attention on a data set? From the question to the page."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mlla.models.six_designs import SIZES
from mlla.study.files import write_json
from mlla.study.guards.plan_guards import replaced
from mlla.study.planning.out_folder import refuse_foreign_folder, refuse_small_disk, study_lock
from mlla.study.planning.request import as_words, command_of, threads_of_each
from mlla.study.runs.devices import Devices, choose_devices
from mlla.study.runs.executors import check_executor, make_executor, opened
from mlla.study.runs.progress import Progress, Watched
from mlla.study.runs.run_folder import read_outcome, run_state
from mlla.study.runs.training_runs import Run, train_runs, unfinished
from mlla.study.six_designs.image_folders import (
    IMAGES,
    StudyImages,
    read_images,
    refuse_changed_images,
)
from mlla.study.six_designs.page import write_report
from mlla.study.six_designs.plan import (
    PLAN,
    continued,
    make_request,
    plan_text,
    read_plan,
    started,
)
from mlla.study.six_designs.published_effects import ROW_NAMES, published_effects
from mlla.study.six_designs.results import collect
from mlla.study.six_designs.row_costs import row_costs
from mlla.study.six_designs.row_runs import check_seeds, finished_guards, planned_runs
from mlla.study.six_designs.settings import complete_settings
from mlla.study.six_designs.texts import texts_in

GPU_LOADER_WORKERS = 4
_PREFIXES = ("slurm_", "ray_")
# a parameter at work: weights, average, state of the optimizer and drafts; done: one checkpoint
_BYTES_AT_WORK, _BYTES_DONE, _BYTES_PER_LOGIT = 60, 4, 4


def compare_six_designs(
    data: str | Path,
    *,
    size: str = "mini",
    rows: Sequence[str] = ROW_NAMES,
    seeds: int = 6,
    image_size: int | None = None,
    out: str | Path | None = None,
    near_duplicates: bool = True,
    margin: float = 0.005,
    device: str | int | None = None,
    workers: int | None = None,
    loader_workers: int | None = None,
    executor: str | Executor = "local",
    language: str = "en",
    **settings: Any,
) -> dict[str, Any]:
    """Train the rows of the paper's Tables 1 and 2, and say which published effects hold.

    Called again with the same arguments it goes on where it stopped; with more seeds it extends
    the study. The plan is printed before anything is trained, the progress to standard error.

    Args:
        data: An image folder with train, val and perhaps test, each with a folder of images for
            each class; or a folder with a folder of images for each class, which is split.
        size: "mini" or "tiny", the size of the paper.
        rows: Names of the rows to train, the baseline first; by default all.
        seeds: Runs of each row, with the seeds 0, 1, 2 and so on. A verdict on all of Table 1
            takes 6.
        image_size: Height and width in pixels; by default that of the size.
        out: Folder of the study; by default studies/six-designs- and the name of the folder.
        near_duplicates: Whether to search for images that show the same.
        margin: The smallest gain of accuracy that matters, as a fraction.
        device: "cpu" or the number of a CUDA device. By default every CUDA device gets runs of its
            own, or there is none and the CPU works.
        workers: Runs at a time on this machine.
        loader_workers: Processes that load images for each run; by default 0 on the CPU, else 4.
        executor: "local", "slurm", "ray", or any `concurrent.futures.Executor`.
        language: Of the page, "en" or "zh".
        **settings: What is to differ from the defaults of the size, by the names of
            `mlla.training.LoopSettings` and `mlla.classification.Recipe`; and parameters of an
            executor with its prefix, such as `slurm_partition`.

    Returns:
        The content of results.json.

    Raises:
        ValueError: If an argument makes no sense, the images cannot be used, the folder holds
            another study, or no run is finished.
        FileNotFoundError: If there is no such folder.
        RuntimeError: If another study works in the folder, the disk is too small, no run could be
            finished, or seeds do not change the result.
        KeyboardInterrupt: After Ctrl-C, when all processes of this machine have ended.
    """
    arguments = {**locals(), **settings}
    del arguments["settings"]
    options = {key: settings.pop(key) for key in list(settings) if key.startswith(_PREFIXES)}
    _check(seeds, margin, image_size, language)
    check_executor(executor, options)
    is_local = executor == "local"
    devices = _devices(device, workers, is_local=is_local)
    if loader_workers is None:
        loader_workers = 0 if devices.setting == "cpu" else GPU_LOADER_WORKERS
    chosen = _rows(rows)
    loop, recipe = complete_settings(
        size,
        settings,
        device="cpu" if devices.setting == "cpu" else "auto",
        loader_workers=loader_workers,
    )
    source = Path(data).absolute()
    folder = Path(out or Path("studies", f"six-designs-{source.name}")).absolute()
    request = make_request(
        command=command_of(arguments, _defaults(), ("mlla", "study", "six-designs")),
        size=size,
        image_size=image_size or SIZES[size]["img_size"],
        rows=chosen,
        num_seeds=seeds,
        near_duplicates=near_duplicates,
        settings=loop,
        recipe=recipe,
        margin=margin,
        threads=threads_of_each(len(devices.environments), options),
    )
    refuse_foreign_folder(folder, PLAN)
    is_begun = read_plan(folder) is not None
    images = None if is_begun else read_images(source, near_duplicates=near_duplicates)
    with study_lock(folder):
        plan = _plan(request, source, folder, images)
        runs = planned_runs(plan, folder)
        waiting = unfinished(runs)
        refuse_small_disk(folder, _disk_need(plan, len(waiting), len(devices.environments)))
        if images is not None:
            images.write(folder / IMAGES)
        write_json(folder / PLAN, plan)
        where = f"{len(devices.environments)} at a time" if is_local else f"on {executor}"
        num_done = len(runs) - len(waiting)
        print(plan_text(plan, folder, num_done=num_done, where=where), flush=True)
        if waiting:
            plan = _train(plan, runs, waiting, folder, executor, devices, options, language)
        results = _conclude(plan, runs, folder, language, with_costs=True)
    print(f"report    {folder / 'report.html'}")
    return results


def _check(seeds: int, margin: float, image_size: int | None, language: str) -> None:
    texts_in(language)
    for name, value in (("seeds", seeds), ("image_size", image_size)):
        if value is None and name == "image_size":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number from 1 on")
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1:
        raise ValueError(
            f"margin={margin!r} must be the smallest gain of accuracy that matters, as a fraction: "
            "0.005 is half a point"
        )


def _rows(given: Sequence[str]) -> list[str]:
    """Return the names of rows in the order of the tables.

    Raises:
        ValueError: If one is unknown or there is nothing to compare.
    """
    names = as_words(given)
    if unknown := [name for name in names if name not in ROW_NAMES]:
        raise ValueError(f"rows: {unknown[0]!r} is none; choose from {', '.join(ROW_NAMES)}")
    chosen = [name for name in ROW_NAMES if name in names]
    if not published_effects(chosen):
        raise ValueError(
            f"rows={','.join(chosen)}: none of them stands beside another one in a table; those of "
            "Table 1 need baseline, those of Table 2 need forget_gate"
        )
    return chosen


def _devices(device: str | int | None, workers: int | None, *, is_local: bool) -> Devices:
    """Choose what runs are trained on: one device each.

    Raises:
        ValueError: If `device` or `workers` makes no sense.
    """
    if not is_local and workers is not None:
        raise ValueError("workers= is the number of runs on this machine; a cluster decides")
    chosen = choose_devices(None if device is None else str(device), workers, is_local=is_local)
    if chosen.setting not in (None, "cpu") and (is_local or not chosen.setting.isdigit()):
        raise ValueError(
            f"device={device!r}: each run is trained on one CUDA device or on the CPU; leave "
            "device= out to use every CUDA device, or set it to cpu or to one number"
        )
    return chosen


def _defaults() -> dict[str, Any]:
    """Return the defaults of the arguments of `compare_six_designs`."""
    parameters = inspect.signature(compare_six_designs).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _plan(
    request: Mapping[str, Any], source: Path, folder: Path, images: StudyImages | None
) -> dict[str, Any]:
    """Return the plan of a new study, or the one in the folder if it answers the same question."""
    plan = read_plan(folder)
    if plan is not None:
        plan = continued(plan, request, source, folder)
        refuse_changed_images(plan["data"])
        return plan
    if images is None:
        raise RuntimeError(f"{folder} was removed in the meantime; give the same command again")
    return started(request, images, folder)


def _disk_need(plan: Mapping[str, Any], num_runs: int, num_at_a_time: int) -> float:
    """Estimate the bytes that runs will take at most."""
    # the widest row has a tenth more than the baseline of a size
    parameters = {"mini": 3.6e6, "tiny": 32e6}[plan["size"]]
    data = plan["data"]
    logits = data["splits"][data["scored"]]["images"] * len(data["class_names"])
    lasting = num_runs * (_BYTES_DONE * parameters + _BYTES_PER_LOGIT * logits)
    return lasting + min(num_at_a_time, num_runs) * _BYTES_AT_WORK * parameters


def _train(
    plan: dict[str, Any],
    runs: Sequence[Run],
    waiting: Sequence[Run],
    folder: Path,
    executor: str | Executor,
    devices: Devices,
    options: Mapping[str, Any],
    language: str,
) -> dict[str, Any]:
    """Train what is left, with a page after every seed that is complete."""
    try:
        if isinstance(executor, Executor):
            return _train_on(executor, plan, runs, waiting, folder, language)
        with opened(make_executor(executor, devices, options, folder=folder)) as made:
            return _train_on(made, plan, runs, waiting, folder, language)
    except KeyboardInterrupt:
        print("\nmlla study: stopped; the same command goes on", file=sys.stderr)
        raise


def _train_on(
    executor: Executor,
    plan: dict[str, Any],
    runs: Sequence[Run],
    waiting: Sequence[Run],
    folder: Path,
    language: str,
) -> dict[str, Any]:
    plan = check_seeds(plan, folder, executor)
    left = Counter(run.seed for run in waiting)

    def ended(run: Run) -> None:
        left[run.seed] -= 1
        if left[run.seed] or not any(left.values()):
            return
        try:
            _conclude(plan, runs, folder, language, with_costs=False)
        # a page in between must not cost the trainings that are at work
        except Exception as error:
            print(f"mlla study: no page so far: {error}", file=sys.stderr)

    watched = [Watched(run.label, run.folder) for run in waiting]
    need = _disk_need(plan, 1, 1)
    with Progress(watched, plan["settings"]["epochs"]) as progress:
        failures = train_runs(waiting, executor, progress, needed_bytes=need, ended=ended)
    if len(failures) == len(runs):
        raise RuntimeError(
            "no run could be finished; the same command tries them again:\n"
            + "\n".join(f"  {label}: {error}" for label, error in failures.items())
        )
    return plan


def _conclude(
    plan: dict[str, Any], runs: Sequence[Run], folder: Path, language: str, *, with_costs: bool
) -> dict[str, Any]:
    """Check the finished runs against each other, and write results and page."""
    done = [run.folder for run in runs if run_state(run.folder) == "done"]
    # what is scored next is compared with its digests there
    outcomes = [read_outcome(run, check_files=False) for run in done]
    if outcomes:
        plan = {**plan, "guards": replaced(plan["guards"], finished_guards(plan, outcomes))}
        write_json(folder / PLAN, plan)
    results = collect(plan, folder, row_costs(plan, folder) if with_costs else None)
    write_report(results, folder, language=language)
    return results
