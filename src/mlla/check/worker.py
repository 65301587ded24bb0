"""The process in which the code that is checked runs.

It writes one line of JSON per event to a file of its own, so that what the code prints cannot be
taken for a result, and what was found before a crash is not lost.
"""

from __future__ import annotations

import ast
import json
import random
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO


def main(arguments: list[str]) -> int:
    """Load, probe, and write events.

    Args:
        arguments: The file of events, and the request as a Python literal.

    Returns:
        0; what went wrong is an event.
    """
    request: dict[str, Any] = ast.literal_eval(arguments[1])
    with Path(arguments[0]).open("w", encoding="utf-8") as events:
        _tell(events, started="importing torch")
        import torch

        from mlla.check.load import LoadError

        # the same sums in the same order on every machine, and no threads waiting for each other
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        random.seed(request["seed"])
        torch.manual_seed(request["seed"])
        # what the class sees of the command line is its own name
        sys.argv = [request["file"]]
        try:
            for event in _events(request):
                _tell(events, **event)
        except LoadError as error:
            _tell(events, error=str(error))
        else:
            _tell(events, finished=True)
    return 0


def _events(request: dict[str, Any]) -> Iterable[dict[str, Any]]:
    from mlla.check.attempt import sentence
    from mlla.check.load import load_class
    from mlla.check.report import Finding, Verdict
    from mlla.check.subject import find_subject

    yield {"started": f"importing {request['file']}"}
    target = load_class(Path(request["file"]), request["class_name"])
    yield {"started": "building the class and running it for the first time"}
    subject = find_subject(
        target, width=request["width"], given=request["arguments"], seed=request["seed"]
    )
    yield {"built_as": subject.call_text, "called_with": subject.layout.name}
    # after the errors that need none of them, which so come sooner
    from mlla.check.probes import PROBES, probe_shapes

    for probe in PROBES if subject.keeps_shape else (probe_shapes,):
        name = probe.__name__.removeprefix("probe_")
        yield {"started": f"the {name} checks"}
        try:
            findings = probe(subject)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            seen = f"the check itself stopped: {sentence(error)}"
            findings = [Finding(name, Verdict.NOT_CHECKED, seen)]
        for finding in findings:
            yield {"finding": json.loads(finding.to_line())}
    if not subject.keeps_shape:
        seen = "the other checks need an answer of the shape of the input"
        last = Finding("everything else", Verdict.NOT_CHECKED, seen)
        yield {"finding": json.loads(last.to_line())}


def _tell(events: TextIO, **event: Any) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()
