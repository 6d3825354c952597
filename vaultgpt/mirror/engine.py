"""The mirror's engine: a Prompt in, Pieces and a Usage out; one base, several generations.

Knows nothing about HTTP, processes or the ledger. One request at a time; whoever calls from
several threads takes turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from vaultgpt import config
from vaultgpt.corpus.lines import Lines, of_generation, usual
from vaultgpt.errors import NotFound, Unavailable, UsageError
from vaultgpt.mirror import question
from vaultgpt.mirror.answer import Answer, Frame
from vaultgpt.mirror.decoding import Decoding, Lane, Mix
from vaultgpt.mirror.echo import Echo, NoRuns, Runs
from vaultgpt.mirror.families import build, choose_device, choose_dtype, count_parameters
from vaultgpt.mirror.healing import Healing
from vaultgpt.mirror.lean import Model
from vaultgpt.mirror.lengths import Ender
from vaultgpt.mirror.linear import Dtype
from vaultgpt.mirror.prefixes import Cancelled, PrefixStore
from vaultgpt.mirror.prompting import Encoded, budget, encode
from vaultgpt.mirror.sampling import Chooser, Dry, Logits
from vaultgpt.mirror.verse import Breaks, Verse
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.mirror.weights import Checkpoint
from vaultgpt.verse import names_verse
from vaultgpt.wire import Piece, Prompt, Usage

BASE = "base"
MODELS = 3  # merged copies kept
MODEL_BYTES = 3 << 30  # and their weights together, the active one aside
MOST_ALTERNATIVES = 16
NO_PIECE = Piece(0, "", "cancelled")


@dataclass(frozen=True)
class Prepared:
    """A prompt prefilled: its lanes, the first one's tokens, how many of them were cached."""

    lanes: list[Lane]
    mix: Mix
    encoded: Encoded
    cached: int
    same_tail: bool  # every lane gave back the same bytes at the cursor


