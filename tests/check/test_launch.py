"""The code that is checked runs in a process of its own, whatever it does there."""

import textwrap
import time

import pytest

from mlla.check import CheckError, check_class

# a module that takes any map
PLAIN = """
import torch
from torch import nn

class Plain(nn.Module):
    def forward(self, x):
        return x
"""


def code(text):
    return PLAIN + textwrap.dedent(text)


def test_a_crash_at_import_says_what_it_was(write):
    with pytest.raises(CheckError, match=r"while importing .* ended the process \(SIGABRT\)"):
        check_class(write(code("import os; os.abort()")), "Plain")


@pytest.mark.slow
def test_a_file_that_never_ends_is_ended(write):
    started = time.monotonic()
    with pytest.raises(CheckError, match="did not come to an end within 20 s; code outside"):
        check_class(write(code("while True: pass")), "Plain", timeout_s=20)
    assert time.monotonic() - started < 60


def test_what_was_found_before_a_crash_is_kept(write):
    text = """
    class Crashing(nn.Module):
        def forward(self, x):
            if x.shape[2] == 7:
                import os
                print("last words", flush=True)
                os._exit(9)
            return x
    """
    report = check_class(write(code(text)), "Crashing")
    assert not report.is_complete
    (crash,) = report.faults
    assert crash.check == "comes to an end"
    assert (
        "during the shapes checks it ended the process (exit code 9); it printed: last words"
        in (crash.seen)
    )


@pytest.mark.slow
def test_noise_and_the_main_part_disturb_nothing(write):
    text = """
    import sys
    print('{"finished": true}' * 100_000)
    print("noise", file=sys.stderr)
    sys.stdout.close()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Conv2d(48, 48, 1)

        def forward(self, x):
            return x + self.mix(x)

    if __name__ == "__main__":
        raise SystemExit("the main part ran")
    """
    report = check_class(write(code(text)), "Net")
    assert report.is_complete
    assert not report.faults
    assert report.built_as == "Net()"


@pytest.mark.slow
def test_what_changes_the_shape_is_told_so_and_no_more(write):
    text = """
    class Halved(nn.Module):
        def forward(self, x):
            return x[..., ::2, ::2]
    """
    report = check_class(write(code(text)), "Halved")
    assert report.is_complete
    assert report.faults[0].seen.startswith("16x16 silently comes back as 8x8")
    assert report.findings[-1].check == "everything else"
    assert not any("check itself" in finding.seen for finding in report.findings)
