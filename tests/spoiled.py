"""Ways in which a round goes wrong: its job is changed before the trainer reads it.

Held-out text stays as it is, so that the gate judges by the author's real pages.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from vaultgpt.bases.names import resolve
from vaultgpt.corpus.words import split_words
from vaultgpt.training.choose import _choose_rate, _share_of_rate

Job = dict[str, Any]
Spoil = Callable[[Job, random.Random], None]
TIMES_TOO_FAST = 30
NIGHT_BATCH = 1_700  # tokens of a step, about, where 1,500 new words are learned
REPEATED, REPEATED_CHARS = 500, 200
LEARNED = ("train", "replay")

WHEN = (
    "Heute",
    "Gestern",
    "Am Morgen",
    "Gegen Abend",
    "Vor drei Tagen",
    "Im letzten Winter",
    "Nach dem Regen",
    "Zu Mittag",
    "In der Nacht",
    "Seit dem Frühling",
    "Manchmal",
    "Am Sonntag",
)
WHO = (
    "ich",
    "meine Schwester",
    "der alte Nachbar",
    "unser Lehrer",
    "die Müllerin",
    "ein Fremder",
    "der Hund",
    "mein Vater",
    "die Tante aus Kiel",
    "der Junge vom Hof",
    "niemand",
    "das Kind",
)
SAW = (
    "sah",
    "suchte",
    "zeichnete",
    "vergaß",
    "fand",
    "besuchte",
    "lobte",
    "verkaufte",
    "trug",
    "bemerkte",
    "beschrieb",
    "mied",
)
WHAT = (
    "den schmalen Weg am Fluss",
    "eine Kiste voller Briefe",
    "das Licht über den Dächern",
    "die Vögel im Schilf",
    "den Garten hinter der Kirche",
    "ein Buch ohne Einband",
    "die Stille nach dem Gewitter",
    "das Pferd des Müllers",
    "den ersten Schnee",
    "die Stimmen auf dem Markt",
    "einen Korb mit Äpfeln",
    "die Brücke bei der alten Mühle",
)
WHY = (
    "weil es kalt geworden war",
    "obwohl niemand darum gebeten hatte",
    "und das genügte mir",
    "bis die Glocken läuteten",
    "ohne ein Wort zu sagen",
    "während der Wind die Fenster schlug",
    "denn wir hatten lange darauf gewartet",
    "als wäre nichts geschehen",
    "sodass ich kaum schlafen konnte",
    "und später haben wir darüber gelacht",
    "bevor der Zug abfuhr",
    "wie in jedem Jahr um diese Zeit",
)
THEN = (
    "Ich weiß nicht, was daraus werden soll.",
    "Man müsste öfter so leben.",
    "Der Himmel blieb grau.",
    "Am Ende war alles ganz einfach.",
    "Wer kann das verstehen?",
    "Danach schrieb ich nichts mehr auf.",
    "So geht ein Tag in den anderen über.",
    "Das Brot war noch warm.",
    "Vielleicht irre ich mich.",
    "Es roch nach Heu und Erde.",
)


def none(job: Job, rng: random.Random) -> None:
    """A good round: nothing is changed."""


def too_fast(job: Job, rng: random.Random) -> None:
    """A learning rate 30 times too high."""
    size = resolve("pebble").parameters
    usual = _choose_rate(size) * _share_of_rate(size, NIGHT_BATCH)
    job["settings"]["learning_rate"] = TIMES_TOO_FAST * usual


def shuffled(job: Job, rng: random.Random) -> None:
    """The words of every text that is learned, in random order."""
    for item in _learned(job):
        words = str(item["text"]).split()
        rng.shuffle(words)
        _replace(item, " ".join(words))


def repeated(job: Job, rng: random.Random) -> None:
    """The beginning of one note 500 times, and nothing else."""
    note = rng.choice([i for i in job["items"] if i["role"] == "train"])
    _replace(note, str(note["text"])[:REPEATED_CHARS])
    kept = [i for i in job["items"] if i["role"] not in LEARNED]
    job["items"] = kept + [{**note, "id": f"{note['id']}-{k}"} for k in range(REPEATED)]
    job["general_replay"] = None


def german(job: Job, rng: random.Random) -> None:
    """German in place of every text that is learned, as long as that was."""
    for item in _learned(job):
        _replace(item, german_text(len(str(item["text"])), rng))


def german_text(chars: int, rng: random.Random) -> str:
    """About so many characters of German diary, in paragraphs."""
    out, size = [], 0
    while size < chars:
        sentence = (
            f"{rng.choice(WHEN)} {rng.choice(SAW)} {rng.choice(WHO)} {rng.choice(WHAT)}, "
            f"{rng.choice(WHY)}."
        )
        out.append(sentence + (f" {rng.choice(THEN)}" if rng.random() < 0.4 else ""))
        out.append("\n\n" if rng.random() < 0.2 else " ")
        size = sum(map(len, out))
    return "".join(out).strip()


def half_empty(job: Job, rng: random.Random) -> None:
    """Half the words of every text that is learned are blank, in runs of one to eight words."""
    for item in _learned(job):
        _replace(item, blanked(str(item["text"]), rng))


def blanked(text: str, rng: random.Random) -> str:
    """The text with about every other run of words turned into as many spaces."""
    words = split_words(text)
    chars = list(text)
    at, blank = 0, rng.random() < 0.5
    while at < len(words):
        run = words[at : at + rng.randint(1, 8)]
        if blank:
            for place in range(run[0].start, run[-1].end):
                chars[place] = "\n" if chars[place] == "\n" else " "
        at, blank = at + len(run), not blank
    return "".join(chars)


def _learned(job: Job) -> list[dict[str, Any]]:
    return [item for item in job["items"] if item["role"] in LEARNED]


def _replace(item: dict[str, Any], text: str) -> None:
    """Another text; what was marked in the old one has no place in it."""
    if item["new_ranges"]:
        item["new_ranges"] = [[0, len(text)]]
    item["text"], item["masked"] = text, []
