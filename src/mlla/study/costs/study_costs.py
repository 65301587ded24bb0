"""What each arm of a study costs: size, memory, time to train, time per image."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlla.study.costs.latency import interleaved_seconds, latencies
from mlla.study.costs.runtimes import RUNTIMES, open_detector, refuse_unknown
from mlla.study.files import file_digest, read_json, write_json
from mlla.study.planning.arms import search_blocks_in
from mlla.study.scoring.scored_runs import ScoredRun
from mlla.study.scoring.size import checkpoint_size

COSTS = "costs.json"
_NO_SIZE: dict[str, Any] = {"gflops": None, "gflops_torch": None, "gflops_disagree": False}
_NO_LATENCY = dict.fromkeys(("median_ms", "low_ms", "high_ms", "ratio"))


def study_costs(
    out: Path,
    plan: Mapping[str, Any],
    runs: Mapping[str, Sequence[ScoredRun]],
    runtimes: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Return what each arm costs; what was measured before is read from costs.json.

    Args:
        out: Folder of the study.
        plan: Content of study.json.
        runs: Finished runs of each arm. The checkpoint of the first of them is measured.
        runtimes: Where to measure the latency.

    Returns:
        For each arm "parameters", "gflops", "gflops_torch", "gflops_disagree", "train_seconds" (the
        mean), "peak_memory_bytes" (the largest), "peak_memory_kind", "latency" by runtime, and
        "error": why its checkpoint was not measured, or None.

    Raises:
        ValueError: If a runtime is unknown.
    """
    refuse_unknown(runtimes)
    search_blocks_in([folder for arm in plan["arms"] for folder in arm["python_path"]])
    checkpoints = {
        name: of_arm[0].source / "weights" / f"{plan['checkpoint']}.pt"
        for name, of_arm in runs.items()
        if of_arm
    }
    present = {name: file for name, file in checkpoints.items() if file.is_file()}
    measure = _Measured(out / COSTS, plan, present)
    sizes = {name: measure.size(name) for name in present}
    latency = {runtime: measure.latency(runtime, plan["arms"][0]["name"]) for runtime in runtimes}
    costs = {}
    for name, of_arm in runs.items():
        error = None if name in present else "no run is finished"
        if name in checkpoints and name not in present:
            file = checkpoints[name]
            shown = file.relative_to(out) if file.is_relative_to(out) else file
            error = f"{shown.as_posix()} is missing"
        outcomes = [run.outcome for run in of_arm]
        memory = [one.peak_memory_bytes for one in outcomes if one.peak_memory_bytes is not None]
        seconds = [one.train_seconds for one in outcomes if one.train_seconds is not None]
        costs[name] = {
            "parameters": outcomes[0].parameters if outcomes else None,
            **_NO_SIZE,
            "error": error,
            **sizes.get(name, {}),
            "train_seconds": sum(seconds) / len(seconds) if seconds else None,
            "peak_memory_bytes": max(memory, default=None),
            "peak_memory_kind": outcomes[0].peak_memory_kind if outcomes else None,
            "latency": {
                runtime: of_runtime.get(name, {**_NO_LATENCY, "error": error})
                for runtime, of_runtime in latency.items()
            },
        }
    return costs


class _Measured:
    """Measurements of checkpoints, kept in a file for as long as their conditions are the same."""

    def __init__(
        self, file: Path, plan: Mapping[str, Any], checkpoints: Mapping[str, Path]
    ) -> None:
        self.file = file
        self.checkpoints = checkpoints
        self.digests = {name: file_digest(path) for name, path in checkpoints.items()}
        self.size_px = int(plan["settings"]["imgsz"])
        self.device = _device(plan["settings"].get("device"))
        self.kept = read_json(file) if file.exists() else {}

    def size(self, name: str) -> dict[str, Any]:
        """Return the size of an arm."""
        key = {"checkpoint": self.digests[name], **self._conditions("torch", "ultralytics")}

        def measure() -> dict[str, Any]:
            try:
                return {**checkpoint_size(self.checkpoints[name], self.size_px), "error": None}
            except Exception as error:
                # whatever a checkpoint raises must not cost the study its other results
                return {**_NO_SIZE, "error": f"{type(error).__name__}: {error}"}

        return self._kept(f"size {name}", key, measure)

    def latency(self, runtime: str, baseline: str) -> dict[str, dict[str, Any]]:
        """Return the latency of all arms in a runtime, measured together."""
        import torch

        threads = torch.get_num_threads()
        packages = ("torch", "ultralytics", *RUNTIMES[runtime])
        key = {
            "checkpoints": self.digests,
            **self._conditions(*packages),
            "device": self.device,
            "device_name": _device_name(self.device),
            "threads": threads,
        }

        def measure() -> dict[str, dict[str, Any]]:
            calls: dict[str, Callable[[], object]] = {}
            found = {}
            for name, checkpoint in self.checkpoints.items():
                try:
                    calls[name] = open_detector(
                        runtime,
                        checkpoint,
                        size_px=self.size_px,
                        device=self.device,
                        num_threads=threads,
                    )
                except Exception as error:
                    # whatever an exporter raises must not cost the study its other results
                    text = f"{type(error).__name__}: {error}"
                    found[name] = {**_NO_LATENCY, "error": text.strip().splitlines()[0]}
            measured = latencies(interleaved_seconds(calls), baseline) if calls else {}
            shared = {key: key_value for key, key_value in key.items() if key != "checkpoints"}
            for name, numbers in measured.items():
                found[name] = {**numbers, **shared, "error": None}
            return found

        return self._kept(f"latency {runtime}", key, measure)

    def _conditions(self, *packages: str) -> dict[str, Any]:
        return {"size_px": self.size_px, "versions": {name: _version(name) for name in packages}}

    def _kept(self, what: str, key: dict[str, Any], measure: Callable[[], Any]) -> Any:
        """Return what was measured under the same conditions, or measure it now."""
        entry = self.kept.get(what)
        if entry is None or entry["key"] != key:
            value = measure()
            entry = {"key": key, "value": value}
            parts = [value] if "error" in value else value.values()
            # what failed is tried again
            if all(part["error"] is None for part in parts):
                self.kept[what] = entry
                write_json(self.file, self.kept)
        return entry["value"]


def _device(setting: Any) -> str:
    """Return where the latency is measured: where the study trained, if that is here."""
    import torch

    return "cuda" if str(setting) != "cpu" and torch.cuda.is_available() else "cpu"


def _device_name(device: str) -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
