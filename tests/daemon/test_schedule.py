"""When the next round starts: a table of moments, nights missed, clocks that jump, what hinders."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from vaultgpt.daemon.schedule import Decision, Facts, next_round, night_end
from vaultgpt.settings import Schedule

SCHEDULE = Schedule()
NEW = Facts(nightly_due="400 new words wait.", idle="400 new words wait; 1,500 start a round.")


def zone(rule: str) -> tzinfo:
    """A time zone from a POSIX rule, so that no time zone data base is needed."""
    header = b"TZif2" + bytes(15)
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    body = struct.pack(">lbb", 0, 0, 0) + b"XXX\0"
    data = (header + counts + body) * 2 + b"\n" + rule.encode() + b"\n"
    return ZoneInfo.from_file(io.BytesIO(data), key="test")


BERLIN = zone("CET-1CEST,M3.5.0,M10.5.0/3")


def at(text: str, where: tzinfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=where, fold=fold).timestamp()


def decide(now: float, facts: Facts, schedule: Schedule = SCHEDULE) -> Decision:
    return next_round(now, facts, schedule, BERLIN)


def local(moment: float | None) -> str:
    assert moment is not None
    return datetime.fromtimestamp(moment, BERLIN).strftime("%Y-%m-%d %H:%M")


def test_what_is_due_at_once_starts_now() -> None:
    decision = decide(1e9, Facts(due="1,600 new words wait."))
    assert (decision.when, decision.cause) == (1e9, "due")


def test_nothing_new_waits_for_the_night_and_says_why() -> None:
    decision = decide(at("2026-11-23 14:00"), Facts(last_night=date(2026, 11, 23)))
    assert local(decision.when) == "2026-11-24 03:00"
    assert decision.why == "Nothing new to learn." and decision.night is None


def test_the_nightly_round_starts_at_its_hour_and_uses_the_night_up() -> None:
    facts = replace(NEW, last_night=date(2026, 11, 22))
    before = decide(at("2026-11-23 02:59"), facts)
    assert local(before.when) == "2026-11-23 03:00" and before.cause == ""
    then = decide(at("2026-11-23 03:00"), facts)
    assert (then.when, then.cause, then.night) == (
        at("2026-11-23 03:00"),
        "night",
        date(2026, 11, 23),
    )
    after = decide(at("2026-11-23 03:10"), replace(facts, last_night=then.night))
    assert local(after.when) == "2026-11-24 03:00"


NIGHTS = Schedule(nightly="03:00", until="07:00")
LONG = Facts(due="The whole vault is due. That takes about 33 hours.", long=True)


def test_a_long_round_keeps_to_the_nights_where_they_have_an_end() -> None:
    """1. A full round of 33 hours is due by day. 2. The night comes, and goes. 3. Short ones.

    Result: it begins and goes on within the night alone, each time, and what is short is as ever.
    """
    by_day = decide(at("2026-11-23 14:00"), LONG, NIGHTS)
    assert local(by_day.when) == "2026-11-24 03:00" and by_day.why == LONG.due
    for moment in ("2026-11-24 03:00", "2026-11-24 06:59"):
        assert decide(at(moment), LONG, NIGHTS).when == at(moment)
    after = decide(at("2026-11-24 07:00"), replace(LONG, last_night=date(2026, 11, 24)), NIGHTS)
    assert local(after.when) == "2026-11-25 03:00"
    deleted = Facts(nightly_due="900 learned words were deleted.", long=True)
    assert local(decide(at("2026-11-24 10:00"), deleted, NIGHTS).when) == "2026-11-25 03:00"
    assert decide(at("2026-11-25 03:00"), deleted, NIGHTS).night == date(2026, 11, 25)
    noon = at("2026-11-23 12:00")
    assert decide(noon, replace(LONG, long=False), NIGHTS).when == noon
    assert decide(noon, LONG).when == noon, "without an end it runs on by day"
    assert decide(noon, LONG, replace(NIGHTS, nightly="off")).when == noon


@pytest.mark.parametrize(
    ("nightly", "until", "moment", "end"),
    [
        ("03:00", "07:00", "2026-11-24 05:00", "2026-11-24 07:00"),
        ("22:30", "06:00", "2026-11-24 05:00", "2026-11-24 06:00"),
        ("22:30", "06:00", "2026-11-24 23:00", "2026-11-25 06:00"),
        ("03:00", "03:00", "2026-11-24 12:00", "2026-11-25 03:00"),
        ("01:00", "04:00", "2026-03-29 03:30", "2026-03-29 04:00"),  # the clocks skip two to three
    ],
)
def test_a_night_ends_at_its_hour_over_midnight_and_clocks_that_jump(
    nightly: str, until: str, moment: str, end: str
) -> None:
    schedule = Schedule(nightly=nightly, until=until)
    assert local(night_end(at(moment), schedule, BERLIN)) == end
    assert night_end(at(end), schedule, BERLIN) != at(end)


def test_a_short_night_whose_beginning_the_clocks_skip_is_none_and_not_a_day() -> None:
    schedule = Schedule(nightly="02:30", until="03:00")  # and half past two is half past three
    for moment in ("2026-03-29 03:45", "2026-03-29 12:00", "2026-03-29 23:00"):
        assert night_end(at(moment), schedule, BERLIN) == 0.0
    assert local(night_end(at("2026-03-30 02:45"), schedule, BERLIN)) == "2026-03-30 03:00"


def test_missed_nights_are_caught_up_once() -> None:
    """1. The machine slept for five nights. 2. It wakes at ten. 3. The round has been.

    Result: one round at once, and the next one in the coming night.
    """
    facts = replace(NEW, last_night=date(2026, 11, 18))
    now = at("2026-11-23 10:00")
    first = decide(now, facts)
    assert (first.when, first.night) == (now, date(2026, 11, 23))
    second = decide(now + 600, replace(facts, last_night=first.night))
    assert local(second.when) == "2026-11-24 03:00"


def test_a_night_without_enough_words_passes_and_is_not_made_up_at_noon() -> None:
    few = Facts(idle="50 new words wait.", last_night=date(2026, 11, 22))
    night = decide(at("2026-11-23 03:00"), few)
    assert local(night.when) == "2026-11-24 03:00" and night.night == date(2026, 11, 23)
    noon = decide(at("2026-11-23 12:00"), replace(NEW, last_night=night.night))
    assert local(noon.when) == "2026-11-24 03:00"


def test_the_first_day_has_no_night_to_catch_up() -> None:
    decision = decide(at("2026-11-23 10:00"), NEW)
    assert local(decision.when) == "2026-11-24 03:00" and decision.night == date(2026, 11, 23)


def test_a_clock_that_was_wrong_once_does_not_silence_the_nights() -> None:
    facts = replace(NEW, last_night=date(2099, 1, 1))
    first = decide(at("2026-11-23 10:00"), facts)
    assert first.night == date(2026, 11, 23) and local(first.when) == "2026-11-24 03:00"


@pytest.mark.parametrize(
    ("hour", "day", "expected"),
    [
        ("02:30", "2026-03-29", "2026-03-29 03:30"),  # the clocks skip from two to three
        ("03:00", "2026-03-29", "2026-03-29 03:00"),
        ("02:30", "2026-10-25", "2026-10-25 02:30"),  # half past two comes twice: the first
    ],
)
def test_the_night_the_clocks_change_has_one_round(hour: str, day: str, expected: str) -> None:
    schedule = Schedule(nightly=hour)
    facts = replace(NEW, last_night=date.fromisoformat(day).replace(day=int(day[-2:]) - 1))
    evening = at(f"{facts.last_night} 22:00")
    planned = decide(evening, facts, schedule)
    assert local(planned.when) == expected
    assert planned.when is not None
    due = decide(planned.when, facts, schedule)
    assert due.cause == "night" and due.night == date.fromisoformat(day)
    for hours in (0.5, 1, 1.5, 2, 20):
        again = decide(planned.when + hours * 3600, replace(facts, last_night=due.night), schedule)
        assert again.when is not None and again.when > planned.when + hours * 3600
    if day == "2026-10-25":
        assert planned.when == at("2026-10-25 02:30", fold=0)


def test_travelling_west_does_not_bring_the_same_night_twice() -> None:
    facts = replace(NEW, last_night=date(2026, 11, 23))
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()
    honolulu = next_round(now, facts, SCHEDULE, zone("HST10"))  # 23:00 on the 22nd there
    assert honolulu.when is not None and honolulu.when > now
    assert nights(facts, [(now + 3600 * hour, zone("HST10")) for hour in range(60)]) == [
        date(2026, 11, 24),
        date(2026, 11, 25),
    ]


def test_a_machine_that_changes_its_time_zone_every_six_hours_learns_once_a_night() -> None:
    """1. A week, half of each day in Tokyo and in Lisbon. Result: no night twice, none left out."""
    zones, start = [zone("JST-9"), zone("WET0WEST,M3.5.0/1,M10.5.0")], at("2026-11-22 12:00")
    moments = [(start + hour * 3600, zones[hour // 6 % 2]) for hour in range(7 * 24)]
    facts = replace(NEW, last_night=date(2026, 11, 22))
    assert nights(facts, moments) == [date(2026, 11, day) for day in range(23, 30)]


def nights(facts: Facts, moments: list[tuple[float, tzinfo]]) -> list[date]:
    """The nights that are used for a round when it is asked at these moments, each in its zone."""
    found = []
    for now, where in moments:
        decision = next_round(now, facts, SCHEDULE, where)
        if decision.night is not None:
            facts = replace(facts, last_night=decision.night)
        if decision.cause == "night" and decision.when == now:
            found.append(decision.night or date.min)
    return found


def test_no_night_when_it_is_off() -> None:
    decision = decide(1e9, NEW, Schedule(nightly="off"))
    assert decision.when is None and decision.why == NEW.idle


@pytest.mark.parametrize(
    ("hindrance", "override", "word"),
    [
        ({"on_battery": True}, {"on_battery": True}, "mains"),
        ({"writing_until": 1e9 + 240}, {"while_writing": True}, "while you write"),
        ({"gpu_busy": True}, None, "GPU"),
        ({"not_before": 1e9 + 900, "not_before_why": "The last round failed."}, None, "failed"),
    ],
)
def test_what_hinders_delays_and_is_said_and_can_be_overridden(
    hindrance: dict[str, object], override: dict[str, object] | None, word: str
) -> None:
    facts = replace(Facts(due="The first generation."), **hindrance)  # type: ignore[arg-type]
    decision = decide(1e9, facts)
    assert decision.when is not None and decision.when > 1e9 and word in decision.why
    assert decision.cause == "" and decision.night is None
    if override:
        assert decide(1e9, facts, replace(SCHEDULE, **override)).when == 1e9  # type: ignore[arg-type]


def test_a_hindered_night_is_not_used_up() -> None:
    facts = replace(NEW, last_night=date(2026, 11, 22), on_battery=True)
    decision = decide(at("2026-11-23 03:00"), facts)
    assert decision.night is None
    free = decide(at("2026-11-23 07:00"), replace(facts, on_battery=False))
    assert free.cause == "night"


def test_writing_waits_exactly_until_it_has_been_quiet() -> None:
    decision = decide(1e9, Facts(due="x", writing_until=1e9 + 17))
    assert decision.when == 1e9 + 17


def test_a_pause_and_a_running_round_start_nothing() -> None:
    assert decide(1e9, Facts(due="x", paused="Paused.")) == Decision(None, "Paused.")
    assert decide(1e9, Facts(due="x", running=True)).when is None
