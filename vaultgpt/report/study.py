"""All figures about a generation's voice, from a VoiceJob: score headers, write, compare.

Pages are written as at the cursor, each from its header alone, the copy guard off. Runs in the
measuring process, or in a test's own. Knows nothing about pipes or the ledger.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vaultgpt.corpus.documents import prepare
from vaultgpt.corpus.secrets import outside
from vaultgpt.corpus.words import norms, split_words
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.prompting import MOST_ALTERNATIVES
from vaultgpt.report import tagged
from vaultgpt.report.job import CopyFigures, StyleFigures, TagFigures, VoiceFigures, VoiceJob
from vaultgpt.report.style import LEAST_MIRROR, page_words, style
from vaultgpt.report.tagged import header_figures
from vaultgpt.training.base_model import load_base
from vaultgpt.training.copying import WordRuns
from vaultgpt.training.device import Device
from vaultgpt.training.evaluate import spread
from vaultgpt.training.loop import Stopped
from vaultgpt.training.lora import load_adapter, merged
from vaultgpt.training.round import Item
from vaultgpt.wire import Prompt, Sampling, Usage

_Opening = tuple[tuple[str, ...], str | None]  # the tags and the year of one of the author's notes
_LEAST_ROWS = 8
_MARGIN = 1.1  # tokens beyond what the author's own words take
_TEXT_WORDS = 150  # of one text; pages are cut from all of a kind, one after the other
_PAGES = 60  # of the mirror's that are compared in style
_PROFILE_PAGES = 1500  # of training text, at most
_MOST_OPENINGS = 200  # of the author's that pages are written under, one kind
_SPARE = 1.1  # words written beyond the pieces wanted: the last of a kind is cut off
_MOST_PIECES = 150  # of one tag that are looked at
_MOST_TAGS = 8


@dataclass
class Wanted:
    """One kind of page to be written: under which headers, how many words, and what there is."""

    label: str  # the tag it stands for; "" for notes without one
    openings: tuple[_Opening, ...]
    words: int
    least: int  # words, below which nothing can be said of them
    share: float  # of the author's held-out words
    texts: list[str] = field(default_factory=list)
    written: int = 0  # words

    @property
    def left(self) -> int:
        """Words still wanted."""
        return max(0, self.words - self.written)


class _Writer:
    """Writes texts of about `row_words` words with the engine's active generation."""

    def __init__(
        self, engine: Engine, sampling: Sampling, row_words: int, tokens_a_word: float, seed: int
    ) -> None:
        self.engine, self.sampling, self.row_words = engine, sampling, row_words
        self.row_tokens = max(8, math.ceil(row_words * tokens_a_word * _MARGIN))
        self.rng, self.seed = random.Random(seed), seed
        self.tokens, self.seconds = 0, 0.0

    def write(
        self,
        wanted: Sequence[Wanted],
        limit_s: float,
        most_s: float,
        on_part: Callable[[float], None],
    ) -> None:
        """Fill `texts` of each, in turns and the emptiest first, until all or the time is spent.

        The time is `limit_s`, and up to `most_s` while any has less than its least. A batch under
        way at the end of it is cut and what stands is kept."""
        began = time.monotonic()
        while open_ := [w for w in wanted if w.left and w.openings]:
            spent_s = time.monotonic() - began
            lacking = any(w.written < w.least for w in open_)
            if spent_s >= (most_s if lacking else limit_s):
                break
            fresh = sum(not w.texts for w in open_)
            one = max(open_, key=lambda w: (w.written < w.least, w.left / w.words))
            its_s = (most_s - spent_s) / max(1, fresh)
            texts = self.batch(one, its_s)
            one.texts += texts
            one.written += sum(len(split_words(text)) for text in texts)
            cut = time.monotonic() - began >= spent_s + its_s
            if not any(texts) and not cut:
                one.words = one.least = one.written  # it ends every page at once
            done = sum(w.written for w in wanted) / max(1, sum(w.words for w in wanted))
            on_part(min(1.0, max(done, (time.monotonic() - began) / most_s)))
        self.seconds = time.monotonic() - began

    def batch(self, one: Wanted, limit_s: float) -> list[str]:
        """Texts under one header; those that did not end by themselves lose their last word."""
        tags, date = self.rng.choice(one.openings)
        needed = math.ceil(one.left / self.row_words * _MARGIN)
        self.seed += 1
        prompt = Prompt(
            text="",
            tags=tags,
            date=date,
            length="tokens",
            max_tokens=self.row_tokens,
            n=min(MOST_ALTERNATIVES, max(_LEAST_ROWS, needed)),
            seed=self.seed,
            sampling=self.sampling,
        )
        texts, ended = [""] * prompt.n, [False] * prompt.n
        until = time.monotonic() + limit_s
        for piece in self.engine.generate(prompt, lambda: time.monotonic() >= until):
            if isinstance(piece, Usage):
                self.tokens += piece.tokens
                continue
            texts[piece.index] += piece.text
            ended[piece.index] |= piece.finish == "stop"
        return [_whole(*each) for each in zip(texts, ended, strict=True)]


