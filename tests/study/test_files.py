"""Files are written whole or not at all."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mlla.study.files import file_digest, read_json, write_json, write_whole


def test_text_and_bytes_arrive_as_they_are(tmp_path):
    write_whole(tmp_path / "a.txt", "Größe\n")
    assert (tmp_path / "a.txt").read_bytes() == b"Gr\xc3\xb6\xc3\x9fe\n"
    write_whole(tmp_path / "a.txt", b"\x00\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\x00\r\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_is_as_readable_as_any_other(tmp_path):
    write_whole(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_never_leaves_half_a_file(tmp_path):
    path = tmp_path / "a.txt"
    code = (
        "import sys; from mlla.study.files import write_whole\n"
        "while True:\n"
        "    for letter in 'ab': write_whole(sys.argv[1], letter * 3_000_000)\n"
    )
    for wait in (0.0, 0.01, 0.02, 0.03, 0.05):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        text = path.read_text()
        assert len(text) == 3_000_000
        assert len(set(text)) == 1


def test_json_goes_out_and_comes_back(tmp_path):
    write_json(tmp_path / "a.json", {"name": "größer", "values": [1, None]})
    assert read_json(tmp_path / "a.json") == {"format": 1, "name": "größer", "values": [1, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not the file that was written"), ("[]", "format None"), ('{"format": 2}', "format 2")],
)
def test_json_of_others_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json")


def test_numbers_that_json_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_the_digest_is_that_of_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # the example of FIPS 180-4
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "a") == expected
