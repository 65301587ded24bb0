"""`compare` from the question to the results, with trainings that are made up."""

import json
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock
from made_up_training import MadeUpTraining

from mlla.data import write_demo
from mlla.study import compare, compare_models
from mlla.study.guards import seed_guard
from mlla.study.planning import out_folder
from mlla.study.runs import training_runs
from mlla.yolo import start

BUILT = {}
ARMS = ["yolov8n", "yolov8n+identity@neck"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "demo"
    return write_demo(folder, num_images=60, image_size_px=96, quiet=True)


@pytest.fixture(autouse=True)
def training(monkeypatch):
    return use(monkeypatch, MadeUpTraining())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Reports take seconds and are tested on their own; checkpoints are texts."""
    monkeypatch.setattr(compare_models, "write_report", lambda *_, **__: None)
    digest = lambda folder: (folder / "weights" / "last.pt").read_text()  # noqa: E731
    monkeypatch.setattr(seed_guard, "_weights_digest", digest)
    monkeypatch.setattr(training_runs, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(start, "build_start", built_once(start.build_start))


def built_once(build):
    """Build the networks of an arm for the first test alone."""

    def get(arm, baseline, **arguments):
        key = (arm.name, arguments["pretrained"])
        if key not in BUILT:
            BUILT[key] = build(arm, baseline, **arguments)
        return BUILT[key]

    return get


def use(monkeypatch, training):
    monkeypatch.setattr(training_runs, "execute", training)
    return training


@pytest.fixture
def study(data, tmp_path):
    """Ask for the same small study, with changes."""
    arguments = {"plug": ["identity@neck"], "seeds": 2, "epochs": 2, "imgsz": 64, "batch": 4}
    place = {"out": tmp_path / "study", "device": "cpu", "near_duplicates": False, "runtimes": ()}
    return partial(compare, data, ["yolov8n"], **arguments, **place)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def states(results):
    return {guard["name"]: guard["state"] for guard in results["guards"]}


def test_a_study_trains_all_arms_seed_by_seed_and_answers(study, training, tmp_path, capsys):
    results = study()
    assert training.trained == [(arm, seed) for seed in (0, 1) for arm in ARMS]
    assert [arm["name"] for arm in results["arms"]] == ARMS
    assert results == {"format": 1, **json.loads((tmp_path / "study/results.json").read_text())}
    assert states(results) == {
        "seed_changes_result": "passed",
        "seed_reproduces_result": "passed",
        "checkpoint_not_chosen_on_scored_images": "passed",
        "near_duplicates_across_splits": "not checked",
        "enough_seeds": "warning",
        "same_data_order": "passed",
        "shared_initial_weights": "passed",
        "one_version": "passed",
        "fixed_optimizer": "passed",
        "image_lists_fixed": "passed",
    }
    printed, progress = capsys.readouterr()
    assert "2 arms x 2 seeds = 4" in printed
    assert "yolov8n+identity@neck, seed 1: done (4 of 4 runs" in progress
    job = json.loads((tmp_path / "study/runs/yolov8n/seed-1/job.json").read_text())
    assert job["data"] == str(tmp_path / "study/data/data.yaml")
    assert job["settings"]["epochs"] == 2
    assert job["settings"]["patience"] == 0


def test_the_same_command_trains_nothing_twice_and_more_seeds_only_the_new(study, monkeypatch):
    study()
    again = use(monkeypatch, MadeUpTraining())
    first = study()
    assert again.trained == []
    more = study(seeds=4)
    assert again.trained == [(arm, seed) for seed in (2, 3) for arm in ARMS]
    assert [e["to"] for e in json.loads(plan_of(study))["extensions"]] == [4]
    assert len(more["arms"][0]["runs"]) == 4
    assert len(first["arms"][0]["runs"]) == 2
    with pytest.raises(ValueError, match=r"seeds=2, but the study in .* has 4"):
        study()


def plan_of(study) -> str:
    return (study.keywords["out"] / "study.json").read_text()


def test_a_failing_arm_is_reported_the_others_finish_and_it_is_tried_again(
    study, monkeypatch, capsys
):
    failing = use(monkeypatch, MadeUpTraining(fails=[ARMS[1]]))
    results = study()
    assert len(failing.trained) == 4
    assert [len(arm["failures"]) for arm in results["arms"]] == [0, 2]
    assert results["arms"][1]["failures"][0]["error"] == "ValueError: made up"
    assert "yolov8n+identity@neck, seed 0: failed: ValueError: made up" in capsys.readouterr().err
    mended = use(monkeypatch, MadeUpTraining())
    results = study()
    assert mended.trained == [(ARMS[1], 0), (ARMS[1], 1)]
    assert [len(arm["failures"]) for arm in results["arms"]] == [0, 0]


def test_if_every_run_fails_the_errors_are_named(study, monkeypatch):
    study(seeds=1)
    shutil.rmtree(study.keywords["out"] / "runs")
    use(monkeypatch, MadeUpTraining(fails=ARMS))
    with pytest.raises(RuntimeError, match=r"(?s)no run could be finished.*ValueError: made up"):
        study(seeds=1)


def test_a_baseline_that_does_not_train_is_found_by_the_trial_runs(study, monkeypatch):
    failing = use(monkeypatch, MadeUpTraining(fails=[ARMS[0]]))
    with pytest.raises(RuntimeError, match="trial first, seed 0 failed, so the baseline does not"):
        study()
    assert failing.trained == []


def test_seeds_that_change_nothing_stop_the_study(study, monkeypatch):
    blind = use(monkeypatch, MadeUpTraining(blind=True))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Seeds 0 and 1 gave the same weights"):
            study()
    assert blind.trained == []


def test_after_ctrl_c_the_same_command_goes_on(study, monkeypatch, capsys):
    use(monkeypatch, MadeUpTraining(stop_at=3))
    with pytest.raises(KeyboardInterrupt):
        study()
    assert "stopped; the same command goes on" in capsys.readouterr().err
    rest = use(monkeypatch, MadeUpTraining())
    study()
    assert rest.trained == [(ARMS[0], 1), (ARMS[1], 1)]


def test_another_question_in_the_folder_changes_nothing(study):
    study()
    before = everything_in(study.keywords["out"])
    for changes in ({"epochs": 3}, {"plug": ["identity@p5"]}, {"lr0": 0.1}):
        with pytest.raises(ValueError, match="holds another study; nothing was changed"):
            study(**changes)
    assert everything_in(study.keywords["out"]) == before


def test_two_at_once_are_refused(study):
    study()
    with (
        FileLock(study.keywords["out"] / ".lock"),
        pytest.raises(RuntimeError, match="another comparison is at work in"),
    ):
        study()


def test_a_run_edited_by_hand_is_refused(study):
    study()
    predictions = study.keywords["out"] / "runs" / ARMS[1] / "seed-1" / "predictions.json.gz"
    predictions.write_bytes(b"better")
    with pytest.raises(ValueError, match="was changed after the run was complete"):
        study()
    predictions.unlink()
    with pytest.raises(ValueError, match="is missing from a complete run"):
        study()


def test_images_changed_in_between_are_refused(study, data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data.parent, copy)
    ask = partial(compare, copy / "data.yaml", *study.args[1:], **study.keywords)
    ask()
    image = next((copy / "images" / "train").iterdir())
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"train images of .* or their labels are not those"):
        ask()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds=0"),
        ({"plug": []}, "nothing to compare"),
        ({"plug": ["identity@nek"]}, "nek"),
        ({"optimizer": "auto"}, "optimizer='auto'"),
        ({"project": "x"}, "out= is the folder of the study"),
        ({"test": 0.2}, "has a test split"),
        ({"slurm_partition": "x"}, "does not belong to executor=local"),
        ({"executor": "slurm"}, "needs slurm_time="),
        ({"add": ["nonsense"]}, "add='nonsense' is not understood"),
        ({"pretrained": "missing.pt"}, "missing.pt"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(study, tmp_path, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        study(**changes)
    assert not (tmp_path / "study").exists()


def test_missing_models_and_data_are_refused_before_anything_is_written(study, data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"yolov8n-mlaa.yaml"):
        compare(data, ["yolov8n", "yolov8n-mlaa"], **{**study.keywords, "plug": []})
    with pytest.raises(ValueError, match="build the same network"):
        compare(
            data,
            ["yolov8n", shutil.copy(stock_file("yolov8.yaml"), tmp_path / "yolov8n-again.yaml")],
            **{**study.keywords, "plug": []},
        )
    with pytest.raises(ValueError, match=r"missing\.yaml does not exist"):
        compare("missing.yaml", *study.args[1:], **study.keywords)
    assert not (tmp_path / "study").exists()


def stock_file(name):
    import ultralytics

    return next(Path(ultralytics.__file__).parent.rglob(name))


def test_a_folder_of_something_else_is_left_alone(study, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds thesis\.tex and no study\.json"):
        study()
    assert everything_in(tmp_path / "study") == {"thesis.tex": b"years of work"}


def test_a_full_disk_is_noticed_before_and_after(study, monkeypatch):
    usage = namedtuple("usage", "total used free")
    real = shutil.disk_usage
    monkeypatch.setattr(out_folder.shutil, "disk_usage", lambda _: usage(9, 9, 1e6))
    with pytest.raises(RuntimeError, match=r"needs up to .* MB, and 1 MB are free"):
        study()
    assert not study.keywords["out"].exists()
    monkeypatch.setattr(out_folder.shutil, "disk_usage", real)

    class Filling(MadeUpTraining):
        def __call__(self, folder, *, device_env=None):
            if "/runs/" in folder:
                monkeypatch.setattr(training_runs.shutil, "disk_usage", lambda _: usage(9, 9, 0))
                self.fails = ARMS
            return super().__call__(folder)

    filling = use(monkeypatch, Filling())
    with pytest.raises(RuntimeError, match=r"is full: 0 MB are free .* the same command again"):
        study()
    assert len(filling.trained) < 4


def test_an_executor_of_the_caller_is_used_and_left_open(study):
    with ThreadPoolExecutor(3) as mine:
        results = study(executor=mine)
        assert mine.submit(lambda: 1).result() == 1
    assert [len(arm["runs"]) for arm in results["arms"]] == [2, 2]


def test_without_a_test_split_the_last_epoch_is_scored_on_val(study, data, tmp_path):
    content = data.read_text().replace("test: images/test\n", "")
    two = data.with_name("two.yaml")
    two.write_text(content)
    ask = partial(compare, two, *study.args[1:], **study.keywords)
    with pytest.raises(ValueError, match=r"'best' is chosen on val.*test=0.2"):
        ask(checkpoint="best")
    results = ask()
    assert (results["scored"], results["checkpoint"]) == ("val", "last")
    made = ask(test=0.3, out=tmp_path / "made")
    assert (made["scored"], made["checkpoint"]) == ("test", "best")
    assert made["data"]["made_split"]["share"] == 0.3
