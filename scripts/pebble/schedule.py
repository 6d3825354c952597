"""The learning rate's course: warm-up, a stretch at the peak, a straight line down to zero.

The end can be moved while a run is under way, so that a shared machine's pace never cuts the
decay short: from the step at which it is moved, the line runs from the rate of that moment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Schedule:
    """All in steps. `end` is the first step whose rate would be zero; `peak` a share of 1."""

    end: int
    warm_up: int = 100
    decay_from: int = 0
    decay_start_rate: float = 1.0

    def rate(self, step: int) -> float:
        """The multiplier for `step`, counted from 0."""
        if step < min(self.warm_up, self.decay_from):
            return (step + 1) / self.warm_up
        if step < self.decay_from:
            return 1.0
        span = max(1, self.end - self.decay_from)
        return self.decay_start_rate * max(0.0, (self.end - step) / span)

    def finish_at(self, step: int, end: int) -> None:
        """From `step` on, go down in a straight line to reach zero at `end`."""
        rate_now = self.rate(step)
        self.decay_from, self.decay_start_rate, self.end = step, rate_now, max(end, step + 1)
        self.warm_up = min(self.warm_up, step)

    def facts(self) -> dict[str, float]:
        return asdict(self)
