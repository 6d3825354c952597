"""What is to be learned now: nothing, what is new, or everything, and when again what was refused.

Reads the ledger's figures, never a note. selection.py chooses the entries of a small round;
assemble.py turns a Round into a Job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vaultgpt.bases.estimate import Estimate, estimate, guess_device, human
from vaultgpt.bases.model import Base
from vaultgpt.corpus.words import LEAST_WORDS
from vaultgpt.ledger import Ledger, RoundRow
from vaultgpt.settings import Settings
from vaultgpt.training.paused import LONG_S, overtaken, paused_round
from vaultgpt.training.round import BY_ITSELF, Asked, Round
from vaultgpt.training.selection import select, stratified

_DAY_S = 86_400.0
_RETRY_S = 7 * _DAY_S  # a refused fresh round waits this long, or for so many new words
# Of the gate's checks: whoever fails them went too far from the base, and is tried again at half
# the rate the next night. Gemma 3 270M at 1.6 times today's: plain English 6.2 % worse.
_TOO_FAR = ("general", "finite")
_GENTLER_RETRY_S, _GENTLEST = _DAY_S / 2, 3
_RETRY_WORDS = 5_000
_FORGET_RETRY_S = _DAY_S  # after `forget` it is tried again the next day
_FRESH_SHARE = 0.30  # learned since the last fresh round, of what that learned
_PACE_TOKENS = 2_000  # of a round, for its pace to say something
_LEAST_MANUAL_WORDS = 20  # new ones, for a round that the author asks for


@dataclass(frozen=True)
class Due:
    """What kind of round is due, the cause as a word, and why in one sentence."""

    kind: Literal["fresh", "incremental", "none"]
    why: str
    cause: str = ""
    takes_s: float | None = None  # of a full round over LONG_S, or what is left of a paused one
    # How the ledger stood when it was asked: the next round's number, and the voice.
    stood: tuple[int, str | None] = (0, None)


def due(
    ledger: Ledger,
    settings: Settings,
    base: Base,
    now: float,
    asked: Asked = BY_ITSELF,
    rounds: Sequence[RoundRow] | None = None,
) -> Due:
    """What to do now; `rounds` are the ledger's, where they have been read already."""
    rounds = ledger.rounds.all() if rounds is None else rounds
    found = _Look(ledger, settings, base, rounds, now, asked).due()
    return replace(found, stood=_standing(ledger))


def _standing(ledger: Ledger) -> tuple[int, str | None]:
    return ledger.rounds.next_number(), ledger.generations.active()


def full_round(ledger: Ledger, settings: Settings, base: Base) -> Estimate:
    """What a full round over the vault takes, by the pace of earlier ones."""
    look = _Look(ledger, settings, base, ledger.rounds.all())
    return look.full_round(ledger.entries.usable_words(copies=False))


