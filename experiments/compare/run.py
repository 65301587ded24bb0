"""Does MLLA help yolov8n on BCCD and on NEU-DET? Studies of `mlla compare`.

    python experiments/compare/run.py bccd=BCCD_Dataset neu_det=NEU-DET.tar.xz work=WORK [workers=2]
        [studies=bccd,bccd_elsewhere,bccd_longer,neu_det]

Either set may be left out, and with `studies` some of the studies. The same command goes on where
it stopped. Results and report of each study are copied beside this file; README.md says what they
say.
"""

import sys
from pathlib import Path

from mlla.data import convert
from mlla.study import compare

HERE = Path(__file__).parent
sys.path += [str(HERE.parent), str(HERE.parent / "neu_det")]
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
QUESTION = {
    "models": ["yolov8n", "yolov8n-c2f-mlla"],
    "plug": ["mlla@neck", f"{HERE / 'pasted_mlla.py'}:PastedMLLA@neck@none"],
}
STUDIES = {
    "bccd": {**QUESTION, "epochs": 20, "imgsz": 160},
    # what could help where those did not
    "bccd_elsewhere": {
        "models": ["yolov8n"],
        "plug": ["mlla@p5", "mlla@neck@none"],
        "controls": False,
        "epochs": 20,
        "imgsz": 160,
    },
    "bccd_longer": {
        "models": ["yolov8n"],
        "plug": ["mlla@neck"],
        "controls": False,
        "epochs": 60,
        "imgsz": 160,
    },
    # mosaics of its small pieces of steel would leave nothing to see; small images buy more epochs
    "neu_det": {**QUESTION, "epochs": 20, "imgsz": 96, "mosaic": 0.0},
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


def main() -> None:
    from keeping import keep

    given = dict(word.split("=", 1) for word in sys.argv[1:])
    work = Path(given["work"]).absolute()
    wanted = given["studies"].split(",") if "studies" in given else list(STUDIES)
    sources = {"bccd": bccd, "neu_det": neu_det}
    for name in wanted:
        # BCCD's studies are called after it
        dataset = next(key for key in sources if name.startswith(key))
        if dataset not in given:
            continue
        data = sources[dataset](Path(given[dataset]).absolute(), work)
        out = work / f"study-{name}"
        compare(
            data=str(data),
            seeds=5,
            out=str(out),
            workers=int(given.get("workers", 2)),
            **SETTINGS,
            **STUDIES[name],
        )
        keep(out, HERE / name, KEPT, {str(work): "WORK", str(HERE): "experiments/compare"})


if __name__ == "__main__":
    main()