class Engine:
    """Writes with the active generation, the base, or any generation it was told of."""

    def __init__(self, settings: config.Mirror, runs: Runs | None = None) -> None:
        self.settings = settings
        self.runs: Runs = runs or NoRuns()
        self.active = BASE
        self.prefixes = PrefixStore()
        self.dtype: Dtype = "float32"
        self.device = choose_device("cpu")
        self._base: Path | None = None
        self._folders: dict[str, Path] = {}
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._lines: dict[str, dict[str, Lines]] = {}  # generation -> tag -> its lines
        self._barred: Logits | None = None

    # Models -----------------------------------------------------------------------------------

    def load(self, base: Path) -> None:
        """Take `base`, whose weights are read when first needed. BaseModelError, Unavailable."""
        device = choose_device(self.settings.device)
        files = Checkpoint(base)
        dtype = choose_dtype(self.settings.dtype, device, count_parameters(files))
        files.close()
        vocabulary = Vocabulary.load(base)
        self._models.clear()
        self.prefixes.clear()
        self._folders.clear()
        self._base, self.device, self.dtype, self.vocabulary = base, device, dtype, vocabulary
        self.active = BASE
        self._barred = None
        self._breaks = Breaks(vocabulary.written)
        self._line_ends = frozenset([*self._breaks.single.tolist(), *self._breaks.blank.tolist()])
        self._lines.clear()

    def barred(self, size: int) -> Logits:
        """[vocab] -inf for ids that write nothing and do not end the text, else 0."""
        if self._barred is not None:
            return self._barred
        written = self.vocabulary.written
        barred = np.full(size, -np.inf, dtype=np.float32)
        barred[[i for i in range(min(size, len(written)))
                if written[i] or i in self.vocabulary.ends]] = 0.0
        self._barred = barred
        return barred

    def activate(self, gen_id: str | None, folder: Path | None = None,
                 generations: Mapping[str, Path] | None = None) -> None:
        """Merge and switch to a generation; None is the base. On an error the old one stays.

        `generations` replaces the folders known by id. GenerationError or NotFound.
        """
        known = dict(self._folders if generations is None else generations)
        if gen_id is not None and folder is not None:
            known[gen_id] = folder
        changed = {g for g, path in self._folders.items() if known.get(g) != path}
        for gone in changed:
            self._models.pop(gone, None)
            self._lines.pop(gone, None)
        self.prefixes.drop(changed)
        before, self._folders = self._folders, known
        try:
            self._model(gen_id or BASE)
        except Exception:
            self._folders = before
            raise
        self.active = gen_id or BASE

    def generation(self, name: str) -> str:
        """The generation that a request's `model` means. NotFound when there is none."""
        gen_id = self.active if name == "mirror" else name
        if gen_id != BASE and gen_id not in self._folders:
            raise NotFound("There is no such generation.", "`vaultgpt generations` lists them.")
        return gen_id

    def _model(self, gen_id: str) -> Model:
        if self._base is None:
            raise Unavailable("No base model is loaded yet.")
        if gen_id not in self._models:
            if gen_id != BASE and gen_id not in self._folders:
                raise NotFound("There is no such generation.", "`vaultgpt generations` lists them.")
            self._models[gen_id] = build(self._base, self._folders.get(gen_id), self.dtype,
                                         self.device)
        self._models.move_to_end(gen_id)
        self._trim(gen_id)
        return self._models[gen_id]

    def lines(self, gen_id: str, tags: tuple[str, ...]) -> Lines | None:
        """How the author's lines run under these tags, by what the generation learned, if so."""
        if gen_id not in self._lines:
            folder = self._folders.get(gen_id)
            self._lines[gen_id] = of_generation(folder) if folder else {}
        return usual(tags, self._lines[gen_id])

    def _trim(self, wanted: str) -> None:
        for gen_id in list(self._models):
            size = sum(m.nbytes() for m in self._models.values())
            if len(self._models) <= 1 or (len(self._models) <= MODELS and size <= MODEL_BYTES):
                return
            if gen_id not in (wanted, self.active):
                del self._models[gen_id]
                self.prefixes.drop({gen_id})

    # Requests ---------------------------------------------------------------------------------

    def warm(self, prompt: Prompt, cancelled: Callable[[], bool]) -> int:
        """Prefill and keep the prompt; the number of its tokens that are cached now."""
        try:
            return len(self.prepare(prompt, cancelled).lanes[0].prefix.ids)
        except Cancelled:
            return 0

    def generate(self, prompt: Prompt, cancelled: Callable[[], bool],
                 received: float | None = None) -> Iterator[Piece | Usage]:
        """Pieces as they are settled, then one Usage.

        `received` is perf_counter() at the request's receipt, for first_token_ms. `cancelled` is
        asked at every token and every prefill chunk. NotFound, UsageError.
        """
        began = perf_counter() if received is None else received
        if not 1 <= prompt.n <= MOST_ALTERNATIVES:
            raise UsageError(f"n must lie between 1 and {MOST_ALTERNATIVES}.")
        if prompt.form == "question":
            yield from question.ask(self, prompt, cancelled, began)
            return
        run = Request(self, prompt, cancelled, began)
        yield from run.pieces()
        yield run.usage()

    def prepare(self, prompt: Prompt, cancelled: Callable[[], bool],
                text: str | None = None) -> Prepared:
        """Prefill the prompt in every lane it needs. `text` replaces the prompt's own, unhealed."""
        gen_id, sampling = self.generation(prompt.model), prompt.sampling
        model = self._model(gen_id)
        wanted = [("c", gen_id, True)]
        # A date alone changes next to nothing, and the base has never seen a header.
        if sampling.tag_strength != 1.0 and prompt.tags and gen_id != BASE:
            wanted.append(("u", gen_id, False))
        if sampling.voice and gen_id != BASE:
            wanted.append(("b", BASE, True))
        models = [self._model(g) if g != gen_id else model for _, g, _ in wanted]
        room, _ = budget(model.context, prompt.max_tokens)
        lanes, parts, cached = [], [], 0
        for (name, owner, header), each in zip(wanted, models, strict=True):
            heal = sampling.heal and text is None
            encoded = encode(self.vocabulary, prompt, room, header=header, heal=heal, text=text)
            ids = encoded.cut.ids
            prefix, found = self.prefixes.fill((owner, name), each, ids[:-1], cancelled)
            cached = found if name == "c" else cached
            lanes.append(Lane(each, ids, prefix))
            parts.append(encoded)
        mix = Mix.of(sampling, [name for name, _, _ in wanted])
        same_tail = all(p.cut.tail == parts[0].cut.tail for p in parts)
        return Prepared(lanes, mix, parts[0], cached, same_tail)


