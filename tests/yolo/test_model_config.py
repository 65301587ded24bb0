"""From a name or a YAML file to a model: scales, folders, tasks and what is wrong with a file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import mlla
from mlla.yolo import YOLO, model_config, model_names
from mlla.yolo.config import is_packaged
from mlla.yolo.names import FOLDER, packaged

SCALES = {"n": [0.33, 0.25, 1024], "s": [0.33, 0.5, 1024]}


def write_yaml(path: Path, rows: list[list[object]], **changes: object) -> Path:
    """Write a two-class classifier: one convolution, the rows, the head."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {
        "nc": 2,
        "backbone": [[-1, 1, "Conv", [32, 3, 2]], *rows],
        "head": [[-1, 1, "Classify", ["nc"]]],
        **changes,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def first_width(model: YOLO) -> int:
    return model.model.model[0].conv.out_channels


# -- names and scales --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "width"),
    [
        ("yolov8n-own", 8),
        ("yolov8s-own", 16),
        ("yolo11s-own", 16),
        ("yolov8s_own", 16),
        ("my-yolov8s", 16),
        # no scale asked for: the first one of the file
        ("yolov8-own", 8),
        ("own", 8),
        # the letter belongs to a word
        ("yolov8steel", 8),
    ],
)
def test_the_scale_is_a_letter_in_the_name_of_the_file(
    private_folder: Path, stem: str, width: int
) -> None:
    file = write_yaml(private_folder / f"{stem}.yaml", [], scales=SCALES)
    assert first_width(YOLO(file)) == width


def test_a_file_serves_all_scales_under_its_unscaled_name(private_folder: Path) -> None:
    write_yaml(private_folder / "yolov8-own.yaml", [], scales=SCALES)
    assert first_width(YOLO("yolov8n-own.yaml")) == 8
    assert first_width(YOLO("yolov8s-own.yaml")) == 16


@pytest.mark.parametrize("folder", ["env3n", "yolov8x", "env3n/runs2s", "with space"])
def test_the_folder_of_a_file_says_nothing_about_its_scale(
    private_folder: Path, folder: str
) -> None:
    write_yaml(private_folder / folder / "yolov8-own.yaml", [], scales=SCALES)
    assert first_width(YOLO(f"{folder}/yolov8n-own.yaml")) == 8
    assert first_width(YOLO(private_folder / folder / "yolov8s-own.yaml")) == 16


def test_the_package_works_from_a_folder_that_looks_like_a_scale(
    private_folder: Path, fresh_python: Callable[..., str]
) -> None:
    package = Path(mlla.__file__).parent
    copied = private_folder / "env3n" / "lib"
    shutil.copytree(package, copied / "mlla", ignore=shutil.ignore_patterns("__pycache__"))
    output = fresh_python(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import mlla.yolo\n"
        "assert mlla.yolo.__file__.startswith(sys.argv[1]), mlla.yolo.__file__\n"
        "for name in ('yolov8n-mlla', 'yolov8s-c2f-mlla.yaml'):\n"
        "    model = mlla.yolo.YOLO(name)\n"
        "    print(name, model.model.model[0].conv.out_channels)\n",
        copied,
    )
    assert "yolov8n-mlla 16\n" in output
    assert "yolov8s-c2f-mlla.yaml 32\n" in output


def test_a_local_file_wins_over_a_packaged_one(private_folder: Path) -> None:
    write_yaml(private_folder / "yolov8-mlla.yaml", [], scales=SCALES)
    assert len(YOLO("yolov8n-mlla.yaml").model.model) == 2


def test_a_scale_that_the_file_lacks_is_named(private_folder: Path) -> None:
    write_yaml(private_folder / "yolov8-own.yaml", [], scales=SCALES)
    with pytest.raises(ValueError, match="asks for scale 'x', but the file has n, s"):
        YOLO("yolov8x-own.yaml")


# scales whose letters Ultralytics does not read stand at the end of a name
OTHER_LETTERS = {"t": [0.33, 0.25, 1024], "b": [0.33, 0.5, 1024]}


@pytest.mark.parametrize(("stem", "width"), [("own-t", 8), ("own-b", 16), ("yolo11-own-b", 16)])
@pytest.mark.parametrize("is_copy", [False, True])
def test_other_letters_stand_at_the_end(
    private_folder: Path, stem: str, width: int, is_copy: bool
) -> None:
    file = f"{stem}.yaml" if is_copy else f"{stem[:-2]}.yaml"
    write_yaml(private_folder / file, [], scales=OTHER_LETTERS)
    assert first_width(YOLO(f"{stem}.yaml")) == width


def test_a_letter_at_the_end_is_a_scale_only_where_the_file_says_so(private_folder: Path) -> None:
    # Ultralytics would not read it, and takes the first
    write_yaml(private_folder / "own-s.yaml", [], scales=SCALES)
    assert first_width(YOLO("own-s.yaml")) == 8
    write_yaml(private_folder / "own.yaml", [], scales=OTHER_LETTERS)
    with pytest.raises(FileNotFoundError):
        YOLO("own-c.yaml")