def _whole(text: str, ended: bool) -> str:
    if not ended:
        words = split_words(text)
        text = text[: words[-1].start] if words else ""
    return text.strip("\n").rstrip()


class Study:
    """One measurement; `run` gives its figures."""

    def __init__(
        self, job: VoiceJob, say: Callable[[str, float], None], stop: threading.Event
    ) -> None:
        self.job, self._say, self.stop = job, say, stop
        self.items = {i.id: i for i in (*job.learned, *job.held_out)}
        self.own = {i: own_text(item) for i, item in self.items.items()}
        self.words = {i: len(norms(text)) for i, text in self.own.items()}
        self.labels = _label_notes(
            {i: item.tags for i, item in self.items.items()},
            self.words,
            tagged.PIECE_WORDS,
            tagged.LEAST_PIECES + tagged.FOLDS,
            _MOST_TAGS,
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

    def run(self) -> VoiceFigures:
        """The figures: no prose."""
        began = time.monotonic()
        self.say("load", 0.0)
        settings = self.job.settings
        device = Device.choose(settings.device, settings.dtype, settings.threads)
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
        style, tags, copying = self.style_of(wanted), self.tags_of(wanted), self._copying(wanted)
        self.say("compare", 1.0)
        return {
            "style": style,
            "tags": tags,
            "headers": headers,
            "copying": copying,
            "device": device.name,
            "seconds": time.monotonic() - began,
            "written": {
                "texts": sum(len(w.texts) for w in wanted),
                "words": sum(w.written for w in wanted),
                "tokens": writer.tokens,
                "seconds": writer.seconds,
            },
        }

    def _write(self) -> tuple[list[Wanted], _Writer]:
        job = self.job
        settings, folder = job.mirror, Path(job.adapter)
        engine = Engine(settings)
        engine.load(Path(job.base))
        engine.activate(folder.name, folder)
        some = self.held_out[:50] or self.training[:50]
        tokens = sum(len(engine.vocabulary.encode(text)) for text in some)
        per_word = tokens / max(1, sum(len(norms(text)) for text in some))
        wanted = self._wanted()
        writer = _Writer(
            engine,
            replace(settings.sampling(), guard=False),
            _TEXT_WORDS,
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
            words = _PAGES * share * (self.page_words or tagged.PIECE_WORDS)
            least = LEAST_MIRROR * share * (self.page_words or 0)
            if label and judged:
                words = max(words, tagged.LEAST_PIECES * tagged.PIECE_WORDS)
                least = max(least, tagged.LEAST_GENERATED * tagged.PIECE_WORDS)
            openings = tuple(_opening(self.items[i]) for i in ids if self.words[i])
            step = max(1, len(openings) // _MOST_OPENINGS)
            if words:
                sizes = int(_SPARE * words), int(_SPARE * least)
                kinds.append(Wanted(label, openings[::step], *sizes, share))
        return kinds

    def style_of(self, wanted: Sequence[Wanted]) -> StyleFigures:
        """Of what was written."""
        words = self.page_words
        if words is None:
            return style([], [], [], [], None)
        pages = [_cut(w.texts, words) for w in wanted]
        weights = [w.share / len(p) for w, p in zip(wanted, pages, strict=True) for _ in p]
        return style(
            spread(_cut(self.training, words), _PROFILE_PAGES),
            _cut(self.held_out, words),
            [page for one in pages for page in one],
            weights,
            words,
            self.job.seed,
        )

    def tags_of(self, wanted: Sequence[Wanted]) -> TagFigures:
        """Of what was written under each judged tag."""
        a_fold = _MOST_PIECES // tagged.FOLDS
        real = {
            label: [
                spread(_cut([self.own[i] for i in fold], tagged.PIECE_WORDS), a_fold)
                for fold in self._folds(label)
            ]
            for label in sorted(set(self.labels.values()))
        }
        sizes: dict[str, int] = {}
        for note, item in self.items.items():
            for tag in set(item.tags):
                sizes[tag] = sizes.get(tag, 0) + self.words[note]
        generated = {
            w.label: spread(_cut(w.texts, tagged.PIECE_WORDS), _MOST_PIECES)
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

    def _copying(self, wanted: Sequence[Wanted]) -> CopyFigures:
        """Runs of 8 words that stand in the author's training text, exactly and but for a word."""
        index = WordRuns(i.text for i in self.job.learned)
        runs, longest, share, near = _copied(index, [t for w in wanted for t in w.texts])
        own_runs, own_longest, own, own_near = _copied(index, [i.text for i in self.job.held_out])
        return {
            "runs": runs,
            "longest": longest,
            "share": share,
            "near_share": near,
            "author_runs": own_runs,
            "author_longest": own_longest,
            "author_share": own,
            "author_near_share": own_near,
        }


def _copied(
    index: WordRuns, texts: Sequence[str]
) -> tuple[int, int | None, float | None, float | None]:
    """Runs of 8 words in `texts`, the longest that was copied, and the shares copied and nearly."""
    runs, copied, longest = index.measure(texts)
    if not runs:
        return 0, None, None, None
    return runs, longest, copied / runs, index.near(texts) / runs


def _opening(item: Item) -> _Opening:
    return item.tags, (item.date or "")[:4] or None


def own_text(item: Item) -> str:
    """The entry's text without what is not the author's voice: quotes, code, secrets."""
    prepared = prepare(item)
    return "".join(outside(prepared.text, prepared.masked)).strip()


def _cut(texts: Iterable[str], words: int) -> list[str]:
    """Pieces of exactly `words` words from these texts, one after the other; the rest is left."""
    joined = "\n\n".join(text for text in texts if text)
    starts = [word.start for word in split_words(joined)]
    pieces = []
    for at in range(0, len(starts) - words + 1, words):
        end = starts[at + words] if at + words < len(starts) else len(joined)
        pieces.append(joined[starts[at] : end].rstrip())
    return pieces


def _label_notes(
    tags: Mapping[str, Sequence[str]],
    words: Mapping[str, int],
    piece_words: int,
    least: int,
    most: int,
) -> dict[str, str]:
    """Note -> the one tag it stands for: its rarest of those with enough text to be told apart.

    A tag counts when the notes that stand for it hold `least` pieces of `piece_words` words; at
    most the `most` commonest of those are kept. Notes with none of them are left out."""
    sizes: dict[str, int] = {}
    for note, own in tags.items():
        for tag in set(own):
            sizes[tag] = sizes.get(tag, 0) + words[note]
    kept = {tag for tag, size in sizes.items() if size >= least * piece_words}
    while True:
        chosen = {
            note: min(fitting, key=lambda t: (sizes[t], t))
            for note, own in tags.items()
            if (fitting := kept & set(own))
        }
        held = dict.fromkeys(kept, 0)
        for note, tag in chosen.items():
            held[tag] += words[note]
        order = sorted(kept, key=lambda t: (held[t], t))
        if order and (held[order[0]] < least * piece_words or len(order) > most):
            kept.discard(order[0])
            continue
        return chosen
