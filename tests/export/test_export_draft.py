"""Files are there whole or not at all."""

from pathlib import Path

import pytest

from mlla.export.draft import drafts_in, put_in_place


def test_drafts_disappear(folder: Path) -> None:
    with drafts_in(folder / "new") as drafts:
        (drafts / "model").write_text("half of it")
    assert list((folder / "new").iterdir()) == []


def test_drafts_disappear_when_something_goes_wrong(folder: Path) -> None:
    def fail() -> None:
        with drafts_in(folder) as drafts:
            (drafts / "model").write_text("half of it")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("was", ["nothing", "file", "folder"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_draft_takes_the_place_of_what_was_there(folder: Path, was: str, kind: str) -> None:
    target = folder / "model"
    if was == "file":
        target.write_text("old")
    elif was == "folder":
        target.mkdir()
        (target / "old.txt").write_text("old")
    with drafts_in(folder) as drafts:
        draft = drafts / "model"
        if kind == "file":
            draft.write_text("new")
        else:
            draft.mkdir()
            (draft / "new.txt").write_text("new")
        assert put_in_place(draft, target) == target
    assert list(folder.iterdir()) == [target]
    if kind == "file":
        assert target.read_text() == "new"
    else:
        assert [path.name for path in target.iterdir()] == ["new.txt"]


def test_a_folder_that_cannot_be_written_is_named() -> None:
    # even the superuser makes no folder there
    with (
        pytest.raises(OSError, match=r"nothing can be written to /proc/nowhere.*out="),
        drafts_in(Path("/proc/nowhere")),
    ):
        pass
