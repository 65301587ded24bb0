"""Training with another classification loss: every family, resumed, and in child processes."""

import csv
import pickletools
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.models.yolo.detect import DetectionTrainer as StockTrainer
from ultralytics.utils.dist import ddp_cleanup, generate_ddp_file

from mlla.cli import main
from mlla.cli.yolo_modes import CLASS_LOSS_HELP
from mlla.losses import EMASlideLoss, FocalLoss, SlideLoss
from mlla.yolo import YOLO
from mlla.yolo.cls_loss import CLASS_LOSSES, ChoosesClassLoss
from mlla.yolo.trainers import TRAINERS

Arguments = Callable[..., dict[str, object]]
Dataset = Callable[[str], Path]
VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
# stock models, so that what is tested is the loss
MODELS = ["yolov8n", "yolov8n-seg", "yolov8n-pose", "yolov8n-obb", "yolov10n", "yolo11n"]
if VERSION >= (8, 4, 0):
    MODELS += ["yolo12n", "yolo26n", "yolo26n-seg", "yolo26n-pose", "yolo26n-obb"]
OTHERS = [name for name in CLASS_LOSSES if name != "bce"]


def results(run: Path) -> dict[str, float]:
    with (run / "results.csv").open() as file:
        *_, last = csv.DictReader(file)
    return {key.strip(): float(value) for key, value in last.items()}


def losses_of(network: object) -> list[nn.Module]:
    criterion = network.criterion
    if hasattr(criterion, "one2many"):
        return [criterion.one2many.bce, criterion.one2one.bce]
    return [criterion.bce]


class Bare:
    """The smallest trainer: takes Ultralytics' own arguments, builds a network, calls back."""

    def __init__(self, cfg: object, overrides: dict, _callbacks: object) -> None:
        self.args = get_cfg(cfg, overrides)
        self.resume = bool(self.args.resume)
        self.save_dir = Path()
        self.ema = None
        self.events: list[str] = []

    def get_model(self, cfg: str) -> nn.Module:
        network = YOLO(f"{cfg}.yaml").model
        network.args = self.args
        return network

    def run_callbacks(self, event: str) -> None:
        self.events.append(event)


class Trainer(ChoosesClassLoss, Bare):
    """Chooses its loss."""


def started(model: str, **overrides: object) -> Trainer:
    """Bring a trainer to the point where training would begin."""
    trainer = Trainer(overrides=overrides)
    trainer.model = trainer.get_model(model)
    trainer.run_callbacks("on_pretrain_routine_end")
    return trainer


# -- the slot ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_every_family_has_the_slot(model: str, private_folder: Path) -> None:
    trainer = started(model, cls_loss="slide")
    two = model.startswith(("yolov10", "yolo26"))
    assert [type(loss) for loss in losses_of(trainer.model)] == [SlideLoss] * (1 + two)
    assert trainer.events == ["on_pretrain_routine_end"]
    assert (private_folder / "args.yaml").read_text() == "cls_loss: slide\n"
    # the stock criterion is as ever
    plain = started(model)
    assert not hasattr(plain.model, "criterion")
    plain.model.criterion = plain.model.init_criterion()
    assert [type(loss) for loss in losses_of(plain.model)] == [nn.BCEWithLogitsLoss] * (1 + two)


@pytest.mark.parametrize("name", OTHERS)
def test_every_loss_goes_there_by_its_name(name: str) -> None:
    (loss,) = losses_of(started("yolov8n", cls_loss=name).model)
    assert type(loss) is CLASS_LOSSES[name]
    assert loss.reduction == "none"


def test_names_are_forgiving_about_dashes_and_case() -> None:
    (loss,) = losses_of(started("yolov8n", cls_loss="EMA-Slide").model)
    assert type(loss) is EMASlideLoss


def test_a_criterion_without_the_slot_is_refused() -> None:
    trainer = Trainer(overrides={"cls_loss": "focal"})
    trainer.model = trainer.get_model("yolov8n")
    trainer.model.criterion = nn.CrossEntropyLoss()
    with pytest.raises(ValueError, match="CrossEntropyLoss has no element-wise binary cross-entr"):
        trainer.run_callbacks("on_pretrain_routine_end")


