"""What `init` tells the author: what was found, what it means, what will happen, how long it takes.

Plain sentences from a census (vault/census.py). Knows nothing about terminals; reads no note.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from vaultgpt.bases.catalogue import Known, chat_warning, is_chat_model, reads_only_english
from vaultgpt.bases.estimate import Estimate, advised, estimate, human, this_machine
from vaultgpt.bases.model import Base
from vaultgpt.corpus.words import LEAST_WORDS
from vaultgpt.settings import Settings
from vaultgpt.tasks.language import LANGUAGES
from vaultgpt.vault.census import Census, reason

_SMALL_WORDS = 10_000
_HUGE_WORDS = 3_000_000
_PAGE_WORDS = 250
_LONG_S = 5 * 3600.0  # a full round that a night hardly holds
_MOST_FILES = 5_000  # looked at to say what a folder without notes holds

_MANY_FOREIGN = 5  # notes of a folder, from which it is asked about


def findings(census: Census, vault: Path, base: Base, settings: Settings) -> list[str]:
    """What to say about a vault, a sentence or two an item, in reading order."""
    if not census["notes"]:
        return [_no_notes(vault)]
    said = [_counts(census), *_places(census), *_left_out(census), *_problems(census)]
    if not census["used"]:
        return [*said, _nothing_usable(census)]
    said += _mostly_clippings(census) or _foreign_folders(census)
    if census["words"] < LEAST_WORDS:
        return [*said, _too_few(census["words"]), *_advise(census, base, settings)]
    return [*said, *_advise(census, base, settings), *_next(census, base, settings)]


def _no_notes(vault: Path) -> str:
    """For a folder without a Markdown file: what it holds instead."""
    kinds: Counter[str] = Counter()
    for _, folders, files in os.walk(vault):
        folders[:] = [name for name in folders if not name.startswith(".")]
        kinds.update(
            Path(name).suffix.lower() or "no ending" for name in files if not name.startswith(".")
        )
        if kinds.total() > _MOST_FILES:
            break
    if not kinds:
        return (
            "This folder is empty. Write your first note in it: the daemon (`vaultgpt serve`) "
            f"notices, and learning begins at {LEAST_WORDS:,} words."
        )
    total = "more than 5,000" if kinds.total() > _MOST_FILES else f"{kinds.total():,}"
    common = ", ".join(kind for kind, _ in kinds.most_common(3))
    files_word = "file" if kinds.total() == 1 else "files"
    return (
        f"There is no Markdown note (.md) here, only {total} other {files_word} ({common}). "
        "Is this the right folder? Other formats have to be converted first, with pandoc for "
        "example."
    )


def _counts(census: Census) -> str:
    notes, used, words = census["notes"], census["used"], census["words"]
    years = sorted(census["years"])
    when = (
        ""
        if not years
        else (f", from {years[0]}" if len(years) == 1 else f", from {years[0]} to {years[-1]}")
    )
    if notes == 1:
        held = "It holds" if used else "It is left out and holds"
        return f"I found one note. {held} {_words(words)} of your own prose{when}."
    share = "all of them" if used == notes else f"{used:,} of them"
    return f"I found {notes:,} notes and use {share}: {_words(words)} of your own prose{when}."


def _words(count: int) -> str:
    return "one word" if count == 1 else f"{count:,} words"


def _places(census: Census) -> list[str]:
    """Where the words lie, and under which tags."""
    said = []
    folders = [(n, w) for n, w in census["folders"].items() if w]
    if len(folders) > 1:
        most = ", ".join(f"{name or 'the top folder'} ({words:,})" for name, words in folders[:4])
        more = f", and {len(folders) - 4} more" if len(folders) > 4 else ""
        said.append(f"Words by folder: {most}{more}.")
    tags = list(census["tags"].items())
    if tags:
        most = ", ".join(f"#{tag} ({count:,})" for tag, count in tags[:5])
        more = f", and {len(tags) - 5:,} more" if len(tags) > 5 else ""
        said.append(f"It will learn to write under your tags: {most}{more}.")
    return said


def _left_out(census: Census) -> list[str]:
    reasons = sorted(census["left_out"].items(), key=lambda item: -item[1])
    if not reasons:
        return []
    parts = []
    for code, count in reasons[:4]:
        parts.append(f"{count:,} {reason(code, count)}")
    if rest := sum(count for _, count in reasons[4:]):
        parts.append(f"{rest:,} for other reasons")
    return [f"Left out: {', '.join(parts)}. `vaultgpt why NOTE` explains any of them."]


def _problems(census: Census) -> list[str]:
    count = census["problems"]
    if not count:
        return []
    subject, its = ("One note has", "Its") if count == 1 else (f"{count:,} notes have", "Their")
    return [
        f"{subject} something that could not be read as meant, such as broken front matter. "
        f"{its} text is kept as prose; `vaultgpt scan --problems` says which."
    ]


def _nothing_usable(census: Census) -> str:
    left = census["left_out"]
    if left.get("clipping", 0) * 2 >= census["notes"]:
        return (
            "These are clippings: somebody else's words, with a source or url in the front "
            "matter, so there is no voice of yours to learn yet. If they are your own after "
            "all: `vaultgpt config rules.clippings true`."
        )
    if (left.get("empty", 0) + left.get("few words", 0)) * 2 >= census["notes"]:
        return (
            "There is hardly any prose in these notes yet. Write a few pages; learning begins "
            f"at {LEAST_WORDS:,} words."
        )
    return (
        "Every note is left out by a rule, so there is nothing to learn from. "
        "`vaultgpt config` shows the rules."
    )


def _mostly_clippings(census: Census) -> list[str]:
    clippings = sum(census["left_out"].get(code, 0) for code in ("clipping", "excerpt", "chat"))
    if clippings * 2 < census["notes"]:
        return []
    return [
        "Most of this vault is clipped from elsewhere; only what you wrote yourself is "
        "learned. If those notes are yours: `vaultgpt config rules.clippings true`."
    ]


def _foreign_folders(census: Census) -> list[str]:
    """Of folders in which other people's words dominate: what else lies there is asked about."""
    said = []
    for name, (theirs, others) in census["foreign"].items():
        if not name or not others or theirs < _MANY_FOREIGN or theirs < 2 * others:
            continue
        rest = "the other one is" if others == 1 else f"the other {others:,} are"
        said.append(
            f"{theirs:,} notes in {name} are clipped or excerpts of books, and left out; {rest} "
            f"learned. If you did not write them either: `vaultgpt config rules.exclude {name}/`."
        )
    return said[:3]


