"""Which of the paper's six designs help at small scale? Three studies of `mlla study six-designs`.

    python experiments/six_designs/run.py work=WORK digits=DIGITS bccd=BCCD_Dataset
        clothing=clothing-dataset-small [seeds=6] [workers=2]

DIGITS is what `images.py digits DIGITS` wrote. Any set may be left out. The same command goes on
where it stopped. Results and page of each study are copied beside this file; README.md says what
they say.
"""

import shutil
import sys
from pathlib import Path

from images import write_bccd

from mlla.study.six_designs import compare_six_designs

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
KEPT = ("results.json", "results.csv", "report.html")
# at the 64 px of the size: at 32 the last stage would be a single token
SETTINGS = {
    # 64 pixels are too few to tell copies from digits of one shape
    "digits": {"epochs": 8, "near_duplicates": False},
    # the split is by photograph; to search 4,900 cells would take longer than to train on them
    "bccd": {"epochs": 3, "near_duplicates": False},
    "clothing": {"epochs": 30},
}


def main() -> None:
    from keeping import keep

    given = dict(word.split("=", 1) for word in sys.argv[1:])
    work = Path(given.pop("work")).absolute()
    options = {key: int(given.pop(key)) for key in ("seeds", "workers") if key in given}
    if unknown := given.keys() - SETTINGS.keys():
        raise SystemExit(f"unknown: {', '.join(unknown)}\n{__doc__}")
    sources = {name: Path(given[name]).absolute() for name in SETTINGS if name in given}
    if "bccd" in sources:
        cells = work / "bccd_cells"
        if not cells.exists():
            draft = work / "bccd_cells.writing"
            shutil.rmtree(draft, ignore_errors=True)
            print(write_bccd(sources["bccd"], draft), "cells of BCCD")
            draft.rename(cells)
        sources["bccd"] = cells
    for name, source in sources.items():
        out = work / name
        compare_six_designs(source, out=out, device="cpu", **SETTINGS[name], **options)
        keep(out, HERE / name, KEPT, {str(work): "WORK", str(source): name.upper()})


if __name__ == "__main__":
    main()
