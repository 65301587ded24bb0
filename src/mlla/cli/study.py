"""`mlla study six-designs`: the paper's own comparisons, made again on any images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of

HELP = """usage: mlla study six-designs data=FOLDER [seeds=6] [epochs=60] [size=mini|tiny] [key=...]

Trains the rows of Tables 1 and 2 of the paper (linear attention with each design of Mamba, and
with position encodings in place of the forget gate), and says which published effects hold here.

what is compared
  data              FOLDER/train|val|test/CLASS/IMAGE; without test the last epoch is scored on val;
                    or FOLDER/CLASS/IMAGE, of which 60, 20 and 20 % become train, val and test
  size              mini (3.2 M parameters, 64 px) or tiny (28 M, 224 px, as published)
  rows              some rows only: baseline,forget_gate,lepe,...; by default all twelve
  near_duplicates   False leaves out the search for images that stand in two splits

how
  seeds=6           runs of each row; a verdict on all of Table 1 takes 6
  epochs, batch, image_size, lr, mixup, auto_augment and all other settings of `mlla classify train`
  margin=0.005      the smallest gain of accuracy that matters

where
  out               folder of the study, by default studies/six-designs-NAME; the same command goes
                    on there
  device            cpu or the number of a GPU; by default each GPU gets runs of its own
  workers           runs at a time on this machine
  loader_workers    processes that load images for each run
  executor          local, slurm or ray; slurm_time=MINUTES slurm_partition=... ray_address=auto ...
  language=en       of the page: en or zh

The exit code is 0, 1 if a run failed (the same command tries it again), 2 for an error with a
remedy, 130 after Ctrl-C (the same command goes on)."""

STUDIES = ("six-designs",)
_TEXTS = ("data", "out", "size", "device", "executor", "language", "auto_augment", "precision")
_VALUES = (
    "seeds", "image_size", "near_duplicates", "margin", "workers", "loader_workers",
)  # fmt: skip


def run(_command: str, words: Sequence[str]) -> int:
    """Ask the library, print its answer."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    study, *rest = words
    if study not in STUDIES:
        raise UsageError(f"{study!r} is no study{nearest(study, STUDIES)}\n{HELP}")
    arguments = read_arguments(rest)
    try:
        from mlla.study.six_designs import compare_six_designs
        from mlla.study.six_designs.tables import answer
        from mlla.study.six_designs.texts import texts_in
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mlla"):
            raise
        raise UsageError(
            f"mlla study needs {error.name}: pip install 'mlla[study,train]'"
        ) from error
    results = compare_six_designs(**arguments)
    print(f"\n{answer(results, texts_in(arguments.get('language', 'en')))}")
    return 1 if any(row["failures"] or row["unfinished"] for row in results["rows"]) else 0


def read_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Turn the words of the command line into the arguments of `compare_six_designs`.

    Args:
        words: The words after `mlla study six-designs`.

    Returns:
        The arguments by name. Settings of the trainings are not checked here.

    Raises:
        UsageError: If a word is no key=value, or `data` is missing.
    """
    given = [word.removeprefix("--").partition("=")[0].replace("-", "_") for word in words]
    known = [*_TEXTS, *_VALUES, "rows", *(key for key in given if key.isidentifier())]
    plain, options = read_options(words, known, ("near_duplicates", "gradient_checkpointing"))
    if plain or "data" not in options:
        wrong = f"{plain[0]!r} is not key=value" if plain else "missing data="
        raise UsageError(f"{wrong}\n{HELP}")
    arguments: dict[str, Any] = {}
    for key, text in options.items():
        if key == "rows":
            parts = text.strip("[]").split(",")
            arguments[key] = [part.strip().strip("'\"") for part in parts if part.strip()]
        elif key in _TEXTS:
            arguments[key] = text
        else:
            arguments[key] = value_of(text)
    return arguments
