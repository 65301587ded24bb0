# SPDX-License-Identifier: AGPL-3.0-only
"""The `activation` of a model configuration, kept to that model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ultralytics.nn.modules import Conv


@contextmanager
def own_activation() -> Iterator[None]:
    """Let what is built inside choose its activation, and the networks after it their own.

    Older releases of Ultralytics write the activation of a configuration into the class of all
    convolutions and leave it there.
    """
    before = Conv.default_act
    try:
        yield
    finally:
        Conv.default_act = before