@dataclass(frozen=True)
class _Look:
    """One look at what is to be done: of which ledger, by which settings, when, and for whom."""

    ledger: Ledger
    settings: Settings
    base: Base
    rounds: Sequence[RoundRow]
    now: float = 0.0
    asked: Asked = BY_ITSELF

    def due(self) -> Due:
        """What kind of round is due, and why."""
        asked, entries = self.asked, self.ledger.entries
        if (paused := self.ledger.paused()) and not (asked.fresh and asked.manual):
            return Due("none", paused, "paused")
        words = entries.usable_words(copies=False)
        if words < LEAST_WORDS:
            copies = ", copies not counted" if words < entries.usable_words() else ""
            why = f"There are {words:,} words of your prose so far{copies}; "
            return Due("none", f"{why}learning begins at {LEAST_WORDS:,}.", "few words")
        if asked.fresh:
            return self._with_time(Due("fresh", "You asked for a fresh round.", "asked"), words)
        if (paused_one := self._goes_on()) is not None:
            return paused_one
        if not asked.manual and self._put_aside():
            ways = "`vaultgpt rollback` brings your voice back, `vaultgpt train` makes a new one."
            return Due("none", f"The base writes, as you chose: {ways}", "put aside")
        if found := self._fresh_cause(words):
            if why := self._tried_again(found.cause):
                wait = Due("none", why, "refused")
                if found.cause in ("first", "forget", "base"):
                    return wait  # what is active must not be built on
                gave = _last_fresh(self.rounds)
                if found.cause == "sampled" and gave and gave.given_up:
                    return wait  # a small round of all the rest would take as long
                return self._incremental(wait)
            return self._with_time(found, words)
        return self._incremental(None)

    def _put_aside(self) -> bool:
        """Whether the base was made to write in the place of a voice on it."""
        kept, here = self.ledger.generations, self.base.sha256
        return not kept.active() and any(g.base_sha256 == here for g in kept.all_usable())

    def _goes_on(self) -> Due | None:
        """A full round that was begun goes before all else: what was written since waits for it."""
        found = paused_round(self.ledger)
        if found is None or overtaken(self.ledger, found, self.base.sha256, self.settings.training):
            return None
        why = f"A full round is paused at {found.said}."
        return Due("fresh", why, found.row.cause, found.left_s)

    def _with_time(self, found: Due, words: int) -> Due:
        """A fresh round, and its hours where it is long and they are known: not of a first one,
        which has a budget."""
        if self.is_first:
            return found
        foreseen = self.full_round(words)
        if not foreseen.measured or foreseen.full_s < LONG_S:
            return found
        why = f"{found.why} That takes {human(foreseen.full_s)}."
        return replace(found, why=why, takes_s=foreseen.full_s)

    def full_round(self, words: int) -> Estimate:
        """What a full round over so many words takes, by the pace of earlier ones."""
        return estimate(
            words,
            self.base.parameters,
            vocab=self.base.vocab,
            training=self.settings.training,
            tokens_per_s=self._pace(),
        )

    def _pace(self) -> float | None:
        """Tokens a second of the last round on this base and kind of device, a fresh one if any."""
        known, sha256 = self.ledger.generations.all(kept=False), self.base.sha256
        on_it = {g.round for g in known if g.base_sha256 == sha256}
        device = guess_device(self.settings.training.device)
        paces = [
            (row.kind != "fresh", float(row.report["tokens_per_s"]))
            for row in self.rounds
            if row.number in on_it and row.report and row.report["tokens"] >= _PACE_TOKENS
            if str(row.report["device"]).split()[0] == device
        ]
        return min(paces, key=lambda one: one[0])[1] if paces else None

    @property
    def is_first(self) -> bool:
        """Whether nothing was ever learned: the first round has a budget."""
        active = self.ledger.generations.active()
        return active is None and not any(r.sampled and r.report for r in self.rounds)

    def _fresh_cause(self, words: int) -> Due | None:
        """Why a fresh round would be due, whether or not an earlier one was refused."""
        ledger, settings = self.ledger, self.settings
        patient = self.asked.manual or self.asked.nightly
        active = ledger.generations.active()
        chain = ledger.generations.lineage(active)
        if not chain:
            return Due("fresh", "No voice writes in this vault.", "first")
        root = chain[-1]
        if active in ledger.generations.barred():
            return Due("fresh", "The voice learned a note that was forgotten since.", "forget")
        if chain[0].base_sha256 != self.base.sha256:
            why = "Another base was chosen, and no voice is learned on it yet."
            return Due("fresh", why, "base")
        settled = (settings.training.rank, settings.training.embedding)
        if (root.rank_setting, root.embedding_setting) != settled:
            why = "The adapter's rank or parts were changed in the settings."
            return Due("fresh", why, "rank")
        if any(r.generation == root.id and r.sampled for r in self.rounds):
            why = "The first round learned a sample; the whole vault is due."
            return Due("fresh", why, "sampled")
        since = sum(g.words for g in chain[:-1])
        if since > _FRESH_SHARE * max(1, root.words):
            why = f"{since:,} words were learned since the last fresh round, more than 30 % of it."
            return Due("fresh", why, "grown")
        if words > 2 * root.words:  # else the new ones can hardly be more
            quiet_s = 0.0 if patient else settings.schedule.quiet_s
            new = ledger.pending(self.now, quiet_s, listed=False).ready_words
            if new > root.words:
                why = f"{new:,} new words are more than were ever learned."
                return Due("fresh", why, "grown")
        if patient and (gone := _deleted_words(ledger, settings, self.now)):
            days = settings.schedule.deletion_days
            why = f"{gone:,} learned words were deleted from the vault over {days:g} days ago."
            return Due("fresh", why, "deleted")
        return None

    def _incremental(self, otherwise: Due | None) -> Due:
        """A small round, where enough is new; `otherwise` says why no fresh one comes."""
        nothing = otherwise or Due("none", "There is nothing new to learn.", "nothing")
        manual, schedule = self.asked.manual, self.settings.schedule
        pending = self.ledger.pending(self.now, 0.0 if manual else schedule.quiet_s, listed=False)
        if manual:
            if pending.ready_words < _LEAST_MANUAL_WORDS:
                few = Due("none", _too_few(pending.ready_words), "few new")
                return few if pending.ready_words else nothing
            return Due("incremental", f"{pending.ready_words:,} new words are learned.", "asked")
        least = schedule.nightly_words if self.asked.nightly else schedule.trigger_words
        if not self.asked.nightly and schedule.trigger_words == 0:
            return nothing
        last = next((r for r in self.rounds if r.promoted is not None and r.report), None)
        if last is not None and last.kind == "incremental" and not last.promoted:
            aged = last.ended is not None and self.now - last.ended >= _RETRY_S
            least += 0 if aged else last.pending_words  # refused text needs company
        if pending.ready_words >= max(1, least):
            why = f"{pending.ready_words:,} new words wait to be learned."
            return Due("incremental", why, "new")
        if pending.words:
            return otherwise or Due(
                "none", _waiting(pending.words, least, self.settings), "waiting"
            )
        return nothing

    def _tried_again(self, cause: str) -> str:
        """When a fresh round due for `cause` is tried again, in a sentence; "" for at once."""
        refused = _last_fresh(self.rounds)
        if refused is None or refused.promoted or refused.ended is None:
            return ""
        if refused.sampled and not refused.given_up:
            return ""
        if cause in ("base", "rank") and refused.cause != cause:
            return ""  # it was refused for another base or rank
        pending = self.ledger.pending(self.now, 0.0, listed=False).words
        grown = pending - refused.pending_words >= _RETRY_WORDS
        patience = _FORGET_RETRY_S if cause == "forget" else _RETRY_S
        own_rate = self.settings.training.learning_rate  # the author's is never changed
        if gentler := not own_rate and _too_far(refused) and _gentle_of(refused) < _GENTLEST:
            patience = _GENTLER_RETRY_S
        left_s = refused.ended + patience - self.now
        first = self.asked.manual and not self.ledger.generations.writing()
        if grown or left_s <= 0 or first:
            return ""
        days = max(1, round(left_s / _DAY_S))
        again = "tried again, more gently," if gentler else "tried again"
        return (
            f"The last fresh round was {'given up' if refused.given_up else 'refused'}; it is "
            f"{again} in {days} day{'s' if days > 1 else ''} or after {_RETRY_WORDS:,} new words, "
            "or with `vaultgpt train --fresh`."
        )

    def sample(self, ids: Sequence[str], seed: int) -> tuple[tuple[str, ...], bool]:
        """The entries that the first round's budget has time for, stratified; whether some are
        left."""
        entries = {e.id: e for e in self.ledger.entries.all()}
        words = sum(entries[i].words for i in ids)
        budget = _words_for_budget(words, self.settings, self.base)
        if words <= budget:
            return tuple(ids), False
        return tuple(sorted(stratified([entries[i] for i in ids], budget, seed))), True


