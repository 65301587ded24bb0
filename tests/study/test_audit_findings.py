"""Every planted fault is found, and sound runs have none."""

import shutil

import pytest
import yaml
from run_folders import network, write_arms, write_run

from mlla.data import write_demo
from mlla.study.audit import Weight, audit

SOUND = {"yolov8n": (0.30, 0.31, 0.32, 0.33), "yolov8n-mlla": (0.40, 0.41, 0.42, 0.43)}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("audited") / "demo", num_images=20, image_size_px=96)


def found(root, weight=Weight.FAULT, **options):
    report = audit(root, quick=True, quiet=True, **options)
    # the text must come out whatever is found
    assert report.text()
    return {f.title: f for f in report.findings if f.weight is weight}


def test_sound_runs_have_no_fault(tmp_path, data):
    write_arms(tmp_path, SOUND, data=str(data), deterministic=True)
    assert found(tmp_path) == {}


def test_fewer_than_four_seeds_are_a_fault(tmp_path, data):
    write_arms(tmp_path, {"yolov8n": (0.3, 0.31, 0.32), "new": (0.4, 0.5, 0.6)}, data=str(data))
    fault = found(tmp_path)["too few seeds"]
    assert fault.seen == "new, yolov8n: 3 usable runs each."


def test_one_arm_alone_claims_nothing_and_needs_no_seeds(tmp_path, data):
    write_run(tmp_path / "train", data=str(data))
    assert found(tmp_path) == {}


def test_identical_results_of_two_seeds_are_one_run(tmp_path, data):
    write_arms(tmp_path, SOUND, data=str(data))
    made = network((8, 16))
    write_run(tmp_path / "again", (0.1, 0.15, 0.3), made=made, seed=7, data=str(data))
    shutil.copy(tmp_path / "yolov8n-0" / "results.csv", tmp_path / "again" / "results.csv")
    fault = found(tmp_path)["identical results"]
    assert fault.runs == ("yolov8n-0", "again")
    assert "the seed changed nothing" in fault.seen


def test_a_copied_folder_counts_once(tmp_path, data):
    write_arms(tmp_path, SOUND, data=str(data))
    shutil.copytree(tmp_path / "yolov8n-0", tmp_path / "copy")
    fault = found(tmp_path)["identical results"]
    assert "copies" in fault.seen


@pytest.mark.parametrize(
    ("version", "workers", "device", "faulty"),
    [
        ("8.4.123", 4, "0", True),
        ("8.3.70", 8, None, True),
        ("8.4.124", 4, "0", False),
        ("8.4.123", 0, "0", False),
        # on a CPU Ultralytics uses no workers
        ("8.4.123", 4, "cpu", False),
    ],
)
def test_seeds_of_older_releases_did_not_reach_the_images(
    version, workers, device, faulty, tmp_path, data
):
    write_run(tmp_path / "a", version=version, workers=workers, device=device, data=str(data))
    assert ("seeds without effect on the images" in found(tmp_path)) is faulty


def test_every_argument_that_differs_is_named_with_both_values(tmp_path, data):
    write_arms(tmp_path, {"yolov8n": SOUND["yolov8n"]}, data=str(data))
    write_arms(tmp_path, {"new": SOUND["yolov8n-mlla"]}, data=str(data), epochs=4, mosaic=0.5)
    fault = found(tmp_path, baseline="yolov8n")["2 arguments besides the model differ"]
    assert "epochs = 4 against 3" in fault.seen
    assert "mosaic = 0.5 against 1.0" in fault.seen
    assert fault.spoils == ("new", "yolov8n")


def test_one_argument_of_one_model_is_a_question_and_several_are_a_fault(tmp_path, data):
    for seed, score in enumerate((0.30, 0.31, 0.32, 0.33)):
        for mosaic in (0.0, 1.0):
            scores = (0.1, 0.2, score + mosaic / 10)
            name = f"m{mosaic:g}-{seed}"
            write_run(tmp_path / name, scores, seed=seed, mosaic=mosaic, data=str(data))
    assert found(tmp_path) == {}
    write_run(tmp_path / "other", mosaic=0.5, imgsz=96, data=str(data))
    assert "2 arguments differ at once" in found(tmp_path, baseline="yolov8n imgsz=64 mosaic=0.0")


