"""`mlla compare`: does a change to a detector help on a dataset?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from mlla.cli.arguments import UsageError, read_options, value_of

HELP = """usage: mlla compare data=DATA.yaml models=yolov8n,yolov8n-mlla [plug=mlla@neck] [key=...]

what is compared
  data              a detection dataset in the format of Ultralytics
  models            names or files; the first is the baseline, the others are compared with it
  plug              blocks to insert into the baseline: BLOCK@PLACE or BLOCK@PLACE@GATE, where
                    BLOCK is mlla, multiscale_attention or FILE.py:Class; PLACE is neck, p5 or row
                    numbers such as 4-6-9; GATE is zero or none
  controls          True: convolutions of as many parameters for every variant; False: no controls;
                    by default plugged blocks get these and an empty place
  pretrained        a checkpoint that all arms start from
  add               existing runs: NAME:FOLDER,FOLDER (several arms: NAME:FOLDER;NAME:FOLDER)

how
  seeds=5           runs of each arm; a verdict takes 4 or more
  epochs=100 imgsz=640 batch=16 and every other argument of training that Ultralytics takes
  test=0.2          make a test split of this share of train, where there is none
  checkpoint        best (chosen on val) where there is a test split, else last
  near_duplicates   False leaves out the search for images that stand in two splits
  margin=0.005      the smallest gain of AP that matters

where
  out               folder of the study, by default studies/NAME; the same command goes on there
  device            cpu, 0, or 0,1 for every run over both; by default each GPU gets runs of its own
  workers           runs at a time on this machine
  loader_workers    processes that load images for each run
  executor          local, slurm or ray; slurm_time=MINUTES slurm_partition=... ray_address=auto ...

what comes out
  runtimes=torch    where to measure latency: torch,onnxruntime,openvino
  language=en       of the report: en or zh
  trust             True: load the weights of existing runs even if they name code of others

The exit code is 0, 1 if a run failed (the same command tries it again), 2 for an error with a
remedy, 130 after Ctrl-C (the same command goes on)."""

LISTS = {"models": ",", "plug": ",", "runtimes": ",", "add": ";"}
TEXTS = ("data", "out", "pretrained", "device", "executor", "language", "checkpoint")
VALUES = (
    "controls", "seeds", "epochs", "imgsz", "test", "near_duplicates", "margin", "workers",
    "loader_workers", "trust",
)  # fmt: skip
FLAGS = ("controls", "near_duplicates", "trust")


def run(_command: str, words: Sequence[str]) -> int:
    """Ask the library, print its answer."""
    if any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0
    arguments = read_arguments(words)
    for needed in ("data", "models"):
        if needed not in arguments:
            slips = get_close_matches(needed, arguments, n=1)
            hint = f"; is {slips[0]}= meant to be that?" if slips else ""
            raise UsageError(f"mlla compare needs {needed}=...{hint}\n{HELP}")
    try:
        import ultralytics  # noqa: F401

        from mlla.study import compare
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mlla"):
            raise
        raise UsageError(
            f"mlla compare needs {error.name}: pip install 'mlla[yolo,study]'"
        ) from error
    results = compare(**arguments)
    print(answer(results, language=arguments.get("language", "en")))
    return 1 if _num_missing(results) else 0


def read_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Turn the words of the command line into the arguments of `mlla.study.compare`.

    Args:
        words: The words after `mlla compare`.

    Returns:
        The arguments by name. What Ultralytics knows is not checked here.

    Raises:
        UsageError: If a word is no key=value, or an option has the wrong type.
    """
    given = [word.removeprefix("--").partition("=")[0].replace("-", "_") for word in words]
    known = [*LISTS, *TEXTS, *VALUES, *(key for key in given if key.isidentifier())]
    plain, options = read_options(words, known, FLAGS)
    if plain:
        raise UsageError(f"{plain[0]!r} is not key=value\n{HELP}")
    arguments: dict[str, Any] = {}
    for key, text in options.items():
        if key in LISTS:
            parts = text.strip("[]").split(LISTS[key])
            arguments[key] = [part.strip().strip("'\"") for part in parts if part.strip()]
        elif key in TEXTS:
            arguments[key] = None if text.lower() == "none" else text
        else:
            arguments[key] = value_of(text)
    for key in FLAGS:
        if arguments.get(key) not in (None, True, False):
            raise UsageError(f"{key} must be True or False, got {options[key]!r}")
    return arguments


def answer(results: Mapping[str, Any], *, language: str) -> str:
    """Return what the study found in some lines: a sentence per comparison, and what is missing.

    Args:
        results: Content of results.json.
        language: "en" or "zh".
    """
    lines = [""]
    for comparison in results["comparisons"]:
        lines += [comparison["sentence"][language], ""]
    for guard in results["guards"]:
        if guard["state"] in ("warning", "failed"):
            lines.append(f"{guard['state']}: {guard[language]}")
    for arm in results["arms"]:
        for failure in arm["failures"]:
            lines.append(f"failed: {arm['name']}, seed {failure['seed']}: {failure['error']}")
    if missing := _num_missing(results):
        lines.append(f"{missing} runs are not finished; the same command tries them again")
    return "\n".join(lines)


def _num_missing(results: Mapping[str, Any]) -> int:
    return sum(
        len(arm["failures"]) + len(arm["unfinished"])
        for arm in results["arms"]
        if arm["kind"] != "added"
    )
