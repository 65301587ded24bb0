"""Sizes to compare on, and sizes that are refused."""

import pytest

from mlla.export.plan import Plan, check_batch, read_size


@pytest.mark.parametrize(
    ("name", "side", "step"),
    [
        *(("onnx", side, step) for side in (32, 64, 96, 224, 640) for step in (1, 32)),
        *(("torch_export", side, 1) for side in (33, 64, 224)),
    ],
)
def test_open_sizes_are_compared_at_three(name: str, side: int, step: int) -> None:
    sizes = Plan(name, side, side, batch=2, dynamic=True).sizes(step)
    (_, *traced), (batch, height, width), (_, odd, other) = sizes
    assert traced == [side, side]
    assert len(set(sizes)) == 3
    assert height != width
    assert batch != 2
    assert odd == other
    assert odd // step % 2 == 1
    assert not [size for _, *pair in sizes for size in pair if size % step]
    if name == "torch_export":
        assert min(height, width, odd) >= 33


def test_a_fixed_size_is_compared_at_that_size() -> None:
    assert Plan("onnx", 64, 96, batch=3).sizes(32) == [(3, 64, 96)]


@pytest.mark.parametrize(
    ("imgsz", "size"), [(None, (640, 640)), (96, (96, 96)), ([64, 96], (64, 96)), ([64], (64, 64))]
)
def test_sizes_are_read(imgsz: object, size: tuple[int, int]) -> None:
    assert read_size(imgsz, 640, 32) == size


@pytest.mark.parametrize(
    ("imgsz", "message"),
    [(100, r"multiples of 32 pixels, such as \[96, 96\]"), (0, "must be"), ([1, 2, 3], "must be"),
     (-32, "must be"), ([64.0, 64], "must be"), (True, "must be")],
)  # fmt: skip
def test_other_sizes_are_refused(imgsz: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_size(imgsz, 640, 32)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "2", None, True])
def test_other_batches_are_refused(batch: object) -> None:
    with pytest.raises(ValueError, match="batch="):
        check_batch(batch)
