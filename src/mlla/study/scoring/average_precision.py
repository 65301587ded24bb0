"""Average precision of one run on many resamples of its images.

A resample is a number of copies of each image. The matches of a run do not depend on it, so they
are found once, and thousands of resamples take seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mlla.study.scoring.matches import Matches

# as the evaluators of COCO place them
RECALLS = np.linspace(0.0, 1.0, 101)


def average_precision(
    matches: Matches, copies: Int[np.ndarray, "R I"]
) -> Float[np.ndarray, "R K T"]:
    """Compute average precision in the protocol of COCO, compiled.

    Args:
        matches: Matches of a run.
        copies: How often each image occurs in each resample.

    Returns:
        Average precision of every resample, class and IoU threshold; NaN for a class without any
        object.

    Raises:
        ValueError: If `copies` is not one whole number for each image.

    Source: the evaluation code of COCO, "accumulate", with weights for copies.
    """
    _check(matches, copies)
    result = np.empty((len(copies), len(matches.objects), len(matches.hit)))
    hit_first, hit_at = _hits(matches)
    _compiled()(
        matches.first,
        matches.image,
        matches.ignored,
        hit_first,
        hit_at,
        copies.astype(np.int64) @ matches.objects.T,
        copies.astype(np.int64),
        RECALLS,
        result,
    )
    return result


def average_precision_reference(
    matches: Matches, copies: Int[np.ndarray, "R I"]
) -> Float[np.ndarray, "R K T"]:
    """Compute `average_precision` with numpy, one resample, class and threshold after another."""
    _check(matches, copies)
    result = np.full((len(copies), len(matches.objects), len(matches.hit)), np.nan)
    for resample, weights in enumerate(copies):
        for row in range(len(matches.objects)):
            num_objects = weights @ matches.objects[row]
            if num_objects == 0:
                continue
            part = slice(matches.first[row], matches.first[row + 1])
            weight = weights[matches.image[part]]
            for threshold, (hit, ignored) in enumerate(
                zip(matches.hit[:, part], matches.ignored[:, part], strict=True)
            ):
                hits = np.cumsum(weight * (hit & ~ignored))
                misses = np.cumsum(weight * (~hit & ~ignored))
                precision = hits / (hits + misses + np.spacing(1))
                envelope = np.maximum.accumulate(precision[::-1])[::-1]
                place = np.searchsorted(hits / num_objects, RECALLS, side="left")
                reached = np.append(envelope, 0.0)[np.minimum(place, len(envelope))]
                result[resample, row, threshold] = reached.mean()
    return result


def mean_average_precision(
    table: Float[np.ndarray, "R K T"],
) -> Float[np.ndarray, " R"]:
    """Average over IoU thresholds and over the classes that have objects in the resample."""
    per_class = table.mean(axis=2)
    present = ~np.isnan(per_class)
    return np.where(present, per_class, 0.0).sum(axis=1) / present.sum(axis=1)


def _check(matches: Matches, copies: Int[np.ndarray, "R I"]) -> None:
    num_images = matches.objects.shape[1]
    if copies.ndim != 2 or copies.shape[1] != num_images or copies.dtype.kind not in "iu":
        raise ValueError(
            f"copies has shape {copies.shape} and type {copies.dtype}, but must hold whole numbers "
            f"of shape (resamples, {num_images}), one for each image"
        )


@cache
def _compiled() -> Callable[..., None]:
    # importing numba takes a while, and only studies need this
    import numba

    decorate: Any = numba.njit(cache=True, nogil=True)
    return decorate(_accumulate)


def _hits(matches: Matches) -> tuple[Int[np.ndarray, "T K+1"], Int[np.ndarray, " H"]]:
    """Return where the hits of each threshold and class begin, and their detections."""
    counted = matches.hit & ~matches.ignored
    thresholds, hit_at = np.nonzero(counted)
    # every threshold has its detections in a row of its own
    size = counted.shape[1] + 1
    places = thresholds * size + hit_at
    starts = np.arange(len(counted))[:, None] * size + matches.first
    return np.searchsorted(places, starts), hit_at


def _accumulate(
    first: Any,
    image: Any,
    ignored: Any,
    hit_first: Any,
    hit_at: Any,
    num_objects: Any,
    copies: Any,
    recalls: Any,
    result: Any,
) -> None:
    """Fill `result`; plain loops, which numba compiles.

    Precision is highest at hits, so between them only the number of detections matters, which all
    thresholds share unless they ignore some.
    """
    num_resamples, num_classes, num_thresholds = result.shape
    recall, precision = np.empty(image.size), np.empty(image.size)
    seen, counted = np.empty(image.size, np.int64), np.empty(image.size, np.int64)
    for r in range(num_resamples):
        for k in range(num_classes):
            positives = num_objects[r, k]
            total = 0
            for d in range(first[k], first[k + 1]):
                total += copies[r, image[d]]
                seen[d] = total
            for t in range(num_thresholds):
                if positives == 0:
                    result[r, k, t] = np.nan
                    continue
                before = seen
                if ignored[t, first[k] : first[k + 1]].any():
                    before, total = counted, 0
                    for d in range(first[k], first[k + 1]):
                        if not ignored[t, d]:
                            total += copies[r, image[d]]
                        counted[d] = total
                hits, steps = 0, 0
                for h in range(hit_first[t, k], hit_first[t, k + 1]):
                    weight = copies[r, image[hit_at[h]]]
                    if weight == 0:
                        continue
                    hits += weight
                    recall[steps] = hits / positives
                    precision[steps] = hits / (before[hit_at[h]] + 2.220446049250313e-16)
                    steps += 1
                # from the highest recall down, with the best precision seen so far
                area, best, step = 0.0, 0.0, steps - 1
                for place in range(recalls.size - 1, -1, -1):
                    while step >= 0 and recall[step] >= recalls[place]:
                        best = max(best, precision[step])
                        step -= 1
                    area += best
                result[r, k, t] = area / recalls.size
