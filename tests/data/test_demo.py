from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mlla.data import DataError, check_dataset, write_demo
from mlla.data.demo.defects import DEFECTS
from mlla.data.demo.noise import nearest_two, smooth_noise
from mlla.data.demo.scene import KINDS, draw_scene

SIZE = 160


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo") / "set", num_images=60, quiet=True)


def test_the_same_seed_gives_the_same_bytes(small_demo, tmp_path, fingerprint):
    write_demo(tmp_path / "again", num_images=60, quiet=True)
    assert fingerprint(tmp_path / "again") == fingerprint(small_demo.parent)


def test_another_seed_gives_other_images(small_demo, tmp_path, fingerprint):
    write_demo(tmp_path / "other", num_images=60, seed=1, quiet=True)
    first = set(fingerprint(small_demo.parent / "images").values())
    assert not first & set(fingerprint(tmp_path / "other" / "images").values())


def test_it_passes_the_check_and_is_balanced(small_demo):
    report = check_dataset(small_demo, quiet=True)
    assert report.problems == ()
    assert report.names == (
        "crazing",
        "inclusion",
        "patches",
        "pitted_surface",
        "rolled-in_scale",
        "scratches",
    )
    assert {name: counts.images for name, counts in report.splits.items()} == {
        "train": 50,
        "val": 8,
        "test": 2,
    }
    boxes = report.splits["train"].boxes
    assert min(boxes[index] for index in range(6)) >= 5
    assert report.splits["train"].backgrounds >= 1


def test_it_says_that_it_is_generated(small_demo):
    text = (small_demo.parent / "README.txt").read_text()
    assert "GENERATED" in text
    assert "60 grey PNG of 160x160 pixels, seed 0" in text


def test_images_are_grey_and_of_the_asked_size(tmp_path):
    data_yaml = write_demo(tmp_path / "set", num_images=12, image_size_px=200, quiet=True)
    for path in data_yaml.parent.glob("images/*/*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (200, 200))


@pytest.mark.parametrize("index", range(24))
def test_boxes_lie_inside_do_not_touch_and_are_worth_finding(index):
    _, defects = draw_scene(np.random.default_rng([7, index]), SIZE, index % len(KINDS))
    for number, defect in enumerate(defects):
        left, top, right, bottom = defect.box
        assert 0 <= left < right <= SIZE
        assert 0 <= top < bottom <= SIZE
        assert min(right - left, bottom - top) >= 5
        for other in defects[:number]:
            x1, y1, x2, y2 = other.box
            assert right <= x1 or x2 <= left or bottom <= y1 or y2 <= top


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_tight_around_what_changed(kind, seed, monkeypatch):
    """Draw the same scene with and without its defect: the change must fill the box."""

    def draw():
        return draw_scene(np.random.default_rng([9, seed]), SIZE, KINDS.index(kind))

    with_defects, defects = draw()
    # the same random numbers are drawn, but what they make is wiped out at the last moment
    monkeypatch.setattr("mlla.data.demo.scene._apply", lambda image, layer, contrast: None)
    without, _ = draw()
    changed = np.abs(with_defects.astype(int) - without.astype(int)) > 12
    for defect in defects:
        left, top, right, bottom = defect.box
        rows, columns = np.nonzero(changed[top:bottom, left:right])
        height, width = bottom - top, right - left
        assert rows.min() <= 2 + 0.1 * height
        assert rows.max() >= height - 3 - 0.1 * height
        assert columns.min() <= 2 + 0.1 * width
        assert columns.max() >= width - 3 - 0.1 * width
        changed[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = False
    assert changed.mean() < 0.002


def test_dark_kinds_darken_and_scratches_brighten():
    for kind, draw in DEFECTS.items():
        change = draw(np.random.default_rng(1), 1.0)
        assert (change.mean() > 0) == (kind == "scratches")


def test_noise_has_zero_mean_and_is_as_smooth_as_asked():
    rng = np.random.default_rng(0)
    field = smooth_noise(rng, 200, 200, 800, 2)
    assert abs(field.mean()) < 0.2
    # hardly any change down a streak, a lot across
    assert np.abs(np.diff(field, axis=0)).mean() < 0.05 * np.abs(np.diff(field, axis=1)).mean()


def test_nearest_two_by_hand():
    rows, columns = np.zeros((1, 3), np.float32), np.array([[0, 1, 4]], np.float32)
    nearest, second = nearest_two(rows, columns, np.array([[0, 0], [3, 0]]), stretch=1.0)
    assert nearest.tolist() == [[0, 1, 4]]
    assert second.tolist() == [[3, pytest.approx(10**0.5), 5]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 11}, "num_images is 11; it must be from 12"),
        ({"image_size_px": 50}, "image_size_px is 50; it must be from 96 to 640"),
        ({"seed": -1}, "seed is -1; it must be from 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        write_demo(tmp_path / "set", **options)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match="not empty"):
        write_demo(tmp_path, num_images=12)


def test_a_file_as_destination_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        write_demo(tmp_path / "file", num_images=12)
