"""Which runs are repetitions of each other."""

import pytest
from run_folders import network, write_run

from mlla.study.audit.arguments import differences, effective_arguments
from mlla.study.audit.grouping import choose_baseline, group_runs
from mlla.study.audit.read_runs import read_run, read_runs


def groups_of(root, arms=None):
    return {
        group.name: [run.name for run in group.runs]
        for group in group_runs(list(read_runs(root)), arms)
    }


def test_runs_that_differ_in_seed_and_names_only_are_one_arm(tmp_path):
    for seed in (1, 0):
        write_run(tmp_path / f"train{seed}", seed=seed, name=f"train{seed}", project="p" * seed)
    write_run(tmp_path / "other", model="yolov8n-mlla.yaml", made=network((8, 24)))
    assert groups_of(tmp_path) == {
        "yolov8n-mlla": ["other"],
        "yolov8n": ["train0", "train1"],
    }


def test_arguments_that_change_the_result_make_arms_of_their_own(tmp_path):
    write_run(tmp_path / "a", imgsz=64)
    write_run(tmp_path / "b", imgsz=96)
    write_run(tmp_path / "c", imgsz=64, workers=4, plots=False, save_period=1, cache="ram", seed=1)
    assert groups_of(tmp_path) == {"yolov8n imgsz=64": ["a", "c"], "yolov8n imgsz=96": ["b"]}


def test_unknown_arguments_of_an_edited_ultralytics_count(tmp_path):
    write_run(tmp_path / "a", iou_loss="ciou")
    write_run(tmp_path / "b", iou_loss="wiou")
    assert set(groups_of(tmp_path)) == {"yolov8n iou_loss=ciou", "yolov8n iou_loss=wiou"}


def test_releases_may_write_the_same_value_otherwise_or_not_know_an_argument(tmp_path):
    write_run(tmp_path / "a", version="8.3.70", multi_scale=False, mosaic=1)
    write_run(tmp_path / "b", version="8.4.190", multi_scale=0.0, mosaic=1.0, cutmix=0.0, seed=1)
    assert groups_of(tmp_path) == {"yolov8n": ["a", "b"]}


def test_paths_are_named_by_where_they_differ(tmp_path):
    write_run(tmp_path / "a", data="/x/steel/data.yaml")
    write_run(tmp_path / "b", data="/x/blood/data.yaml")
    assert set(groups_of(tmp_path)) == {
        "yolov8n data=steel/data.yaml",
        "yolov8n data=blood/data.yaml",
    }


def test_many_differences_are_numbered_and_told_beside_the_name(tmp_path):
    changes = {"imgsz": 96, "mosaic": 0.5, "optimizer": "SGD", "fraction": 0.5, "patience": 5}
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", **changes)
    groups = group_runs(list(read_runs(tmp_path)))
    assert [group.name for group in groups] == ["yolov8n #1", "yolov8n #2"]
    assert all(f"{key}={value}" in groups[1].special for key, value in changes.items())


def test_one_name_for_two_networks_makes_two_arms(tmp_path):
    write_run(tmp_path / "a", made=network((8, 16)))
    write_run(tmp_path / "b", made=network((8, 32)), seed=1)
    names = list(groups_of(tmp_path))
    assert len(names) == 2
    assert all("parameters" in name for name in names)


def test_a_checkpoint_and_a_yaml_of_one_name_start_differently(tmp_path):
    write_run(tmp_path / "a", model="yolov8n.pt")
    write_run(tmp_path / "b", model="yolov8n.yaml")
    assert set(groups_of(tmp_path)) == {"yolov8n from .pt", "yolov8n from .yaml"}


def test_a_resumed_run_joins_the_runs_it_repeats(tmp_path):
    write_run(tmp_path / "a", model="yolov8n.pt", seed=0)
    last = str(tmp_path / "b" / "weights" / "last.pt")
    write_run(tmp_path / "b", model=last, resume=last, seed=1)
    assert groups_of(tmp_path) == {"yolov8n": ["a", "b"]}


def test_runs_of_a_study_are_named_by_its_arms(tmp_path):
    for name, kind in (("yolov8n+mlla@neck", "variant"), ("yolov8n", "baseline")):
        folder = write_run(tmp_path / name)
        (folder / "job.json").write_text(f'{{"arm": {{"name": "{name}", "kind": "{kind}"}}}}')
    runs = list(read_runs(tmp_path))
    groups = group_runs(runs)
    assert {group.name for group in groups} == {"yolov8n+mlla@neck", "yolov8n"}
    assert choose_baseline(groups).name == "yolov8n"


def test_folders_can_be_named_for_each_arm(tmp_path):
    for name in ("train", "train2", "train3"):
        write_run(tmp_path / name)
    assert groups_of(tmp_path, "base:train,train3; new one : train2/") == {
        "base": ["train", "train3"],
        "new one": ["train2"],
    }


def test_a_regular_expression_names_arms_by_its_group(tmp_path):
    for name in ("exp-base-0", "exp-base-1", "exp-mlla-0", "trial"):
        write_run(tmp_path / name)
    wanted = {"base": ["exp-base-0", "exp-base-1"], "mlla": ["exp-mlla-0"]}
    assert groups_of(tmp_path, r"exp-(\w+)-\d") == wanted
    assert set(groups_of(tmp_path, "base|mlla")) == set(wanted)


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ("base:nowhere", "nowhere.*the runs are train"),
        ("(", "no regular expression"),
        ("mamba", "fits none of the runs: train"),
    ],
)
def test_groups_that_fit_no_run_are_errors(arms, words, tmp_path):
    write_run(tmp_path / "train")
    with pytest.raises(ValueError, match=words):
        groups_of(tmp_path, arms)


def test_copies_interrupted_and_broken_runs_do_not_count(tmp_path):
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "copy", seed=1)
    write_run(tmp_path / "short", (0.2,), seed=2, epochs=3, finished=False)
    write_run(tmp_path / "nan", (0.1, float("nan"), 0.3), seed=3)
    write_run(tmp_path / "good", (0.1, 0.2, 0.25), seed=4)
    (group,) = group_runs(list(read_runs(tmp_path)))
    assert [run.name for run in group.distinct] == ["a", "good"]


def test_the_unchanged_model_with_the_most_runs_is_the_baseline(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"m{seed}", (0.1, 0.2, 0.3 + seed / 10), imgsz=96, seed=seed)
    write_run(tmp_path / "n", imgsz=64)
    groups = group_runs(list(read_runs(tmp_path)))
    assert choose_baseline(groups).name == "yolov8n imgsz=96"
    assert choose_baseline(groups, "yolov8n imgsz=64").name == "yolov8n imgsz=64"
    with pytest.raises(ValueError, match="none of the arms: yolov8n imgsz=96, yolov8n imgsz=64"):
        choose_baseline(groups, "yolov9")


def test_differences_name_every_value_and_forgive_what_a_release_did_not_know(tmp_path):
    folders = [
        write_run(tmp_path / "a", mosaic=1.0, cutmix=0.0),
        write_run(tmp_path / "b", mosaic=0, deterministic=1),
    ]
    first, second = (read_run(folder, tmp_path) for folder in folders)
    assert differences({"x": [first], "y": [second]}) == {"mosaic": {"x": [1.0], "y": [0]}}
    assert "seed" not in effective_arguments(first)
