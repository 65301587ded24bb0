"""The one exception that means: the input or an argument is wrong, and here is the remedy."""

from __future__ import annotations


class DataError(ValueError):
    """A data set, a path or an argument that cannot be used as it is.

    The message names what was given, what is wrong with it and what to do, so that a command can
    print it without a traceback.
    """