def test_an_optimizer_chosen_otherwise_is_a_difference(tmp_path, data):
    for name, choice in (("a", "AdamW"), ("b", "MuSGD")):
        ran_with = {"optimizer": choice, "lr0": 0.001 if choice == "AdamW" else 0.01}
        made = network((8, 16 if name == "a" else 24))
        write_run(
            tmp_path / name,
            made=made,
            model=f"{name}.yaml",
            optimizer="auto",
            ran_with=ran_with,
            data=str(data),
        )
    fault = found(tmp_path, baseline="a")["1 argument besides the model differs"]
    assert "optimizer = MuSGD against AdamW" in fault.seen
    assert "optimizer=auto" in found(tmp_path, Weight.NOTE)


def test_half_precision_is_no_difference_where_nothing_rounds(tmp_path, data):
    for name, device, differs in (("cpu", "cpu", False), ("gpu", "0", True)):
        for amp in (True, False):
            made = network((8, 16 if amp else 24))
            run = tmp_path / name / str(amp)
            write_run(run, model=f"{amp}.yaml", made=made, amp=amp, device=device, data=str(data))
        titles = found(tmp_path / name)
        assert ("1 argument besides the model differs" in titles) is differs


def test_arms_that_are_the_same_network_are_a_fault(tmp_path, data):
    for name in ("yolov8n", "yolov8n-attention"):
        write_run(tmp_path / name, model=f"{name}.yaml", data=str(data))
    assert "both arms are the same network" in found(tmp_path)


def test_runs_put_together_by_hand_must_be_repetitions(tmp_path, data):
    write_run(tmp_path / "a", imgsz=64, data=str(data))
    write_run(tmp_path / "b", imgsz=96, data=str(data), made=network((8, 24)), seed=1)
    faults = found(tmp_path, arms="all:a,b")
    assert "imgsz is 64 or 96" in faults["runs of one arm are no repetitions"].seen
    assert "one arm, several networks" in faults


def test_several_releases_are_a_fault(tmp_path, data):
    write_run(tmp_path / "a", version="8.4.150", data=str(data))
    write_run(tmp_path / "b", (0.1, 0.2, 0.25), version="8.4.190", seed=1, data=str(data))
    assert "8.4.150 or 8.4.190" in found(tmp_path)["several versions of ultralytics"].seen


def test_several_commits_are_a_note(tmp_path, data):
    write_run(tmp_path / "a", commit="a" * 40, data=str(data))
    write_run(tmp_path / "b", (0.1, 0.2, 0.25), commit="b" * 40, seed=1, data=str(data))
    assert "code changed between the runs" in found(tmp_path, Weight.NOTE)


def test_early_stops_at_different_epochs_are_a_fault(tmp_path, data):
    scores = (0.1, 0.4, 0.2, 0.1)
    write_run(tmp_path / "a", scores, epochs=9, patience=2, model="a.yaml", data=str(data))
    write_run(
        tmp_path / "b",
        (*scores, 0.1),
        epochs=9,
        patience=2,
        model="b.yaml",
        made=network((8, 24)),
        data=str(data),
    )
    seen = found(tmp_path)["trained for different numbers of epochs"].seen
    assert "a: 4" in seen
    assert "b: 5" in seen


def test_more_parameters_without_a_control_are_a_note(tmp_path, data):
    write_arms(tmp_path, SOUND, data=str(data))
    assert "yolov8n-mlla" in found(tmp_path, Weight.NOTE)["more parameters, and no control"].seen


