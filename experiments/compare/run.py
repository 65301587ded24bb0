"""Does MLLA help yolov8n on BCCD and on NEU-DET? Two studies of `mlla compare`.

    python experiments/compare/run.py bccd=BCCD_Dataset neu_det=NEU-DET.tar.xz work=WORK [workers=2]

Either set may be left out. The same command goes on where it stopped. Results and report of each
study are copied beside this file; what they say is in README.md.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from mlla.data import convert
from mlla.study import compare
from mlla.study.report.name_parts import name_parts

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "neu_det"))
KEPT = ("results.json", "results.csv", "results.tex", "report.html")
# for short trainings from scratch: a step every batch, biases warm up like the rest
SETTINGS = {
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "momentum": 0.9,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,
    "amp": False,
    "device": "cpu",
}
# on the small pieces of steel mosaics would leave nothing to see; smaller images buy more epochs
STUDIES = {
    "bccd": {"epochs": 20, "imgsz": 160},
    "neu_det": {"epochs": 20, "imgsz": 96, "mosaic": 0.0},
}


def bccd(source: Path, work: Path) -> Path:
    """Convert BCCD with its own split into 205, 87 and 72 images."""
    data = work / "data-bccd" / "data.yaml"
    if not data.exists():
        print(convert(source, data.parent, from_format="voc").summary())
    return data


def neu_det(archive: Path, work: Path) -> Path:
    """Split NEU-DET with near-duplicates on one side; a random third of the training images."""
    from dataset import prepare

    return prepare(archive, work / "neu_det", ["grouped"], 0.33)["grouped"]


def keep(study: Path, target: Path, places: Mapping[str, str]) -> None:
    """Copy results and report; where it was run is nobody's concern."""
    target.mkdir(exist_ok=True)
    for file in KEPT:
        text = (study / file).read_text(encoding="utf-8")
        for place, name in places.items():
            # the page lets long names break
            for written in (place, "<wbr>".join(name_parts(place))):
                text = text.replace(written, name)
        (target / file).write_text(text, encoding="utf-8")


def main() -> None:
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    work = Path(given["work"]).absolute()
    for name, prepare in (("bccd", bccd), ("neu_det", neu_det)):
        if name not in given:
            continue
        data = prepare(Path(given[name]).absolute(), work)
        out = work / f"study-{name}"
        compare(
            data=str(data),
            models=["yolov8n", "yolov8n-c2f-mlla"],
            plug=["mlla@neck", f"{HERE / 'pasted_mlla.py'}:PastedMLLA@neck@none"],
            seeds=5,
            out=str(out),
            workers=int(given.get("workers", 2)),
            **SETTINGS,
            **STUDIES[name],
        )
        keep(out, HERE / name, {str(work): "WORK", str(HERE): "experiments/compare"})


if __name__ == "__main__":
    main()
