"""Arguments of the installed Ultralytics: defaults, values, datasets by name."""

import pytest

from mlla.yolo.training_arguments import default_arguments, find_dataset, refuse_bad_values


def test_the_defaults_are_a_copy():
    default_arguments()["epochs"] = 1
    assert default_arguments()["epochs"] == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr0": "high"}, "lr0=high"),
        ({"mosaic": 2.0}, "mosaic=2.0"),
        ({"close_mosaic": 1.5}, "close_mosaic=1.5"),
        ({"cos_lr": 3}, "cos_lr=3"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
    ],
)
def test_values_that_make_no_sense_are_named(arguments, message):
    refuse_bad_values(default_arguments())
    with pytest.raises(ValueError, match=message):
        refuse_bad_values(arguments)


def test_a_path_stays_a_path_and_names_are_those_of_ultralytics(tmp_path):
    path, _ = find_dataset(tmp_path / "missing.yaml")
    assert path == tmp_path / "missing.yaml"
    with pytest.raises(FileNotFoundError, match=r"data='coco8\.yaml' does not exist, neither here"):
        find_dataset("coco8.yaml")


def test_a_file_here_comes_before_a_dataset_of_that_name(private_folder):
    (private_folder / "coco8.yaml").write_text("names: [a]\n")
    assert find_dataset("coco8.yaml")[0] == private_folder / "coco8.yaml"
