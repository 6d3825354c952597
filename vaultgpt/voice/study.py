"""All figures about a generation's voice, from a VoiceJob: score headers, write, compare.

Runs in the measuring process, or in a test's own. Knows nothing about pipes or the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vaultgpt.config import Mirror
from vaultgpt.corpus.runs import norms
from vaultgpt.mirror.engine import Engine
from vaultgpt.training.base import load_base
from vaultgpt.training.copying import WordRuns
from vaultgpt.training.device import choose_device
from vaultgpt.training.evaluate import spread
from vaultgpt.training.loop import Stopped
from vaultgpt.training.lora import load_adapter, merged
from vaultgpt.training.round import Item
from vaultgpt.voice import tagged
from vaultgpt.voice.headers import header_figures
from vaultgpt.voice.job import VoiceJob
from vaultgpt.voice.pages import cut, label_notes, own_text
from vaultgpt.voice.style import LEAST_MIRROR, page_words, style
from vaultgpt.voice.write import Opening, Wanted, Writer

TEXT_WORDS = 150  # of one text; pages are cut from all of a kind, one after the other
PAGES = 60  # of the mirror's that are compared in style
PROFILE_PAGES = 1500  # of training text, at most
MOST_OPENINGS = 200  # of the author's that pages are written under, one kind
SPARE = 1.1  # words written beyond the pieces wanted: the last of a kind is cut off


class Study:
    """One measurement; `run` gives its figures."""

    def __init__(
        self, job: VoiceJob, say: Callable[[str, float], None], stop: threading.Event
    ) -> None:
        self.job, self._say, self.stop = job, say, stop
        self.items = {i.id: i for i in (*job.learned, *job.held_out)}
        self.own = {i: own_text(item) for i, item in self.items.items()}
        self.words = {i: len(norms(text)) for i, text in self.own.items()}
        self.labels = label_notes(
            {i: item.tags for i, item in self.items.items()},
            self.words,
            tagged.PIECE_WORDS,
            tagged.LEAST_PIECES + tagged.FOLDS,
            tagged.MOST_TAGS,
        )
        self.training = [self.own[i.id] for i in job.learned]
        self.held_out = [self.own[i.id] for i in job.held_out]
        self.page_words = page_words(
            sum(self.words[i.id] for i in job.learned), sum(self.words[i.id] for i in job.held_out)
        )

    def say(self, phase: str, fraction: float) -> None:
        """Tell how far it is; loop.Stopped once it was told to stop."""
        if self.stop.is_set():
            raise Stopped
        self._say(phase, fraction)

    def run(self) -> dict[str, Any]:
        """{"style", "tags", "headers", "copying", "written", "device", "seconds"}: no prose."""
        began = time.monotonic()
        self.say("load", 0.0)
        settings = self.job.settings
        device = choose_device(settings["device"], settings["dtype"], int(settings["threads"]))
        base = load_base(Path(self.job.base), device)
        with merged(base, load_adapter(Path(self.job.adapter))):
            known = sorted({tag for item in self.items.values() for tag in item.tags})
            headers = header_figures(
                base,
                self.job.held_out,
                sorted(set(self.labels.values())) or known,
                self.job.score_s,
                self.job.seed,
                lambda done: self.say("evaluate", done),
            )
        del base  # the engine loads its own, in the arithmetic that it writes in
        wanted, writer = self._write()
        self.say("compare", 0.0)
        figures = {
            "style": self._style(wanted),
            "tags": self._tags(wanted),
            "headers": headers,
            "copying": self._copying(wanted),
        }
        self.say("compare", 1.0)
        return {
            **figures,
            "device": device.name,
            "seconds": time.monotonic() - began,
            "written": {
                "texts": sum(len(w.texts) for w in wanted),
                "words": sum(w.written for w in wanted),
                "tokens": writer.tokens,
                "seconds": writer.seconds,
            },
        }

    def _write(self) -> tuple[list[Wanted], Writer]:
        job = self.job
        settings, folder = Mirror(**job.mirror), Path(job.adapter)
        engine = Engine(settings)
        engine.load(Path(job.base))
        engine.activate(folder.name, folder)
        some = self.held_out[:50] or self.training[:50]
        tokens = sum(len(engine.vocabulary.encode(text)) for text in some)
        per_word = tokens / max(1, sum(len(norms(text)) for text in some))
        wanted = self._wanted()
        writer = Writer(
            engine,
            replace(settings.sampling(), guard=False),
            TEXT_WORDS,
            min(8.0, max(1.0, per_word)),
            job.seed,
        )
        writer.write(wanted, job.write_s, job.most_write_s, lambda done: self.say("write", done))
        return wanted, writer

    def _wanted(self) -> list[Wanted]:
        """A kind of page for each judged tag, and one for the rest: headers, words, share."""
        held = {i.id for i in self.job.held_out}
        total = sum(self.words[i] for i in held)
        judged = len(set(self.labels.values())) > 1
        kinds: list[Wanted] = []
        for label in sorted({*self.labels.values(), ""}):
            ids = sorted(i for i in self.items if self.labels.get(i, "") == label)
            share = sum(self.words[i] for i in ids if i in held) / max(1, total)
            words = PAGES * share * (self.page_words or tagged.PIECE_WORDS)
            least = LEAST_MIRROR * share * (self.page_words or 0)
            if label and judged:
                words = max(words, tagged.LEAST_PIECES * tagged.PIECE_WORDS)
                least = max(least, tagged.LEAST_GENERATED * tagged.PIECE_WORDS)
            openings = tuple(_opening(self.items[i]) for i in ids if self.words[i])
            step = max(1, len(openings) // MOST_OPENINGS)
            if words:
                sizes = int(SPARE * words), int(SPARE * least)
                kinds.append(Wanted(label, openings[::step], *sizes, share))
        return kinds

    def _style(self, wanted: Sequence[Wanted]) -> dict[str, Any]:
        words = self.page_words
        if words is None:
            return style([], [], [], [], None)
        pages = [cut(w.texts, words) for w in wanted]
        weights = [w.share / len(p) for w, p in zip(wanted, pages, strict=True) for _ in p]
        return style(
            spread(cut(self.training, words), PROFILE_PAGES),
            cut(self.held_out, words),
            [page for one in pages for page in one],
            weights,
            words,
            self.job.seed,
        )

    def _tags(self, wanted: Sequence[Wanted]) -> dict[str, Any]:
        a_fold = tagged.MOST_PIECES // tagged.FOLDS
        real = {
            label: [
                spread(cut([self.own[i] for i in fold], tagged.PIECE_WORDS), a_fold)
                for fold in self._folds(label)
            ]
            for label in sorted(set(self.labels.values()))
        }
        sizes: dict[str, int] = {}
        for note, item in self.items.items():
            for tag in set(item.tags):
                sizes[tag] = sizes.get(tag, 0) + self.words[note]
        generated = {
            w.label: spread(cut(w.texts, tagged.PIECE_WORDS), tagged.MOST_PIECES)
            for w in wanted
            if w.label
        }
        return tagged.judge(
            real, generated, {tag: size // tagged.PIECE_WORDS for tag, size in sizes.items()}
        )

    def _folds(self, label: str) -> list[list[str]]:
        """The notes of a label in parts of about equal size."""
        folds: list[list[str]] = [[] for _ in range(tagged.FOLDS)]
        sizes = [0] * tagged.FOLDS
        ids = [i for i in self.items if self.labels.get(i) == label]
        for note in sorted(ids, key=lambda i: (-self.words[i], i)):
            least = sizes.index(min(sizes))
            folds[least].append(note)
            sizes[least] += self.words[note]
        return folds

    def _copying(self, wanted: Sequence[Wanted]) -> dict[str, Any]:
        """Runs of 8 words that stand in the author's training text, exactly and but for a word."""
        index = WordRuns(i.text for i in self.job.learned)
        figures: dict[str, Any] = {}
        for prefix, texts in (
            ("", [t for w in wanted for t in w.texts]),
            ("author_", [i.text for i in self.job.held_out]),
        ):
            runs, copied, longest = index.measure(texts)
            near = index.near(texts)
            figures |= {
                f"{prefix}runs": runs,
                f"{prefix}longest": longest if runs else None,
                f"{prefix}share": copied / runs if runs else None,
                f"{prefix}near_share": near / runs if runs else None,
            }
        return figures


def _opening(item: Item) -> Opening:
    return item.tags, (item.date or "")[:4] or None
