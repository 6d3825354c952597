"""How well the generation that writes sounds like the author: known, or measured first.

Knows nothing about terminals or HTTP.
"""

from __future__ import annotations

import time
from typing import cast

from vaultgpt.errors import NotFound
from vaultgpt.ledger import Ledger
from vaultgpt.report.job import VoiceFigures
from vaultgpt.report.measured import known_voice, measure_voice
from vaultgpt.report.sentences import report_sentences
from vaultgpt.tasks.status import Judged, judged, silenced
from vaultgpt.tasks.vault_service import Desk, Here, Task
from vaultgpt.wire import Hear, ReportFigures, ReportRow, Sampling

_EVIDENCE = ("segments", "losses", "prequential")  # for the gate: too long to be read


class ReportAnswer(ReportFigures):
    """The figures of the generation that writes, else of the last round."""

    generation: str | None
    verdict: Judged
    voice: VoiceFigures | None  # as measured of it as it writes now
    sentences: list[str]


def _report_of_active(ledger: Ledger, sampling: Sampling) -> ReportAnswer:
    """The report, its "voice" as measured of a mirror that writes with `sampling`.

    NotFound before the first round."""
    rounds = [r for r in ledger.rounds.all() if r.report is not None]
    writes = ledger.generations.writing()
    row = next((r for r in rounds if writes and r.generation == writes), next(iter(rounds), None))
    if row is None:
        raise NotFound("Nothing has been learned yet.", "Run `vaultgpt train` first.")
    told: ReportRow = row.report or {}
    voice = known_voice(ledger, writes, sampling) if writes and row.generation == writes else None
    figures = {k: v for k, v in told.items() if k not in _EVIDENCE}
    about = {"generation": row.generation, "verdict": judged(row), **figures, "voice": voice}
    sentences = report_sentences(row.generation, told, voice)
    sentences[:0] = filter(None, [silenced(ledger)])
    return cast(ReportAnswer, {**about, "sentences": sentences})


def _known(desk: Desk, _asked: None) -> ReportAnswer:
    return _report_of_active(desk.ledger, desk.settings.mirror.sampling())


def _measured(service: Here, asked: None, hear: Hear) -> ReportAnswer:
    """Takes about a minute. Conflict while a round runs."""
    measure_voice(service.state, service.settings, now=time.time, on_progress=hear)
    return service.ask(REPORT, asked)


REPORT = Task(
    "GET",
    "/v1/report",
    "How well the active generation sounds like the author, with sentences",
    None,
    ReportAnswer,
    work=_known,
)
MEASURE: Task[None, ReportAnswer] = Task(
    "POST",
    "/v1/report",
    "The same once its voice has been measured, where it is not known: about a minute",
    None,
    ReportAnswer,
    here=_measured,
)