def _too_few(words: int) -> str:
    missing = LEAST_WORDS - words
    pages = -(-missing // _PAGE_WORDS)
    about = "about a page" if pages == 1 else f"about {pages} pages"
    return (
        f"Learning begins at {LEAST_WORDS:,} words, so {missing:,} are missing, {about}. Until "
        "then nothing is trained. Keep writing: `vaultgpt serve` notices when there is enough."
    )


def _advise(census: Census, base: Base, settings: Settings) -> list[str]:
    """Whether the base fits the vault's language and this machine; [] when it does."""
    language, words = census["language"], census["words"]
    english_only = reads_only_english(base.name)
    if english_only and language not in (None, "en"):
        return [_foreign(language, base, words, settings)]
    if is_chat_model(base.name):
        return [chat_warning(base.name)]
    if words < LEAST_WORDS:
        return []
    if english_only and language is None:
        return [
            f"I can't tell the language of your notes. {base.name} reads only English; for "
            f"another language, or several, take {_offer(None, words, settings)}."
        ]
    if base.embedded:
        return [
            "The embedded base, pebble, is a demonstration: it is tiny and has read only "
            "English from before 1930. It picks up your rhythm and your words, not your "
            f"thoughts. For daily use take {_offer('en', words, settings)}."
        ]
    time = _time(words, base.parameters, base.vocab, settings)
    if time.measured and time.full_s > _LONG_S:
        other = advised(language, this_machine())
        lighter = other and other.parameters < base.parameters
        smaller = f" {_offer(language, words, settings)} is lighter." if lighter else ""
        return [
            f"{base.name} is large for this machine's processor: learning the whole vault "
            f"takes {human(time.full_s)}.{smaller}"
        ]
    return []


def _foreign(code: str, base: Base, words: int, settings: Settings) -> str:
    language = LANGUAGES.get(code, code)
    read = "pebble has" if base.embedded else f"{base.name} has"
    return (
        f"Your notes are in {language}, and {read} read no {language} to speak of: it would "
        f"imitate the letters and not the language. Take {_offer(code, words, settings)}."
    )


def offered(census: Census, base: Base) -> Known | None:
    """The base to offer in the embedded one's place: by language, memory and card."""
    if not base.embedded or census["words"] < LEAST_WORDS:
        return None
    return advised(census["language"], this_machine())


def _offer(language: str | None, words: int, settings: Settings) -> str:
    """The command that takes the advised base, its licence, size and cost on this machine."""
    known = advised(language, this_machine())
    if known is None:
        return "a base that reads it (none that we know fits this machine's memory and disk)"
    facts = [known.licence, f"{known.gigabytes} GB to fetch"]
    time = _time(words, known.parameters, 50_000, settings)
    if words >= LEAST_WORDS and time.measured:
        facts.append(f"{human(time.full_s)} to learn this vault here")
    return f"`vaultgpt base {known.short}` ({', '.join(facts)})"


def _next(census: Census, base: Base, settings: Settings) -> list[str]:
    """What happens next and how long it takes."""
    words, language = census["words"], census["language"]
    foreign = reads_only_english(base.name) and language not in (None, "en")
    time = _time(words, base.parameters, base.vocab, settings, foreign)
    said = []
    if words < _SMALL_WORDS:
        said.append(
            "That is enough to begin and not much: expect an echo of your phrasing, which "
            "gets better with every thousand words."
        )
    if words > _HUGE_WORDS:
        said.append(
            "This is a very large vault. The first round learns from a sample of it, "
            "spread over all years and tags; the rest is best learned overnight."
        )
    said.append(f"Next: `vaultgpt train`{_how_long(time)}")
    said.append(
        f"Then `vaultgpt serve` answers the hotkey, notices new notes, and "
        f"{_when(settings)}. Nothing leaves this machine, and no note is ever changed."
    )
    return said


def _how_long(time: Estimate) -> str:
    if not time.measured:
        return (
            " learns the vault on your GPU, which takes minutes as a rule (not measured by "
            "us), and judges the result on pages it never saw."
        )
    if time.in_one:
        return (
            f" learns the whole vault in {human(time.full_s)} and judges the result on pages "
            "it never saw."
        )
    full = human(time.full_s).removeprefix("about ")
    return (
        f" makes a first voice from a sample in {human(time.first_s)}, judged on pages it "
        f"never saw; the whole vault then takes up to {full}."
    )


def _when(settings: Settings) -> str:
    plan = settings.schedule
    if settings.training.pause:
        return "learns when you say `vaultgpt train` (training.pause is true)"
    if plan.nightly == "off":
        return (
            f"learns whenever {plan.trigger_words:,} new words are there"
            if plan.trigger_words
            else "learns when you say `vaultgpt train`"
        )
    return f"learns a little every night at {plan.nightly}"


def _time(
    words: int, parameters: int, vocab: int, settings: Settings, foreign: bool = False
) -> Estimate:
    return estimate(words, parameters, vocab=vocab, foreign=foreign, training=settings.training)