def _deleted_words(ledger: Ledger, settings: Settings, now: float) -> int:
    """Learned words of entries that left the vault long enough ago and stand nowhere else in it."""
    border = now - settings.schedule.deletion_days * _DAY_S
    return ledger.generations.words_gone(ledger.generations.active(), border)


def must_forget(ledger: Ledger, settings: Settings, now: float) -> bool:
    """Whether the active generation learned text that was forgotten, or deleted long enough ago."""
    return (
        ledger.generations.active() in ledger.generations.barred()
        or _deleted_words(ledger, settings, now) > 0
    )


def _too_few(words: int) -> str:
    """Why nothing is learned though the author asks, and how it is all the same."""
    return (
        f"Nothing is learned: {words} new word{'s wait' if words != 1 else ' waits'} until there "
        f"are {_LEAST_MANUAL_WORDS}. `vaultgpt train --fresh` learns the whole vault, with them."
    )


def _waiting(words: int, least: int, settings: Settings) -> str:
    """What new words wait for: `least` of them, or fewer in the night."""
    said = f"{words:,} new word{'s wait' if words != 1 else ' waits'}; {least:,} quiet ones start a"
    night = settings.schedule.nightly_words
    if settings.schedule.nightly == "off" or night >= least:
        return f"{said} round."
    return f"{said} round, and {night:,} are enough at night."


