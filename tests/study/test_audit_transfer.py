"""How many pretrained weights a run started with, counted as Ultralytics itself does."""

import shutil

import pytest
import torch
import yaml
from run_folders import ARGUMENTS, write_checkpoint, write_run

ultralytics = pytest.importorskip("ultralytics")

from mlla.study.audit import Weight, audit  # noqa: E402
from mlla.study.audit.read_runs import read_run  # noqa: E402
from mlla.study.audit.transfer import transfer_of  # noqa: E402


def build(config, seed):
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(seed)
    return DetectionModel(dict(config), nc=2, verbose=False)


def little_trained(model):
    """Move every weight a little, as a training does."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * parameter.std().nan_to_num(0) * torch.randn_like(parameter))
    return model


def in_both(model, weights):
    """Count what Ultralytics would load: tensors of equal name and shape."""
    from ultralytics.utils.torch_utils import intersect_dicts

    return intersect_dicts(weights.state_dict(), model.state_dict())


@pytest.fixture(scope="module")
def configs():
    import mlla.yolo  # noqa: F401  the names of our rows
    from mlla.yolo.config import model_config
    from mlla.yolo.expand import insert_after

    stock = model_config("yolov8n.yaml")
    # a block behind SPPF, as the tutorials put it
    extended, rows = insert_after(stock, {9: [1, "MLLABlocks", [1024]]})
    return stock, {**extended, "yaml_file": "yolov8n-sppf-mlla.yaml"}, rows


@pytest.fixture(scope="module")
def pretrained(configs):
    return build(configs[0], seed=1)


@pytest.fixture
def run_of(tmp_path, pretrained):
    """Return a function that writes a run of a network, started from pretrained.pt."""
    write_checkpoint(tmp_path / "pretrained.pt", ARGUMENTS, pretrained.half())
    pretrained.float()

    def write(made, name="runs/a", **arguments):
        asked = {"model": "yolov8n-sppf-mlla.yaml", "pretrained": "pretrained.pt", **arguments}
        return write_run(tmp_path / name, made=made.half(), **asked)

    return write


def transfer(folder):
    run = read_run(folder, folder.parent)
    return transfer_of(run, [folder.parents[1]])


def test_weights_matched_by_number_were_left_out_behind_the_insertion(configs, pretrained, run_of):
    model = build(configs[1], seed=2)
    loaded = in_both(model, pretrained)
    model.load_state_dict(loaded, strict=False)
    found = transfer(run_of(little_trained(model)))
    total = len(pretrained.state_dict())
    assert (found.total, found.by_name, found.by_row) == (total, len(loaded), total)
    assert found.count == len(loaded)
    # rows 0 to 9 are before the insertion
    assert found.unmoved.alike == found.unmoved.total > 0
    assert found.moved.alike == 0 < found.moved.total


def test_weights_matched_row_by_row_were_all_taken_over(configs, pretrained, run_of):
    from mlla.yolo.transfer import rename_rows

    model = build(configs[1], seed=2)
    model.load_state_dict(rename_rows(pretrained.state_dict(), configs[2]), strict=False)
    found = transfer(run_of(little_trained(model)))
    assert found.count == found.total == len(pretrained.state_dict())
    assert found.moved.alike == found.moved.total


def test_weights_that_training_has_washed_out_tell_nothing(configs, run_of):
    found = transfer(run_of(build(configs[1], seed=2)))
    assert found.count is None
    assert found.share is None


def test_random_weights_are_known_from_the_arguments(configs, run_of):
    found = transfer(run_of(build(configs[0], seed=2), model="yolov8n.yaml", pretrained=True))
    assert (found.source, found.share) == (None, 0.0)


def test_a_run_from_a_checkpoint_keeps_all_but_other_shapes(configs, pretrained, run_of):
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel(dict(configs[0]), nc=5, verbose=False)
    found = transfer(run_of(model, model="pretrained.pt"))
    assert found.count == len(in_both(model, pretrained)) < found.total


def test_a_start_that_was_lost_is_tried_with_the_file_that_others_name(configs, pretrained, run_of):
    run_of(little_trained(build(configs[1], seed=2)), "runs/a")
    last = "runs/b/weights/last.pt"
    resumed = {"model": last, "resume": last}
    model = build(configs[0], seed=2)
    model.load_state_dict(pretrained.state_dict())
    folder = run_of(little_trained(model), "runs/b", seed=1, **resumed)
    run = read_run(folder, folder.parent)
    found = transfer_of(run, [folder.parents[1]], "pretrained.pt")
    assert (found.is_guess, found.count) == (True, found.total)
    assert transfer_of(run, [folder.parents[1]]) is None


def test_a_missing_file_leaves_the_number_open(configs, run_of, tmp_path):
    folder = run_of(build(configs[1], seed=2))
    (tmp_path / "pretrained.pt").unlink()
    found = transfer(folder)
    assert (found.source, found.file, found.count) == ("pretrained.pt", None, None)
    report = audit(tmp_path / "runs", quick=True)
    assert any(
        f.title == "pretrained weights" and f.weight is Weight.NOT_CHECKED for f in report.findings
    )


def test_the_report_says_that_weights_were_left_out_and_arms_started_unequal(
    configs, pretrained, run_of, tmp_path
):
    model = build(configs[1], seed=2)
    loaded = in_both(model, pretrained)
    model.load_state_dict(loaded, strict=False)
    run_of(little_trained(model), "runs/a")
    run_of(build(configs[0], seed=3), "runs/b", model="pretrained.pt")
    shutil.copy(tmp_path / "pretrained.pt", tmp_path / "runs" / "pretrained.pt")
    report = audit(tmp_path / "runs", quick=True)
    faults = {fault.title: fault for fault in report.faults}
    assert f"{len(loaded)} of 355 tensors" in faults["pretrained weights were left out"].seen
    unequal = faults["unequal start"]
    assert f"{len(loaded)} of 355" in unequal.seen
    assert set(unequal.spoils) == {group.name for group in report.case.groups}
    # what is said of the weights is not said of the argument again
    assert not any("argument" in title for title in faults)
    assert yaml.safe_load((tmp_path / "runs" / "a" / "args.yaml").read_text())["pretrained"]