# -- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("slyde", "cls_loss='slyde' is unknown; did you mean 'slide'. Choose from bce, slide, ema"),
        ("xyz", r"cls_loss='xyz' is unknown; Choose from bce"),
        (SlideLoss(), r"cls_loss=SlideLoss\(\) is unknown; Choose from bce"),
    ],
)
def test_an_unknown_loss_is_named(dataset: Dataset, asked: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        YOLO("yolov8n-mlla").train(data=str(dataset("detect")), cls_loss=asked)
    with pytest.raises(ValueError, match=message):
        TRAINERS["detect"](overrides={"cls_loss": asked})


@pytest.mark.parametrize(
    ("model", "kind"),
    [("yolov8n-cls.yaml", "a model for the task 'classify'"), ("rtdetr-l.yaml", "an RT-DETR")],
)
def test_models_without_the_slot_refuse_every_loss(model: str, kind: str) -> None:
    for name in CLASS_LOSSES:
        with pytest.raises(ValueError, match=f"cls_loss='{name}': {kind} is not trained with"):
            YOLO(model).train(data="anything", cls_loss=name)


def test_an_exported_model_says_so(private_folder: Path) -> None:
    (private_folder / "model.onnx").write_bytes(b"")
    with pytest.raises(TypeError, match="should be a"):
        YOLO("model.onnx", task="detect").train(data="anything", cls_loss="slide")


def test_a_trainer_that_does_not_know_it_is_named() -> None:
    with pytest.raises(ValueError, match="DetectionTrainer'> does not know it; derive your"):
        YOLO("yolov8n.yaml").train(data="anything", trainer=StockTrainer, cls_loss="slide")


def test_the_help_names_every_loss(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    assert CLASS_LOSS_HELP in capsys.readouterr().out
    assert [
        word.strip(",") for word in CLASS_LOSS_HELP.split() if word.strip(",") in CLASS_LOSSES
    ] == list(CLASS_LOSSES)
    # where it means nothing, it is unknown
    assert main(["val", "model=yolov8n.yaml", "cls_loss=slide"]) == 2
    assert "unknown option 'cls_loss'" in capsys.readouterr().err


# -- training ----------------------------------------------------------------------------------


def test_only_the_training_loss_changes(
    dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    seen: dict[str, list[type]] = {}

    def look(trainer: object) -> None:
        copies = (trainer.model, trainer.ema.ema)
        seen[trainer.args.name] = [type(loss) for net in copies for loss in losses_of(net)]

    # without a step, every run has the same network
    still = {"lr0": 0.0, "lrf": 0.0, "weight_decay": 0.0}
    for name in ("bce", "focal"):
        model = YOLO("yolov8n.yaml")
        model.add_callback("on_fit_epoch_end", look)
        arguments = train_arguments(**still, name=name)
        model.train(data=str(dataset("detect")), cls_loss=name, **arguments)
    # validation stays comparable
    assert seen["bce"] == [nn.BCEWithLogitsLoss] * 2
    assert seen["focal"] == [FocalLoss, nn.BCEWithLogitsLoss]
    plain, focal = (results(private_folder / name) for name in ("bce", "focal"))
    changed = {key for key, value in plain.items() if focal[key] != value and key != "time"}
    assert changed == {"train/cls_loss"}
    assert focal["train/cls_loss"] < plain["train/cls_loss"]


def test_it_is_kept_on_resume_and_forgotten_by_a_new_training(
    dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    data = str(dataset("detect"))
    model = YOLO("yolov8n.yaml")

    def interrupt(trainer: object) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train(data=data, cls_loss="ema_slide", **train_arguments(epochs=3))
    run = private_folder / "run"
    assert yaml.safe_load((run / "args.yaml").read_text())["cls_loss"] == "ema_slide"
    last = run / "weights" / "last.pt"
    with zipfile.ZipFile(last) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        imported = {
            arg for op, arg, _ in pickletools.genops(archive.read(pickled)) if op.name == "GLOBAL"
        }
    # stock Ultralytics opens it without any of ours
    assert not any("mlla" in name for name in imported)

    with pytest.raises(ValueError, match="the training to resume has 'ema_slide' and goes on"):
        YOLO(last).train(resume=True, cls_loss="focal")
    seen: list[object] = []

    def look(trainer: object) -> None:
        (loss,) = losses_of(trainer.model)
        seen.append((type(loss), loss.get_extra_state()))

    resumed = YOLO(last)
    resumed.add_callback("on_train_start", look)
    resumed.add_callback("on_train_end", look)
    resumed.train(resume=True)
    (kind, start), (_, end) = seen
    assert kind is EMASlideLoss
    # two batches an epoch
    assert (start["num_updates"], end["num_updates"]) == (2, 6)
    assert 0 < start["mean_overlap"] < 1
    assert yaml.safe_load((run / "args.yaml").read_text())["cls_loss"] == "ema_slide"

    again = YOLO(run / "weights" / "best.pt")
    again.add_callback("on_train_end", lambda t: seen.append(type(losses_of(t.model)[0])))
    again.train(data=data, **train_arguments(name="again"))
    assert seen[-1] is nn.BCEWithLogitsLoss
    assert "cls_loss" not in YOLO(private_folder / "again" / "weights" / "last.pt").model.yaml
    assert "cls_loss" not in (private_folder / "again" / "args.yaml").read_text()


def test_after_a_recovery_from_nan_validation_is_plain_again(
    dataset: Dataset, train_arguments: Arguments
) -> None:
    model = YOLO("yolov8n.yaml")

    def copy_as_in_a_recovery(trainer: object) -> None:
        trainer.ema.ema.criterion = trainer.model.criterion

    seen: list[type] = []
    model.add_callback("on_train_epoch_start", copy_as_in_a_recovery)
    model.add_callback("on_fit_epoch_end", lambda t: seen.append(type(losses_of(t.ema.ema)[0])))
    model.train(data=str(dataset("detect")), cls_loss="slide", **train_arguments())
    assert set(seen) == {nn.BCEWithLogitsLoss}


def test_a_model_interrupted_in_memory_saves_without_its_criterion(private_folder: Path) -> None:
    model = YOLO("yolov8n.yaml")
    model.model = started("yolov8n", cls_loss="slide").model
    model.save(private_folder / "saved.pt")
    assert getattr(YOLO("saved.pt").model, "criterion", None) is None
    assert type(losses_of(model.model)[0]) is SlideLoss


# -- child processes ---------------------------------------------------------------------------


def test_the_children_of_a_multi_gpu_training_know_the_loss(
    dataset: Dataset,
    train_arguments: Arguments,
    private_folder: Path,
    fresh_python: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # what Ultralytics writes for one process per GPU; run here, it trains on the CPU
    if VERSION >= (8, 4, 145):
        pytest.importorskip("cloudpickle", reason="Ultralytics sends the model by cloudpickle")
    written: list[str] = []

    def write(trainer: object) -> None:
        devices, trainer.args.device = trainer.args.device, "cpu"
        assert devices == "0,1"
        written.append(generate_ddp_file(trainer))

    monkeypatch.setattr(StockTrainer, "train", write)
    model = YOLO("yolov8n-mlla")
    arguments = {**train_arguments(), "data": str(dataset("detect")), "cls_loss": "slide"}
    trainer = TRAINERS["detect"](
        overrides={**arguments, "model": "yolov8n-mlla.yaml"}, _callbacks=model.callbacks
    )
    trainer.hub_session = None
    trainer.args.device = "0,1"
    if VERSION >= (8, 4, 145):
        trainer.model = trainer.get_model(cfg=model.model.yaml, weights=None)
    trainer.train()
    try:
        fresh_python(
            "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", written[0]
        )
    finally:
        ddp_cleanup(trainer, written[0])
    assert YOLO(private_folder / "run" / "weights" / "last.pt").model.yaml["cls_loss"] == "slide"
    arguments = yaml.safe_load((private_folder / "run" / "args.yaml").read_text())
    assert arguments["cls_loss"] == "slide"


# -- the command, and every combination --------------------------------------------------------


@pytest.mark.slow
def test_the_command_trains_stops_and_resumes_with_it(
    dataset: Dataset, private_folder: Path, fresh_python: Callable[..., str]
) -> None:
    words = [
        "train",
        "model=yolov8n-mlla",
        f"data={dataset('detect')}",
        "--cls-loss=slide",
        "imgsz=64",
        "batch=2",
        "workers=0",
        "device=cpu",
        "plots=False",
        "epochs=2",
    ]
    # Ctrl-C after the first epoch
    stop = (
        "import sys\n"
        "from mlla.cli import main\n"
        "from mlla.yolo.trainers import OurModels\n"
        "save = OurModels.save_model\n"
        "def save_and_stop(self):\n"
        "    save(self)\n"
        "    if not self.resume:\n"
        "        raise KeyboardInterrupt\n"
        "OurModels.save_model = save_and_stop\n"
        "print('exit', main(sys.argv[1:]))\n"
    )
    output = fresh_python(stop, *words)
    assert "exit 130" in output
    run = private_folder / "runs" / "detect" / "train"
    last = run / "weights" / "last.pt"
    assert f"mlla: to go on: mlla train resume={last}" in output
    assert yaml.safe_load((run / "args.yaml").read_text())["cls_loss"] == "slide"
    (run / "args.yaml").unlink()
    assert "exit 0" in fresh_python(stop, "train", f"resume={last}")
    assert yaml.safe_load((run / "args.yaml").read_text())["cls_loss"] == "slide"


@pytest.mark.slow
def test_stock_resume_reverts_to_binary_cross_entropy(
    dataset: Dataset,
    train_arguments: Arguments,
    private_folder: Path,
    fresh_python: Callable[..., str],
) -> None:
    model = YOLO("yolov8n.yaml")

    def interrupt(trainer: object) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train(data=str(dataset("detect")), cls_loss="slide", **train_arguments(epochs=3))
    output = fresh_python(
        "import sys\n"
        "from ultralytics import YOLO\n"
        "model = YOLO(sys.argv[1])\n"
        "model.add_callback('on_train_end', lambda t: print('bce is', t.model.criterion.bce))\n"
        "model.train(resume=True)\n",
        private_folder / "run" / "weights" / "last.pt",
    )
    assert "bce is BCEWithLogitsLoss()" in output


@pytest.mark.slow
@pytest.mark.skipif(VERSION < (8, 4, 0), reason="YOLO26 came with 8.4")
def test_both_criteria_of_yolo26_go_on_where_they_were(
    dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    model = YOLO("yolo26n.yaml")

    def interrupt(trainer: object) -> None:
        if trainer.epoch == 2:
            raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train(data=str(dataset("detect")), cls_loss="ema_slide", **train_arguments(epochs=4))
    seen: list[object] = []

    def look(trainer: object) -> None:
        criterion = trainer.model.criterion
        seen.extend(loss.get_extra_state()["num_updates"] for loss in losses_of(trainer.model))
        # Ultralytics' own course from one-to-many to one-to-one
        seen.append(criterion.updates)

    resumed = YOLO(private_folder / "run" / "weights" / "last.pt")
    resumed.add_callback("on_train_start", look)
    resumed.train(resume=True)
    assert seen == [4, 4, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_one_epoch_with_every_loss_and_again_from_its_arguments(
    name: str,
    dataset: Dataset,
    train_arguments: Arguments,
    private_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a detector that has learnt nothing has targets so small that slide leaves them alone
    monkeypatch.setattr("mlla.losses.slide.SMALLEST_MEAN", 0.0)
    data = str(dataset("detect"))
    YOLO("yolov8n-mlla").train(data=data, cls_loss=name, **train_arguments(name="a"))
    YOLO("yolov8n-mlla").train(data=data, **train_arguments(name="plain"))
    # the arguments of the run are written beside it, and the loss is among them
    arguments = yaml.safe_load((private_folder / "a" / "args.yaml").read_text())
    del arguments["save_dir"]
    Path("again.yaml").write_text(yaml.safe_dump({**arguments, "name": "b"}))
    YOLO("yolov8n-mlla").train(cfg="again.yaml")
    ours, plain, again = (
        YOLO(private_folder / run / "weights" / "last.pt").model.float().state_dict()
        for run in ("a", "plain", "b")
    )
    assert all(tensor.isfinite().all() for tensor in ours.values())
    assert not all(torch.equal(tensor, plain[key]) for key, tensor in ours.items())
    assert all(torch.equal(tensor, again[key]) for key, tensor in ours.items())


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_one_epoch_of_every_family(
    model: str, dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    detector = YOLO(f"{model}.yaml")
    data = str(dataset(detector.task))
    detector.train(data=data, cls_loss="slide", **train_arguments())
    assert results(private_folder / "run")["train/cls_loss"] > 0
    assert YOLO(private_folder / "run" / "weights" / "last.pt").model.yaml["cls_loss"] == "slide"


@pytest.mark.slow
@pytest.mark.skipif(VERSION < (8, 4, 0), reason="weights of classes came with 8.4")
def test_weights_of_classes_work_with_it(
    dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    for name in ("bce", "varifocal"):
        arguments = train_arguments(cls_pw=1.0, name=name)
        YOLO("yolov8n.yaml").train(data=str(dataset("detect")), cls_loss=name, **arguments)
    plain, other = (results(private_folder / name) for name in ("bce", "varifocal"))
    assert other["train/cls_loss"] != plain["train/cls_loss"]


def test_the_trainers_are_importable_by_name() -> None:
    for task in ("detect", "segment", "pose", "obb"):
        trainer = TRAINERS[task]
        assert issubclass(trainer, ChoosesClassLoss)
        assert getattr(sys.modules["mlla.yolo.trainers"], trainer.__name__) is trainer