def plan(
    ledger: Ledger,
    settings: Settings,
    base: Base,
    now: float,
    asked: Asked = BY_ITSELF,
    found: Due | None = None,
) -> Round:
    """The next round: its kind, why, entries, seed and, for a vault's first, its budget.

    Number and seed are those of the next round; a round of kind "none" says why in `why`. What was
    `found` due is not asked again, unless a round has ended or another voice is active since."""
    look = _Look(ledger, settings, base, ledger.rounds.all(), now, asked)
    if found is None or found.stood != _standing(ledger):
        found = look.due()
    number = ledger.rounds.next_number()
    open_round = ledger.rounds.interrupted()
    if open_round is not None:
        number = open_round.number
    seed = (settings.training.seed + number) % 2**32
    if found.kind == "none":
        return Round(number, "none", found.why, found.cause, asked, seed=seed)
    budget_s = settings.training.first_round_s if look.is_first else None
    sampled = False
    if found.kind == "fresh":
        ids = fresh_entries(ledger)
        if budget_s is not None:
            ids, sampled = look.sample(ids, seed)
    else:
        quiet_s = 0.0 if asked.manual else settings.schedule.quiet_s
        ready = ledger.pending(now, quiet_s)
        chosen = select(ledger, ready, seed)
        ids = tuple(sorted({*chosen.new, *chosen.new_held})) + chosen.replay
    return Round(
        *(number, found.kind, found.why, found.cause, asked, ids, seed, budget_s, sampled),
        gentle=_gentleness(look.rounds, base.sha256),
    )


def fresh_entries(ledger: Ledger) -> tuple[str, ...]:
    """Every entry a fresh round learns from, by id."""
    return tuple(sorted(e.id for e in ledger.entries.to_learn()))


def _words_for_budget(words: int, settings: Settings, base: Base) -> int:
    """Words that the budgeted first round reads once; `words` when it can learn them all.

    One pass over many words tells more of an author than several over a few."""
    training = settings.training
    whole = estimate(words, base.parameters, vocab=base.vocab, training=training)
    if whole.full_s <= training.first_round_s:
        return words
    once = replace(training, epochs=1.0)
    low, high = LEAST_WORDS, words
    while high - low > 500:
        middle = (low + high) // 2
        guess = estimate(middle, base.parameters, vocab=base.vocab, training=once)
        low, high = (middle, high) if guess.full_s <= training.first_round_s else (low, middle)
    return low


def _last_fresh(rounds: Sequence[RoundRow]) -> RoundRow | None:
    """The last fresh round that came to a verdict, promoted or not, or that a person gave up."""
    return next((r for r in rounds if r.kind == "fresh" and (r.report or r.given_up)), None)


def _too_far(row: RoundRow) -> bool:
    return any(not check["passed"] and check["name"] in _TOO_FAR for check in row.checks)


def _gentle_of(row: RoundRow) -> int:
    return (row.report or {}).get("learning", {}).get("gentle", 0)


def _gentleness(rounds: Sequence[RoundRow], base_sha256: Mapping[str, str]) -> int:
    """How often a round's rate is halved: once for each fresh one that went too far on this base.

    What was promoted so goes on so; a rate that the settings name is never changed."""
    row = _last_fresh([r for r in rounds if not r.given_up])
    if row is None or row.report is None:
        return 0
    if row.report.get("learning", {}).get("base_sha256") != dict(base_sha256):
        return 0
    return min(_GENTLEST, _gentle_of(row) + _too_far(row))
