"""When the next round starts, and why: a pure function of the time and of facts.

Knows nothing about how the facts are found or what a round does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from datetime import time as clock
from typing import Literal

from vaultgpt.settings import Schedule

RECHECK_S = 60.0  # how often a condition that forbids a round is looked at again
_Cause = Literal["due", "night", ""]


@dataclass(frozen=True)
class Facts:
    """What the decision needs to know. Times are seconds since the epoch; "" is no sentence."""

    due: str = ""  # why a round is due at once: the first one, enough new words, forgotten text
    nightly_due: str = ""  # why one is due once the nightly hour has come
    long: bool = False  # what is due takes many minutes, and keeps to the nights where they end
    idle: str = "Nothing new to learn."  # why none is due at once
    last_night: date | None = None  # local day of the last night that was used or let pass
    running: bool = False
    paused: str = ""  # why no round starts by itself
    on_battery: bool = False
    writing_until: float = 0.0  # the author counts as writing until then
    gpu_busy: bool = False
    not_before: float = 0.0  # no round starts by itself before
    not_before_why: str = ""


@dataclass(frozen=True)
class Decision:
    """`when` is None when nothing is foreseen; at or before now means: start."""

    when: float | None
    why: str
    cause: _Cause = ""
    night: date | None = None  # the night this round uses up, or that passes without one


def next_round(
    now: float, facts: Facts, schedule: Schedule, zone: tzinfo | None = None
) -> Decision:
    """When the next round starts. `zone` None is the machine's local time."""
    if facts.running:
        return Decision(None, "A round is running.")
    if facts.paused:
        return Decision(None, facts.paused)
    wish = _wish(now, facts, schedule, zone)
    if wish.when is None or wish.when > now:
        return wish
    return _hindered(now, facts, schedule, wish) or wish


def _wish(now: float, facts: Facts, schedule: Schedule, zone: tzinfo | None) -> Decision:
    """What would be done if nothing stood in the way."""
    wanted = facts.due or facts.nightly_due
    by_day = bool(wanted) and facts.long and night_end(now, schedule, zone) == 0.0
    if facts.due and not by_day:
        return Decision(now, facts.due, "due")
    if schedule.nightly == "off":
        return Decision(None, facts.idle)
    latest = latest_night(now, schedule.nightly, zone)
    if by_day:
        return Decision(next_night(now, schedule, zone), wanted)
    # A day further in the future than one travels means that the clock was wrong once: it must not
    # silence the nights. Tomorrow is the night that was used before one flew west.
    last = facts.last_night
    used = last if last is not None and last <= latest + timedelta(1) else None
    if used is not None and used < latest and facts.nightly_due:
        return Decision(now, facts.nightly_due, "night", latest)
    tomorrow = _at(max(used or latest, latest) + timedelta(1), schedule.nightly, zone)
    passed = latest if used is None or used < latest else None
    return Decision(tomorrow, facts.nightly_due or facts.idle, night=passed)


def _hindered(now: float, facts: Facts, schedule: Schedule, wish: Decision) -> Decision | None:
    """The same wish, later, with what it waits for; None when nothing hinders."""
    again = now + RECHECK_S
    if facts.not_before > now:
        return Decision(facts.not_before, facts.not_before_why)
    if facts.on_battery and not schedule.on_battery:
        return Decision(again, f"Waits for mains power. {wish.why}")
    if facts.writing_until > now and not schedule.while_writing:
        return Decision(facts.writing_until, f"Waits while you write. {wish.why}")
    if facts.gpu_busy:
        return Decision(again, f"Waits while the GPU is busy. {wish.why}")
    return None


def _at(day: date, nightly: str, zone: tzinfo | None) -> float:
    """The instant of the nightly hour on a local day.

    An hour that the clocks skip falls after the skip; one that comes twice is the first."""
    hour, minute = map(int, nightly.split(":"))
    return datetime.combine(day, clock(hour, minute), zone).timestamp()


def night_end(now: float, schedule: Schedule, zone: tzinfo | None = None) -> float | None:
    """When the night that it is now ends, for a long round; 0 by day, None where nights are all."""
    if "off" in (schedule.nightly, schedule.until):
        return None
    latest = latest_night(now, schedule.nightly, zone)
    # By the clock's face: in the night that skips the nightly hour it lies behind a near `until`.
    days = timedelta(0 if schedule.until > schedule.nightly else 1)
    end = _at(latest + days, schedule.until, zone)
    return end if now < end else 0.0


def next_night(now: float, schedule: Schedule, zone: tzinfo | None = None) -> float | None:
    """The nightly hour to come; None where there is none."""
    if schedule.nightly == "off":
        return None
    return _at(latest_night(now, schedule.nightly, zone) + timedelta(1), schedule.nightly, zone)


def latest_night(now: float, nightly: str, zone: tzinfo | None = None) -> date:
    """The local day of the last nightly hour at or before now."""
    today = datetime.fromtimestamp(now, zone).date()
    return today if _at(today, nightly, zone) <= now else today - timedelta(1)