def test_the_only_scale_of_a_file_needs_no_letter(
    private_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yaml(private_folder / "own.yaml", [], scales={"l": [1.0, 0.5, 1024]})
    assert first_width(YOLO("own.yaml")) == 16
    assert "no model scale passed" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "file", "scale", "suffix"),
    [
        ("yolov8n-mlla", "yolov8-mlla", "n", ""),
        ("yolo11x-c3k2-mlla-seg", "yolo11-c3k2-mlla", "x", "seg"),
        ("mamba-yolo-l", "mamba-yolo", "l", ""),
        ("yolo11-mamba-t-obb", "yolo11-mamba", "t", "obb"),
        ("rtdetr-l-mlla", "rtdetr-l-mlla", "l", ""),
        ("yolov8-mlla", "yolov8-mlla", "", ""),
    ],
)
def test_a_packaged_name_is_read_in_its_own_form(
    name: str, file: str, scale: str, suffix: str
) -> None:
    asked = packaged(name)
    assert (asked.file.stem, asked.scale, asked.suffix) == (file, scale, suffix)
    assert asked.offered
    assert is_packaged(name)
    assert is_packaged(f"{name}.yaml")


@pytest.mark.parametrize(
    "name",
    [
        *("yolov8-mlla-n", "yolov8t-mlla", "yolo11n-mamba", "yolo11-mamba-l", "mamba-yolo-n"),
        *(
            "rtdetr-x-mlla",
            "rtdetr-ll-mlla",
            "yolov8n-mlla-depth",
            "yolo11n",
            "yolov8n-mlla-seg-seg",
        ),
    ],
)
def test_other_forms_are_no_packaged_names(name: str) -> None:
    assert not is_packaged(name)


def test_every_listed_name_is_a_configuration_at_its_scale() -> None:
    names = list(model_names())
    assert len(names) == len(set(names)) > 300
    for name in names[:: len(names) // 40]:
        config = model_config(name)
        assert config["scale"] == packaged(name).scale
        assert config["scale"] in config["scales"]


def test_stock_names_still_work() -> None:
    assert YOLO("yolov8n.yaml").task == "detect"
    assert len(YOLO("yolov8n.yaml").model.state_dict()) == 355


def test_a_configuration_is_copied_not_changed() -> None:
    config = model_config("yolov8n-mlla")
    again = model_config(config)
    again["backbone"][0][3][0] = 1
    assert config["backbone"][0][3][0] == 64


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("yolov8n-mla.yaml", "yolov8n-mlla.yaml"),
        ("yolov8n-c2fmlla.yaml", "yolov8n-c2f-mlla.yaml"),
        ("yolov8n-mlla-backbon.yaml", "yolov8n-mlla-backbone.yaml"),
        ("yolov9n-mlla.yaml", "yolov8n-mlla.yaml"),
        ("yolov8q-mlla.yaml", "yolov8n-mlla.yaml"),
        ("nowhere/yolov8n-mlla.yaml", "yolov8n-mlla.yaml"),
    ],
)
def test_an_unknown_name_gives_the_nearest(name: str, near: str) -> None:
    with pytest.raises(FileNotFoundError, match="neither a file nor a known model") as error:
        YOLO(name)
    assert near in str(error.value)


def test_an_unknown_name_without_suffix_gives_the_nearest() -> None:
    with pytest.raises(FileNotFoundError, match="does not exist") as error:
        YOLO("yolov8n-mla")
    assert "yolov8n-mlla" in str(error.value)


@pytest.mark.parametrize("name", ["yolov8n-mlla-cls", "yolov8x-mlla-cls.yaml", "yolov8-mlla-cls"])
def test_a_classifier_without_a_neck_says_what_to_use(name: str) -> None:
    scale = name[6].replace("-", "n")
    with pytest.raises(ValueError, match=rf"use yolov8{scale}-c2f-mlla-cls\.yaml, yolov8{scale}-"):
        YOLO(name)


def test_packaged_files_run_no_code_and_download_nothing() -> None:
    # Ultralytics evaluates `activation:`
    for file in FOLDER.glob("*.yaml"):
        keys = set(yaml.safe_load(file.read_text()))
        assert keys - {"end2end", "reg_max"} == {"nc", "scales", "backbone", "head"}


def test_every_name_has_a_file_of_its_family() -> None:
    served = {packaged(name).file for name in model_names()}
    assert served <= set(FOLDER.glob("*.yaml"))


# -- rows --------------------------------------------------------------------------------------


def test_a_misspelt_module_names_the_nearest(private_folder: Path) -> None:
    file = write_yaml(private_folder / "own.yaml", [[-1, 1, "C2fMLA", [64]]])
    with pytest.raises(ValueError, match=r"row 1 names the unknown module 'C2fMLA'\.") as error:
        YOLO(file)
    assert "Did you mean C2fMLLA" in str(error.value)