def test_without_test_images_the_choice_of_the_checkpoint_is_a_fault(tmp_path, data):
    content = yaml.safe_load(data.read_text())
    own = data.with_name("without-test.yaml")
    own.write_text(yaml.safe_dump({k: v for k, v in content.items() if k != "test"}))
    write_run(tmp_path / "a", (0.1, 0.35, 0.3), data=str(own))
    fault = found(tmp_path)["the reported images chose the checkpoint"]
    assert "yolov8n +0.0500" in fault.seen
    assert "names no test images" in fault.seen


def test_with_test_images_it_is_a_note(tmp_path, data):
    write_run(tmp_path / "a", (0.1, 0.35, 0.3), data=str(data))
    assert not found(tmp_path)
    assert any("chose best.pt" in title for title in found(tmp_path, Weight.NOTE))


def test_validation_on_training_images_is_a_fault(tmp_path, data):
    content = yaml.safe_load(data.read_text())
    own = data.with_name("same.yaml")
    own.write_text(yaml.safe_dump({**content, "val": content["train"]}))
    write_run(tmp_path / "a", data=str(own))
    fault = found(tmp_path)["scored on training images"]
    assert "17 of the 17" in fault.seen


def test_missing_images_are_not_checked_and_another_data_yaml_helps(tmp_path, data):
    write_run(tmp_path / "a", data="/nowhere/data.yaml")
    assert "the images" in found(tmp_path, Weight.NOT_CHECKED)
    assert "the images" not in found(tmp_path, Weight.NOT_CHECKED, data=data)


def test_interrupted_runs_and_losses_that_are_no_numbers_are_faults(tmp_path, data):
    write_run(tmp_path / "a", epochs=9, finished=False, data=str(data))
    write_run(tmp_path / "b", (0.1, float("nan"), 0.2), seed=1, data=str(data))
    faults = found(tmp_path)
    assert "a after 3 of 9" in faults["interrupted runs"].seen
    assert "epoch 2" in faults["losses that are no numbers"].seen


def test_runs_that_learned_nothing_are_a_fault(tmp_path, data):
    write_run(tmp_path / "a", (0.0, 0.0005, 0.0), data=str(data))
    assert found(tmp_path)["nothing was learned"].runs == ("a",)


def test_files_that_contradict_each_other_are_a_fault(tmp_path, data):
    write_run(tmp_path / "a", ran_with={"imgsz": 320}, data=str(data))
    assert "imgsz: 64 and 320" in found(tmp_path)["args.yaml and the checkpoint disagree"].seen


def test_broken_files_are_a_fault_and_the_rest_goes_on(tmp_path, data):
    write_run(tmp_path / "a", data=str(data))
    folder = write_run(tmp_path / "b", (0.1, 0.2, 0.25), seed=1, data=str(data))
    (folder / "weights" / "last.pt").write_bytes(b"cut")
    fault = found(tmp_path)["files that cannot be read"]
    assert fault.runs == ("b",)


def test_runs_that_cannot_be_repeated_are_noted(tmp_path, data):
    last = str(tmp_path / "a" / "weights" / "last.pt")
    write_run(tmp_path / "a", deterministic=False, resume=last, model=last, data=str(data))
    write_run(tmp_path / "b", (0.1, 0.2, 0.25), device="0", seed=1, data=str(data))
    assert {"not deterministic", "resumed runs", "different devices"} <= set(
        found(tmp_path, Weight.NOTE)
    )


def test_arms_of_other_tasks_are_not_compared(tmp_path, data):
    write_run(tmp_path / "a", data=str(data))
    write_run(tmp_path / "b", task="segment", model="yolov8n-seg.yaml", data=str(data))
    assert "yolov8n-seg" in found(tmp_path, Weight.NOT_CHECKED)["arms of other tasks"].seen


def test_a_folder_without_weights_is_judged_by_its_log(tmp_path, data):
    write_run(tmp_path / "a", version=None, data=str(data))
    assert found(tmp_path) == {}
    assert "weights" in found(tmp_path, Weight.NOT_CHECKED)
