"""Checkpoints are read without running anything in them, and read right."""

import io
import os
import pickle
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import ARGUMENTS, network, write_checkpoint
from torch import nn

from mlla.study.audit.checkpoint import CheckpointError, read_checkpoint
from mlla.study.audit.inert_pickle import plain, read_inert
from mlla.study.audit.trust import foreign_names, refuse_foreign


def no_storage(_pid: object) -> None:
    return None


class RunsCommand:
    """What an attacker puts into a pickle."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.fixture
def file(tmp_path):
    return write_checkpoint(tmp_path / "best.pt", ARGUMENTS, network())


def test_names_shapes_and_values_are_those_that_torch_loads(file):
    state = torch.load(file, weights_only=False)["model"].state_dict()
    read = read_checkpoint(file)
    assert {name: tuple(t.shape) for name, t in state.items()} == {
        name: stored.shape for name, stored in read.tensors.items()
    }
    values = dict(read.values(list(state)))
    assert set(values) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(values[name], tensor.numpy())


def test_views_and_shared_storages_keep_their_values(tmp_path):
    made = network()
    weight = made.model[0].weight
    # transposed, and a part of a larger storage
    made.model[0].weight = nn.Parameter(weight.detach().permute(0, 1, 3, 2))
    made.model[1].bias = nn.Parameter(torch.arange(40).half()[3:19])
    file = write_checkpoint(tmp_path / "best.pt", ARGUMENTS, made)
    values = dict(read_checkpoint(file).values(["model.0.weight", "model.1.bias"]))
    np.testing.assert_array_equal(values["model.0.weight"], made.model[0].weight.detach().numpy())
    np.testing.assert_array_equal(values["model.1.bias"], np.arange(3, 19))


def test_buffers_count_as_tensors_and_not_as_parameters(file):
    made = network()
    read = read_checkpoint(file)
    assert read.num_parameters == sum(p.numel() for p in made.parameters())
    assert "model.2.running_mean" in read.tensors


def test_facts_of_the_training_are_read(tmp_path):
    arguments = {**ARGUMENTS, "project": Path("runs") / "detect"}
    file = write_checkpoint(
        tmp_path / "last.pt",
        arguments,
        network(),
        version="8.3.70",
        finished=False,
        # older releases store numbers of numpy
        scores={"metrics/mAP50-95(B)": np.float64(0.25)},
        commit="abc",
    )
    read = read_checkpoint(file)
    assert (read.version, read.is_finished, read.commit) == ("8.3.70", False, "abc")
    assert read.date == "2026-01-01T00:00:00"
    assert read.metrics == {"metrics/mAP50-95(B)": 0.25}
    assert read.arguments["project"] == "runs/detect"
    assert read.arguments["epochs"] == 3
    assert read.config["nc"] == 2


def test_reading_runs_nothing_and_says_what_loading_would_run(tmp_path):
    target = tmp_path / "made-by-attack"
    made = network()
    made.extra = RunsCommand(target)
    file = write_checkpoint(tmp_path / "best.pt", ARGUMENTS, made)
    read = read_checkpoint(file)
    assert not target.exists()
    assert foreign_names(read) == ["posix.mkdir"]
    with pytest.raises(ValueError, match=r"posix\.mkdir.*trust=True"):
        refuse_foreign(read, trust=False)
    refuse_foreign(read, trust=True)
    # the attack is a real one
    torch.load(file, weights_only=False)
    assert target.exists()


class PastedAttention(nn.Module):
    pass


def test_layers_of_others_are_foreign_and_those_of_torch_are_not(tmp_path, file):
    assert foreign_names(read_checkpoint(file)) == []
    made = network()
    made.model.append(PastedAttention())
    read = read_checkpoint(write_checkpoint(tmp_path / "own.pt", ARGUMENTS, made))
    assert foreign_names(read) == [f"{__name__}.PastedAttention"]


@pytest.mark.parametrize(
    "attack",
    [
        # a trusted prefix, and through it what the module has imported
        b"\x80\x04\x8c\x14ultralytics.nn.tasks\x8c\x09os.system\x93\x8c\x02id\x85R.",
        # a layer that is called, whose constructor may evaluate its arguments
        b"cultralytics.nn.tasks\nDetectionModel\n(S'x'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"(S'1'\nibuiltins\neval\n.",
    ],
)
def test_tricks_of_pickle_are_foreign(attack, tmp_path):
    file = tmp_path / "best.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "best/data.pkl", b"(dS'model'\n" + attack.removeprefix(b"\x80\x04")[:-1] + b"s."
        )
    assert foreign_names(read_checkpoint(file))


def test_objects_of_any_container_class_are_read():
    class OwnList(list):
        pass

    class OwnDict(dict):
        pass

    globals().update(OwnList=OwnList, OwnDict=OwnDict)
    for cls in (OwnList, OwnDict):
        cls.__qualname__ = cls.__name__
    text = pickle.dumps([OwnList([1, 2]), OwnDict(a=1), {3}, 2 + 1j], protocol=2)
    content, names = read_inert(io.BytesIO(text), no_storage)
    assert content[0].state == [1, 2]
    assert content[1].state == {"a": 1}
    assert content[2] == {3}
    assert "builtins.complex" in names.called or "__builtin__.complex" in names.called
    assert plain(content[0]) == [1, 2]


def test_two_pickles_in_one_file_are_refused(tmp_path, file):
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("other/data.pkl", b"N.")
    with pytest.raises(CheckpointError, match="2 entries"):
        read_checkpoint(file)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"\x80\x02}."])
def test_other_files_are_said_to_be_none(content, tmp_path):
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        read_checkpoint(tmp_path / "best.pt")


@settings(max_examples=60)
@given(data=st.data())
def test_damage_anywhere_is_an_error_or_harmless(data, tmp_path_factory):
    whole = write_checkpoint(
        tmp_path_factory.mktemp("whole") / "best.pt", ARGUMENTS, network()
    ).read_bytes()
    # the pickle begins behind a header of 64 bytes
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    if data.draw(st.booleans()):
        damaged = damaged[:place]
    else:
        damaged[place] ^= data.draw(st.integers(1, 255))
    file = tmp_path_factory.mktemp("damaged") / "best.pt"
    file.write_bytes(damaged)
    with suppress(CheckpointError):
        read = read_checkpoint(file)
        list(read.values(list(read.tensors)))


@settings(max_examples=150)
@given(place=st.integers(0, 3000), value=st.integers(0, 255))
def test_damaged_pickles_are_an_error_or_harmless(place, value, tmp_path_factory):
    file = write_checkpoint(tmp_path_factory.mktemp("whole") / "best.pt", ARGUMENTS, network())
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    damaged = bytearray(parts[name])
    damaged[place % len(damaged)] = value
    with zipfile.ZipFile(file, "w") as archive:
        for part, content in {**parts, name: bytes(damaged)}.items():
            archive.writestr(part, content)
    with suppress(CheckpointError):
        read = read_checkpoint(file)
        list(read.values(list(read.tensors)))
        foreign_names(read)
