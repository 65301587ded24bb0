"""What of a study stays beside the experiment that made it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mlla.study.report.name_parts import name_parts


def keep(study: Path, target: Path, files: Iterable[str], places: Mapping[str, str]) -> None:
    """Copy results and report; where it was run is nobody's concern.

    Args:
        study: Folder of the study.
        target: Where to.
        files: Names of the files.
        places: Folders of this machine, and what is to be read in their place, longest first.
    """
    target.mkdir(exist_ok=True)
    for file in files:
        text = (study / file).read_text(encoding="utf-8")
        for place, name in places.items():
            # the page lets long names break
            for written in (place, "<wbr>".join(name_parts(place))):
                text = text.replace(written, name)
        (target / file).write_text(text, encoding="utf-8")
