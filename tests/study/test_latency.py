"""Times measured in turns, against a clock that tells what it should."""

import gc
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("scipy")
from mlla.study.costs import latency
from mlla.study.costs.latency import interleaved_seconds, latencies, median_with_interval


class Clock:
    """A clock that only moves when a call takes time, and a machine that slows down meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slowness, self.calls = 0.0, 1.0, []
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds * self.slowness
            self.slowness *= 1.001

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_every_round_runs_each_call_once(clock: Clock) -> None:
    calls = {name: clock.call(name, 0.01) for name in "abc"}
    times = interleaved_seconds(calls, seconds_per_arm=0.5)
    rounds = np.array(clock.calls).reshape(-1, 3)
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds.tolist())
    # in no fixed order
    assert len({tuple(one) for one in rounds.tolist()}) == 6
    assert {len(part) for part in times.values()} == {len(rounds) - latency.WARM_UP_ROUNDS}


def test_a_machine_that_slows_down_does_not_change_the_ratio(clock: Clock) -> None:
    calls = {"plain": clock.call("plain", 0.01), "twice": clock.call("twice", 0.02)}
    times = interleaved_seconds(calls, seconds_per_arm=1.0)
    found = latencies(times, "plain")
    assert times["plain"][-1] > 1.1 * times["plain"][0]
    assert found["twice"]["ratio"]["median"] == pytest.approx(2, rel=0.002)
    assert found["twice"]["ratio"]["low"] == pytest.approx(2, rel=0.002)
    assert found["plain"]["ratio"] == {"median": 1, "low": 1, "high": 1}


def test_the_number_of_rounds_follows_the_time(clock: Clock) -> None:
    def rounds(seconds: float, budget: float) -> int:
        clock.slowness = 1.0
        calls = {"a": clock.call("a", seconds)}
        return len(interleaved_seconds(calls, seconds_per_arm=budget)["a"])

    assert rounds(0.01, 0.5) == pytest.approx(50, abs=1)
    assert rounds(10.0, 0.5) == latency.MIN_ROUNDS
    assert rounds(1e-6, 0.5) == latency.MAX_ROUNDS


def test_the_collector_of_garbage_is_as_before(clock: Clock) -> None:
    def fail() -> None:
        assert not gc.isenabled()
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        interleaved_seconds({"a": fail})
    assert gc.isenabled()


def test_summary_by_hand() -> None:
    base = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9]) / 1e3
    found = latencies({"arm": 3 * base}, "absent")["arm"]
    assert (found["low_ms"], found["median_ms"], found["high_ms"]) == pytest.approx((9, 15, 21))
    assert found["ratio"] is None
    assert found["rounds"] == 9


def test_interval_of_a_median_by_hand() -> None:
    # of 10 values, fewer than 2 lie below the median with probability 11 / 1024 < 0.025
    found = median_with_interval(np.arange(10.0)[::-1])
    assert (found["median"], found["low"], found["high"]) == (4.5, 1.0, 8.0)
    # of 6, none with probability 1 / 64; of 5, none with 1 / 32
    assert median_with_interval(np.arange(6.0))["low"] == 0
    with pytest.raises(ValueError, match="5 values are too few"):
        median_with_interval(np.arange(5.0))


def test_intervals_of_medians_cover_the_truth() -> None:
    generator = np.random.default_rng(0)
    draws = generator.lognormal(0, 1, (1000, 30))
    found = [median_with_interval(values) for values in draws]
    covered = np.mean([one["low"] <= 1 <= one["high"] for one in found])
    # at least 95 %, exactly 95.7 %; 0.006 is the standard error of the simulation
    assert 0.935 < covered < 0.98
