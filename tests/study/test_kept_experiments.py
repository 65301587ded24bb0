"""Results of experiments that are kept beside them name no folder of the machine they ran on."""

import json
import re
import sys
from pathlib import Path

import pytest

from mlla.study.report.name_parts import name_parts

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def keep(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    from keeping import keep

    yield keep
    del sys.modules["keeping"]


def test_places_are_renamed_in_both_ways_of_writing(keep, tmp_path):
    place = "/somebody/with_a/very-long.folder"
    study = tmp_path / "study"
    study.mkdir()
    broken = "<wbr>".join(name_parts(place))
    assert broken != place
    (study / "a.html").write_text(f"<pre>out={place}/x</pre> {broken}/y 名", encoding="utf-8")
    keep(study, tmp_path / "kept", ["a.html"], {place: "WORK"})
    kept = (tmp_path / "kept" / "a.html").read_text(encoding="utf-8")
    assert kept == "<pre>out=WORK/x</pre> WORK/y 名"


@pytest.mark.parametrize(
    "file",
    [*EXPERIMENTS.rglob("results.json"), *EXPERIMENTS.rglob("report.html")],
    ids=lambda file: str(file.relative_to(EXPERIMENTS)),
)
def test_no_kept_result_names_a_folder_of_a_machine(file):
    text = file.read_text(encoding="utf-8")
    assert not re.findall(r"\w+=(?:/|[A-Z]:\\)[^ <]*", re.sub(r"<wbr>", "", text))
    if file.suffix == ".json":
        assert not re.findall(r'"(?:/|[A-Z]:\\)[^"]*"', json.dumps(json.loads(text)))
