from __future__ import annotations

from mnist_scaling.tuning.sweep.announcement import LEAST_SECONDS, StallWatch


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def words(silence: StallWatch, clock: Clock, seconds: int) -> dict[float, str]:
    """What is said in so many seconds, by the time."""
    found = {}
    for _ in range(seconds):
        clock.now += 1
        if word := silence.message():
            found[clock.now] = word
    return found


def test_a_hanging_run_is_named_at_growing_intervals() -> None:
    clock = Clock()
    silence = StallWatch(clock)
    silence.started("width=8/trial-001")
    clock.now = 60
    silence.started("width=16/trial-000")
    said = words(silence, clock, 1000)
    assert list(said) == [LEAST_SECONDS, 2 * LEAST_SECONDS, 4 * LEAST_SECONDS, 8 * LEAST_SECONDS]
    assert said[LEAST_SECONDS].startswith(
        "No run has ended for 2 min. Waiting for 2, the longest, width=8/trial-001, for 2 min. If it hangs"
    )


def test_runs_that_end_break_the_silence() -> None:
    clock = Clock()
    silence = StallWatch(clock)
    silence.started("a")
    silence.started("b")
    clock.now = 100
    silence.ended("a")
    assert list(words(silence, clock, 300)) == [100 + LEAST_SECONDS, 100 + 2 * LEAST_SECONDS]
    silence.ended("b")
    assert words(silence, clock, 5000) == {}  # nothing is waited for
    silence.started("c")
    assert words(silence, clock, 100) == {}
