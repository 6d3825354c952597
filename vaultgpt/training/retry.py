"""When a fresh round that was refused, or given up by hand, is tried again, and how gently.

Reads the ledger's figures. Knows nothing about why one is due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vaultgpt.ledger import Ledger, RoundRow
from vaultgpt.settings import Settings

_DAY_S = 86_400.0
RETRY_S = 7 * _DAY_S  # a refused fresh round waits this long, or for so many new words
# Of the gate's checks: whoever fails them went too far from the base, and is tried again at half
# the rate the next night. Gemma 3 270M at 1.6 times today's: plain English 6.2 % worse.
_TOO_FAR = ("general", "finite")
_GENTLER_RETRY_S, _GENTLEST = _DAY_S / 2, 3
_RETRY_WORDS = 5_000
_FORGET_RETRY_S = _DAY_S  # after `forget` it is tried again the next day


def tried_again(
    ledger: Ledger,
    settings: Settings,
    cause: str,
    now: float,
    manual: bool,
    rounds: Sequence[RoundRow],
) -> str:
    """When a fresh round that is due for `cause` is tried again, in a sentence; "" for at once."""
    refused = last_fresh(rounds)
    if refused is None or refused.promoted or refused.ended is None:
        return ""
    if refused.sampled and not refused.given_up:
        return ""
    if cause in ("base", "rank") and refused.cause != cause:
        return ""  # it was refused for another base or rank
    grown = ledger.pending(now, 0.0, listed=False).words - refused.pending_words >= _RETRY_WORDS
    patience = _FORGET_RETRY_S if cause == "forget" else RETRY_S
    own_rate = settings.training.learning_rate  # the author's is never changed
    if gentler := not own_rate and _too_far(refused) and _gentle_of(refused) < _GENTLEST:
        patience = _GENTLER_RETRY_S
    left_s = refused.ended + patience - now
    if grown or left_s <= 0 or (manual and not ledger.generations.active()):
        return ""
    days = max(1, round(left_s / _DAY_S))
    again = "tried again, more gently," if gentler else "tried again"
    return (
        f"The last fresh round was {'given up' if refused.given_up else 'refused'}; it is {again} "
        f"in {days} day{'s' if days > 1 else ''} or after {_RETRY_WORDS:,} new words, or with "
        "`vaultgpt train --fresh`."
    )


def last_fresh(rounds: Sequence[RoundRow]) -> RoundRow | None:
    """The last fresh round that came to a verdict, promoted or not, or that a person gave up."""
    return next((r for r in rounds if r.kind == "fresh" and (r.report or r.given_up)), None)


def _too_far(row: RoundRow) -> bool:
    return any(not check["passed"] and check["name"] in _TOO_FAR for check in row.checks)


def _gentle_of(row: RoundRow) -> int:
    return (row.report or {}).get("learning", {}).get("gentle", 0)


def gentleness(rounds: Sequence[RoundRow], base_sha256: Mapping[str, str]) -> int:
    """How often a round's rate is halved: once for each fresh one that went too far on this base.

    What was promoted so goes on so; a rate that the settings name is never changed.
    """
    row = last_fresh([r for r in rounds if not r.given_up])
    if row is None or row.report is None:
        return 0
    if row.report.get("learning", {}).get("base_sha256") != dict(base_sha256):
        return 0
    return min(_GENTLEST, _gentle_of(row) + _too_far(row))
