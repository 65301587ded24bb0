"""Where runs go: processes of this machine with a device each, submitit, Ray."""

import os
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import pytest

from mlla.study.runs import devices, executors
from mlla.study.runs.cluster_executors import Requeued
from mlla.study.runs.devices import choose_devices
from mlla.study.runs.executors import LocalExecutor, make_executor, opened

CPU = choose_devices("cpu", None)


@pytest.fixture(autouse=True)
def this_file_is_importable(monkeypatch):
    """In jobs, too, which load the functions below by name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def seen(folder, *, device_env=None):
    """Stand in for the training of a run."""
    return {"folder": folder, "device": device_env, "process": os.getpid()}


def broken(folder, *, device_env=None):
    raise RuntimeError(f"no {folder}")


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "setting", "environments"),
    [
        ("cpu", None, [], "cpu", [{}]),
        (None, None, [], "cpu", [{}]),
        (None, 3, [], "cpu", [{}, {}, {}]),
        ("cpu", 2, ["0"], "cpu", [{}, {}]),
        ("mps", None, [], "mps", [{}]),
        # one run over two devices is Ultralytics' own affair
        ("0,1", None, ["0", "1"], "0,1", [{}]),
        ("[0, 1]", None, ["0", "1"], "0,1", [{}]),
        (None, None, ["0", "1"], None, ["0", "1"]),
        (None, 3, ["0", "1"], None, ["0", "1", "0"]),
        ("1", 2, ["0", "1"], None, ["1", "1"]),
        ("cuda:1", None, ["0", "1"], None, ["1"]),
    ],
)
def test_every_run_at_a_time_has_a_device(
    device, workers, gpus, setting, environments, monkeypatch
):
    monkeypatch.setattr(devices, "_cuda_devices", lambda: gpus)
    found = choose_devices(device, workers)
    assert found.setting == setting
    expected = [{"CUDA_VISIBLE_DEVICES": e} if isinstance(e, str) else e for e in environments]
    assert list(found.environments) == expected


def test_devices_hidden_from_this_process_stay_hidden(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    found = choose_devices(None, None)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in found.environments] == ["5", "7"]


def test_a_cluster_chooses_the_device_itself():
    assert choose_devices(None, None, is_local=False).setting is None
    assert choose_devices("cpu", None, is_local=False).setting == "cpu"


@pytest.mark.parametrize(
    ("device", "workers", "message"),
    [("gpu", None, "device='gpu' must be cpu"), ("cpu", 0, "workers=0"), ("cpu", True, "workers=")],
)
def test_devices_that_make_no_sense_are_refused(device, workers, message):
    with pytest.raises(ValueError, match=message):
        choose_devices(device, workers)


def test_no_two_local_runs_share_a_device_at_a_time():
    busy, most, lock = set(), [], threading.Lock()

    def work(folder, *, device_env):
        with lock:
            assert device_env["GPU"] not in busy
            busy.add(device_env["GPU"])
            most.append(len(busy))
        time.sleep(0.01)
        with lock:
            busy.remove(device_env["GPU"])
        return folder

    with LocalExecutor([{"GPU": "a"}, {"GPU": "b"}]) as executor:
        futures = [executor.submit(work, str(n)) for n in range(20)]
    assert [future.result() for future in futures] == [str(n) for n in range(20)]
    assert max(most) == 2


def test_leaving_by_an_exception_ends_what_runs_and_drops_what_waits(monkeypatch):
    told = threading.Event()
    monkeypatch.setattr(executors, "stop_workers", told.set)
    begun = []

    def work(folder, *, device_env):
        begun.append(folder)
        assert told.wait(20)

    executor = LocalExecutor([{}])
    futures = [executor.submit(work, str(n)) for n in range(3)]
    while not begun:
        time.sleep(0.01)
    with pytest.raises(KeyboardInterrupt), opened(executor):
        raise KeyboardInterrupt
    assert begun == ["0"]
    assert [future.cancelled() for future in futures] == [False, True, True]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("cloud", {}, "executor='cloud' is unknown; choose from local, slurm, ray"),
        ("local", {"slurm_time": 5}, "slurm_time= does not belong to executor=local"),
        ("ray", {"slurm_time": 5}, "slurm_time= does not belong to executor=ray"),
        ("slurm", {}, "needs slurm_time=, the minutes"),
        ("slurm", {"slurm_time": 5, "slurm_partitoin": "x", "slurm_cluster": "slurm"}, "partitoin"),
    ],
)
def test_wrong_executors_and_options_are_refused(kind, options, message, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    # as on a machine from which jobs can be sent
    sbatch = tmp_path / "bin" / "srun"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises((ValueError, NameError), match=message):
        make_executor(kind, CPU, options, folder=tmp_path)


def test_submitit_runs_them_in_processes_of_their_own(tmp_path):
    pytest.importorskip("submitit")
    options = {"slurm_time": 5, "slurm_cluster": "local"}
    with opened(make_executor("slurm", CPU, options, folder=tmp_path)) as executor:
        good = executor.submit(seen, "a")
        bad = executor.submit(broken, "b")
        assert not wait([good, bad], timeout=120).not_done
    assert good.result()["folder"] == "a"
    assert good.result()["process"] != os.getpid()
    with pytest.raises(Exception, match="no b"):
        bad.result()
    assert list((tmp_path / "slurm").rglob("*.pkl")), "its files lie in the folder of the study"


def test_slurm_is_asked_for_what_the_options_say(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    tools = tmp_path / "bin"
    tools.mkdir()
    answers = {"sbatch": f"cat $1 > {tmp_path}/script; echo Submitted batch job 7", "srun": ":"}
    for name, line in {**answers, "sacct": ":", "scancel": f"echo $1 > {tmp_path}/end"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    options = {"time": 240, "partition": "gpu", "gpus_per_node": 1, "cpus_per_task": 8}
    options = {f"slurm_{key}": value for key, value in options.items()}
    executor = make_executor("slurm", CPU, options, folder=tmp_path)
    executor.submit(seen, "a")
    script = (tmp_path / "script").read_text()
    for part in ("partition=gpu", "time=240", "gpus-per-node=1", "cpus-per-task=8", "mlla"):
        assert part in script
    executor.shutdown(cancel_futures=True)
    assert (tmp_path / "end").read_text() == "7\n"


def slow(folder, *, device_env=None):
    draft = Path(folder, "draft")
    draft.write_text(str(os.getpid()))
    draft.replace(Path(folder, "process"))
    time.sleep(600)


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("slurm", {"slurm_time": 5, "slurm_cluster": "local"}),
        pytest.param("ray", {"ray_num_cpus": 1}, marks=pytest.mark.slow),
    ],
)
def test_leaving_by_an_exception_ends_the_jobs(kind, options, tmp_path):
    pytest.importorskip({"slurm": "submitit", "ray": "ray"}[kind])
    executor = make_executor(kind, CPU, options, folder=tmp_path)
    future = executor.submit(slow, str(tmp_path))
    while not (tmp_path / "process").exists():
        assert not future.done(), future.exception()
        time.sleep(0.1)
    process = int((tmp_path / "process").read_text())
    # as train_runs does
    future.cancel()
    with pytest.raises(KeyboardInterrupt), opened(executor):
        raise KeyboardInterrupt
    assert future.done()
    deadline = time.monotonic() + 60
    while is_alive(process):
        assert time.monotonic() < deadline, "the job goes on"
        time.sleep(0.1)


def test_a_job_that_was_preempted_is_queued_again_as_it_was():
    pytest.importorskip("submitit")
    again = Requeued(seen).checkpoint("folder", device_env=None)
    assert again.function("folder")["folder"] == "folder"
    assert again.args == ("folder",)


@pytest.mark.slow
def test_ray_runs_them_in_processes_of_its_own():
    pytest.importorskip("ray")
    options = {"ray_address": "local", "ray_num_cpus": 1}
    with opened(make_executor("ray", CPU, options, folder=Path())) as executor:
        good, bad = executor.submit(seen, "a"), executor.submit(broken, "b")
        assert not wait([good, bad], timeout=300).not_done
    assert good.result()["process"] != os.getpid()
    with pytest.raises(Exception, match="no b"):
        bad.result()