@pytest.mark.parametrize("module", ["nn.Silu", "torchvision.ops.Nothing", "MLLAttention"])
def test_an_unknown_module_is_named_with_the_rows_of_this_package(
    private_folder: Path, module: str
) -> None:
    file = write_yaml(private_folder / "own.yaml", [[-1, 1, module, [32]]])
    with pytest.raises(ValueError, match=r"Rows of this package: .*C2fMLLA, .*MLLABlocks"):
        YOLO(file)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([-1, 1, "MLLABlocks", [64]], "asks for 64 channels and gets 32"),
        ([-1, 1, "MLLABlocks", [32, 5]], "multiple of 4 and of head_dim=5"),
        ([-1, 1, "MLLABlocks", [32, 8.0]], "multiple of 4 and of head_dim=8.0"),
        ([-1, 1, "MLLABlocks", [32, True]], "multiple of 4 and of head_dim=True"),
        ([-1, 1, "MLLABlocks", [32, 0]], "multiple of 4 and of head_dim=0"),
        ([-1, 1, "MLLABlocks", [32, 32, "one"]], "gate='one' is unknown; choose 'zero'"),
        ([-1, 1, "C2fMLLA", [40]], "C2fMLLA works at 20 channels at this scale"),
        ([-1, 1, "C2fMLLA", [64, True]], "takes no shortcut argument"),
        ([-1, 1, "C2fMLLA", [64, False]], "takes no shortcut argument"),
        ([-1, 1, "C2fMLLA", [64, 0]], "expansion=0, which must be a positive number"),
        ([-1, 2, "MLLAStem", [32]], "MLLAStem cannot repeat, but its row asks for 2"),
        ([-1, 2, "MLLADownsample", [64]], "MLLADownsample cannot repeat, but its row asks for 2"),
        ([-1, 2, "MLLAFeatures", [512]], "MLLAFeatures cannot repeat, but its row asks for 2"),
        ([-1, 1, "MLLAFeatures", [512, "mlla_tny"]], "choose from mlla_tiny, mlla_small"),
        ([-1, 1, "Inserted", [32, 32, "cbam", "zero"]], "block='cbam' is unknown; choose from"),
        ([-1, 1, "Inserted", [32, 32, "mlla", "one"]], "gate='one' is unknown; choose 'zero'"),
        ([-1, 1, "MLLABlocks", []], "its first argument is its width"),
        ([[-1, 0], 1, "MLLABlocks", [32]], "MLLABlocks reads one row"),
        ([5, 1, "MLLABlocks", [32]], "row 1 reads from 5, which is no row before it"),
        ([-3, 1, "MLLABlocks", [32]], "row 1 reads from -3, which is no row before it"),
        ([-1, 1, "Conv"], "a row is [from, repeats, module, [arguments]]"),
        ([-1, 1, "Conv", 32], "a row is [from, repeats, module, [arguments]]"),
        ([-1, 0, "Conv", [32]], "a row is [from, repeats, module, [arguments]]"),
        (["a", 1, "Conv", [32]], "a row is [from, repeats, module, [arguments]]"),
        ([[], 1, "Concat", [1]], "a row is [from, repeats, module, [arguments]]"),
        ([-1, 1, None, [32]], "a row is [from, repeats, module, [arguments]]"),
        ("Conv", "a row is [from, repeats, module, [arguments]]"),
    ],
)
def test_a_wrong_row_says_what_is_wrong(private_folder: Path, row: object, message: str) -> None:
    file = write_yaml(private_folder / "own.yaml", [row])
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared below)
        YOLO(file)
    assert message in str(error.value)


def test_a_width_that_does_not_split_into_heads_is_named_at_its_scale(
    private_folder: Path,
) -> None:
    rows = [[-1, 1, "MLLABlocks", [32]]]
    write_yaml(private_folder / "yolov8-own.yaml", rows, scales={"n": [1, 0.5, 1024]})
    with pytest.raises(ValueError, match="MLLABlocks works at 16 channels at this scale"):
        YOLO("yolov8n-own.yaml")


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "nc: 2", "nc: 2\nbackbone: []\nhead: []", "backbone: {}\nhead: 3", "just words"],
)
def test_a_file_without_rows_says_what_a_configuration_needs(
    private_folder: Path, text: str
) -> None:
    file = private_folder / "own.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="needs the keys 'backbone' and 'head', each a list"):
        YOLO(file)


@pytest.mark.parametrize("content", [b"backbone: [1,", b"\x00\x01\xff\xfe", b"\xff" * 9])
def test_a_file_that_is_no_yaml_is_named(private_folder: Path, content: bytes) -> None:
    file = private_folder / "own.yaml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.yaml is not readable as YAML"):
        YOLO(file)
