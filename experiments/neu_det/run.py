"""From the downloaded NEU-DET archive to trained models, their pictures and a table.

    python experiments/neu_det/run.py archive=NEU-DET.tar.xz [work=neu-det] [key=value ...]

  archive    the archive (tar or zip), or the folder it was unpacked to
  work       folder for everything that is written                          (neu-det)
  models     names separated by commas                    (yolo11n,yolo11n-c3k2-mlla)
  splits     random, grouped or both                                 (random,grouped)
  seeds      numbers separated by commas                                      (0,1,2)
  epochs, imgsz, batch, mosaic, device   as in Ultralytics           (see SETTINGS)
  fraction   share of the training images to use                                  (1)
  processes  how many trainings run at a time                                     (1)
  threads    CPU threads of each                                                  (1)

Finished trainings are kept: the same command goes on where it stopped; what was interrupted starts
anew. Scores are those of the last epoch's weights on the test images.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from dataset import SPLITS, prepare
from summary import write_summary

from mlla.cli.arguments import UsageError, read_options, value_of
from mlla.data import DataError

TRAIN_ONE = Path(__file__).with_name("train_one.py")
SETTINGS = {
    "epochs": 10,
    "imgsz": 160,
    "batch": 16,
    "mosaic": 0.0,
    "device": "cpu",
}
PLAN = {
    "models": "yolo11n,yolo11n-c3k2-mlla",
    "splits": "random,grouped",
    "seeds": "0,1,2",
    "fraction": "1",
    "processes": "1",
    "threads": "1",
    "work": "neu-det",
}


def main(words: list[str]) -> int:
    plain, given = read_options(words, known=("archive", *PLAN, *SETTINGS))
    if plain or "archive" not in given:
        raise UsageError(f"archive=PATH is needed, and nothing but key=value\n\n{__doc__}")
    plan = {key: given.get(key, default) for key, default in PLAN.items()}
    settings = {
        key: value_of(given[key]) if key in given else SETTINGS[key] for key in SETTINGS
    } | {"fraction": float(plan["fraction"]), "threads": int(plan["threads"])}
    if not 0 < settings["fraction"] <= 1:
        raise UsageError(f"fraction is {plan['fraction']}; it must be above 0 and at most 1")
    splits = plan["splits"].split(",")
    if wrong := set(splits) - SPLITS.keys():
        raise UsageError(f"splits has {', '.join(sorted(wrong))}; there are {', '.join(SPLITS)}")

    work = Path(plan["work"]).resolve()
    data = prepare(Path(given["archive"]), work, splits, settings["fraction"])
    jobs = [
        {"split": split, "model": model, "seed": int(seed), "data": str(data[split])}
        for seed in plan["seeds"].split(",")
        for split in splits
        for model in plan["models"].split(",")
    ]
    failed = train_all(jobs, settings, work, int(plan["processes"]))
    print(write_summary(work))
    for log in failed:
        print(f"a training failed; its messages are in {log}", file=sys.stderr)
    return 1 if failed else 0


def train_all(jobs: list[dict], settings: dict, work: Path, num_processes: int) -> list[Path]:
    """Train what has no result yet, a process each; return the logs of those that failed."""
    waiting = []
    for job in jobs:
        job |= {"settings": settings, "work": str(work)}
        job["result"] = str(work / "results" / f"{name_of(job)}.json")
        if not Path(job["result"]).exists():
            waiting.append(job)
        elif (found := json.loads(Path(job["result"]).read_text())["settings"]) != settings:
            raise UsageError(
                f"{job['result']} was trained with {found}, not {settings}; give another work="
            )
    running: list[tuple[subprocess.Popen, Path]] = []
    failed = []
    try:
        while waiting or running:
            while waiting and len(running) < num_processes:
                job = waiting.pop(0)
                log = work / "logs" / f"{name_of(job)}.txt"
                log.parent.mkdir(exist_ok=True)
                print(f"training {name_of(job)}, {len(waiting)} more to come", flush=True)
                command = [
                    sys.executable,
                    Path(__file__).with_name("train_one.py"),
                    json.dumps(job),
                ]
                with log.open("w") as file:
                    child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
                running.append((child, log))
            time.sleep(0.5)
            failed += [log for child, log in running if child.poll()]
            running = [(child, log) for child, log in running if child.poll() is None]
    finally:
        for child, _ in running:
            child.terminate()
    return failed


def name_of(job: dict) -> str:
    return f"{job['split']}-{Path(job['model']).stem}-seed{job['seed']}"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (UsageError, DataError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