class Request:
    """One request under way: prefill, healing, decoding, figures."""

    def __init__(self, engine: Engine, prompt: Prompt, cancelled: Callable[[], bool],
                 began: float, stems: question.Stems | None = None) -> None:
        self.engine, self.prompt, self.began, self.stems = engine, prompt, began, stems
        self.cancelled = cancelled
        self.answers: list[Answer] = []
        self.decoding: Decoding | None = None
        self.lines: Lines | None = None
        self.prompt_tokens = self.cached = 0

    def pieces(self) -> Iterator[Piece]:
        """All pieces; on cancelling each alternative ends with that finish."""
        try:
            self._prepare()
        except Cancelled:
            yield from (replace(NO_PIECE, index=i) for i in range(self.prompt.n))
            return
        assert self.decoding is not None
        yield from self.decoding.run(self.answers, self.cancelled)

    def _prepare(self) -> None:
        engine, prompt = self.engine, self.prompt
        text = self.stems.text if self.stems else None
        ready = engine.prepare(prompt, self.cancelled, text)
        cut, self.cached = ready.encoded.cut, ready.cached
        self.prompt_tokens = len(cut.ids)
        barred = engine.barred(ready.lanes[0].model.vocab)
        barred = barred + self.stems.barred if self.stems else barred
        self.decoding = Decoding(ready.lanes, ready.mix, barred)
        healing = None
        if cut.tail and ready.same_tail:
            healing = Healing(engine.vocabulary, cut, self.decoding.look, barred)
        rows = len(self.stems.tails) if self.stems else prompt.n
        frame = self._frame(ready.encoded, healing)
        self.lines = self._lines_here()
        self.answers = [self._answer(i, frame) for i in range(rows)]

    def _frame(self, encoded: Encoded, healing: Healing | None) -> Frame:
        prompt, cut = self.prompt, encoded.cut
        before = prompt.text
        strip = " \t\n\r" if not before or before[-1] in "\r\n" or self.stems else (
            " \t" if before[-1].isspace() else "")
        _, most = budget(self.engine._model(self.engine.generation(prompt.model)).context,
                         prompt.max_tokens)
        return Frame(
            vocabulary=self.engine.vocabulary, before=before,
            context=cut.ids[encoded.head :], skip=len(cut.tail) if healing else 0,
            max_tokens=most, needs_word=prompt.length != "tokens",
            healing=healing, strip=strip)

    def _lines_here(self) -> Lines | None:
        """How lines run here; None in prose, as where the line at the cursor is far too long."""
        prompt = self.prompt
        found = self.engine.lines(self.engine.generation(prompt.model), prompt.tags)
        here = len(prompt.text) - prompt.text.rfind("\n") - 1
        return found if found is not None and here <= found.longest and not self.stems else None

    def _answer(self, index: int, frame: Frame) -> Answer:
        prompt, sampling = self.prompt, self.prompt.sampling
        found = self.lines
        poetry = found is not None or any(map(names_verse, prompt.tags))
        answer = Answer(
            index, frame, Chooser(sampling, prompt.seed, index),
            Dry(sampling, self.engine._line_ends if poetry else frozenset(), poetry),
            Echo(self.engine.runs, "" if self.stems else prompt.text, sampling.guard),
            Ender(prompt.length, frame.max_tokens, prompt.stop, prompt.suffix, poetry),
            Verse(found, self.engine._breaks) if found is not None else None)
        if frame.healing:
            answer.heal()
        if self.stems:
            answer.forced = list(self.stems.tails[index])
            answer.bar(len(answer.forced), self.stems.joined)
        return answer

    def usage(self) -> Usage:
        """The figures, once the pieces are through."""
        tails = [len(a.tail) for a in self.answers]
        first = self.decoding.first_at if self.decoding else None
        leader = self.decoding.leader_at if self.decoding else 0.0
        speed = None
        if first is not None and tails[0] > 1 and leader > first:
            speed = round((tails[0] - 1) / (leader - first), 1)
        return Usage(
            generation=self.engine.generation(self.prompt.model),
            prompt_tokens=self.prompt_tokens, tokens=sum(tails), cached_tokens=self.cached,
            first_token_ms=round(((first or perf_counter()) - self.began) * 1000, 1),
            tokens_per_s=speed)
