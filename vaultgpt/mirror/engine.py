"""The mirror's engine: a Prompt in, Pieces and a Usage out; one base, several generations.

Knows nothing about HTTP, processes or the ledger. One request at a time; whoever calls from
several threads takes turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from vaultgpt.arithmetic import Dtype, choose_device, choose_dtype
from vaultgpt.corpus.habits import Habits
from vaultgpt.corpus.lines import Lines, habits, of_generation, usual
from vaultgpt.errors import NotFound, Unavailable
from vaultgpt.generation_folders import with_folder
from vaultgpt.mirror import question
from vaultgpt.mirror.answer import Answer
from vaultgpt.mirror.copy_guard import NoRuns, Runs
from vaultgpt.mirror.decoding import Cancelled, Guidance, Lane, PrefixStore, prompt_chances
from vaultgpt.mirror.families import Commons, build, stamps
from vaultgpt.mirror.graphs import Graphs
from vaultgpt.mirror.lean import LeanModel, Model
from vaultgpt.mirror.prompting import Encoded, budget, check_alternatives, encode
from vaultgpt.mirror.sampling import Breaks, Logits
from vaultgpt.mirror.sequences import Prepared, Sequences, VoiceParts
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.mirror.weights import Checkpoint
from vaultgpt.settings import Mirror
from vaultgpt.wire import Piece, Prompt, TokenChance, Usage

_BASE = "base"
_MODELS = 3  # merged copies kept
_MODEL_BYTES = 3 << 30  # and their weights together, the active one aside
_SAMPLE_TOKENS = 48  # with which a model of 135 M parameters is looked at in about 0.3 s
_SAMPLE = """It was late in the afternoon when we came down to the harbour. The boats were in, and
the men were mending their nets. I asked one of them what he had caught, and he laughed: "Nothing,
and I would do it again." Why do I always dream of water?""".replace("\n", " ")
_CANDIDATES = 6
_MOST_TOKENS = 40
_BARRED = 4  # lists of barred tokens kept
_ATTEMPTS = 2  # at questions, for those that were none


class Engine:
    """Writes with the active generation, the base, or any generation it was told of."""

    problem = ""  # why it writes in place of the one that the settings name

    def __init__(self, settings: Mirror, runs: Runs | None = None) -> None:
        self.settings = settings
        self.runs: Runs = NoRuns() if runs is None else runs  # one that is empty may grow
        self.active = _BASE
        self.prefixes = PrefixStore()
        self.commons: Commons | None = None  # with engines of other vaults in this process
        self.company: Callable[[], None] = lambda: None  # another one has come to its base
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext  # to read weights in
        self._dtype: Dtype = "float32"  # asked for; a model's own may differ
        self._sample: list[int] = []  # the tokens on which int8 is held against fp32
        self.device = choose_device("cpu")
        self._base: Path | None = None
        self._stamps: tuple[object, ...] = ()  # of its files
        self._merged = False  # some of its models share no weights
        self._folders: dict[str, Path] = {}
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._lines: dict[str, dict[str, Lines]] = {}  # generation -> tag -> its lines
        self._barred: dict[tuple[str, ...] | None, Logits] = {}  # by the author's scripts

    # Models -----------------------------------------------------------------------------------

    def load(self, base: Path) -> None:
        """Take `base`, whose weights are read when first needed. BaseModelError, Unavailable."""
        device = choose_device(self.settings.device)
        self._stamps = stamps(base)
        files = Checkpoint(base)
        self._parameters = files.parameters
        dtype = choose_dtype(self.settings.dtype, device, self._parameters)
        files.close()
        read = self.commons.vocabulary if self.commons else Vocabulary.load
        vocabulary = read(base)
        if self.commons:
            self.commons.join(self, base, self.company)
        self._models.clear()
        self.prefixes.clear()
        self._folders.clear()
        self._base, self.device, self._dtype, self.vocabulary = base, device, dtype, vocabulary
        self._sample = [vocabulary.start, *vocabulary.encode(_SAMPLE)[:_SAMPLE_TOKENS]]
        self.active = _BASE
        self._barred.clear()
        self._breaks = Breaks(vocabulary.written, vocabulary.blanks)
        self._lines.clear()

    def _writable(self, size: int, author: Habits | None = None) -> Logits:
        """[vocab] -inf for ids that neither write what training saw nor end the text, nor are of a
        script that `author` does not write in, else 0."""
        scripts = author.scripts if author else None
        if scripts not in self._barred:
            if len(self._barred) == _BARRED:
                self._barred.clear()
            words = self.vocabulary
            may = {i for i, written in enumerate(words.written) if written} | words.ends
            may -= {*words.blanks, *words.html, *self._foreign(author)}
            barred = self._barred[scripts] = np.full(size, -np.inf, dtype=np.float32)
            barred[[i for i in may if i < size]] = 0.0
        return self._barred[scripts]

    def activate(
        self,
        gen_id: str | None,
        folder: Path | None = None,
        generations: Mapping[str, Path] | None = None,
    ) -> None:
        """Merge and switch to a generation; None is the base. On an error the old one stays.

        `generations` replaces the folders known by id. GenerationError or NotFound.
        """
        known = with_folder(self._folders if generations is None else generations, gen_id, folder)
        changed = {g for g, path in self._folders.items() if known.get(g) != path}
        for gone in changed:
            self._models.pop(gone, None)
            self._lines.pop(gone, None)
        self.prefixes.drop(changed)
        before, self._folders = self._folders, known
        try:
            self._model(gen_id or _BASE)
        except Exception:
            self._folders = before
            raise
        self.active = gen_id or _BASE

    def regroup(self) -> None:
        """The base's weights are shared now: let go of one's own, and of what they computed.

        Not where other files have taken the base's place: the voice was verified with the old ones.
        """
        if not self._merged or self._base is None or stamps(self._base) != self._stamps:
            return
        self._merged = False
        self._models.clear()
        self.prefixes.clear()
        self._model(self.active)

    @property
    def dtype(self) -> Dtype:
        """The arithmetic of the active generation."""
        return self._model(self.active).dtype if self._base else self._dtype

    @property
    def slow(self) -> str:
        """Why the active generation writes slower on this device than it could; "" for nothing."""
        model = self._models.get(self.active)
        graphs = model.graphs if isinstance(model, LeanModel) else None
        return graphs.refused if graphs else ""

    @property
    def cost(self) -> float | None:
        """Nats that int8 adds to those of fp32, as a share; None where it writes in another."""
        model = self._model(self.active)
        return model.cost if model.dtype == "int8" else None

    def generation(self, name: str) -> str:
        """The generation that a request's `model` means. NotFound when there is none."""
        gen_id = self.active if name == "mirror" else name
        if gen_id != _BASE and gen_id not in self._folders:
            raise NotFound("There is no such generation.", "`vaultgpt generations` lists them.")
        return gen_id

    def _model(self, gen_id: str) -> Model:
        if self._base is None:
            raise Unavailable("No base model is loaded yet.")
        if gen_id not in self._models:
            if gen_id != _BASE and gen_id not in self._folders:
                raise NotFound("There is no such generation.", "`vaultgpt generations` lists them.")
            with self.aside():
                shares = self.commons is not None and not self.commons.alone(self)
                self._merged = self._merged or not shares
                model = self._models[gen_id] = build(
                    self._base,
                    self._folders.get(gen_id),
                    self._dtype,
                    self.device,
                    self._sample,
                    self.commons if shares else None,
                    self._other_voice(),
                    self._foreign(self._author(gen_id)),
                )
            # A base that others write on too may have them already, by their settings.
            if isinstance(model, LeanModel) and model.graphs is None and self.settings.cuda_graphs:
                model.graphs = Graphs.on(model.device)
        self._models.move_to_end(gen_id)
        self._trim(gen_id)
        return self._models[gen_id]

    def _other_voice(self) -> Model | None:
        """One that is at hand, while the base's files are those that it was read of."""
        same = self._base is not None and stamps(self._base) == self._stamps
        return next(iter(self._models.values()), None) if same else None

    def _lines_of(self, gen_id: str) -> dict[str, Lines]:
        """By tag, how the author whom the generation learned writes; {} for the base."""
        if gen_id not in self._lines:
            folder = self._folders.get(gen_id)
            self._lines[gen_id] = of_generation(folder) if folder else {}
        return self._lines[gen_id]

    def _author(self, gen_id: str) -> Habits | None:
        """How the author writes whom the generation learned; None for the base."""
        return habits((), self._lines_of(gen_id))

    def _foreign(self, author: Habits | None) -> Sequence[int]:
        """The tokens of scripts that they do not write in; none where that is unknown."""
        return self.vocabulary.foreign(author) if author else ()

    def _trim(self, wanted: str) -> None:
        for gen_id in list(self._models):
            size = sum(m.nbytes() for m in self._models.values())
            if len(self._models) <= 1 or (len(self._models) <= _MODELS and size <= _MODEL_BYTES):
                return
            if gen_id not in (wanted, self.active):
                del self._models[gen_id]
                self.prefixes.drop({gen_id})

    # Requests ---------------------------------------------------------------------------------

    def warm(self, prompt: Prompt, cancelled: Callable[[], bool]) -> int:
        """Prefill and keep the prompt; the number of its tokens that are cached now."""
        ready = self._prepare(prompt, cancelled)
        return len(ready.lanes[0].prefix.ids) if ready else 0

    def generate(
        self, prompt: Prompt, cancelled: Callable[[], bool], received: float | None = None
    ) -> Iterator[Piece | Usage]:
        """Pieces as they are settled, then one Usage.

        `received` is perf_counter() at the request's receipt, for first_token_ms. `cancelled` is
        asked at every token and every prefill chunk. NotFound, UsageError.
        """
        began = perf_counter() if received is None else received
        check_alternatives(prompt)
        if prompt.form == "question":
            yield from self._ask(prompt, cancelled, began)
            return
        if prompt.echo and prompt.logprobs is not None:
            yield Piece(0, "", tokens=self._prompt_chances(prompt, prompt.logprobs, cancelled))
        if prompt.max_tokens == 0:
            yield from (Piece(i, "", "length") for i in range(prompt.n))
            read = len(self._read(prompt).cut.ids)
            yield replace(self.begin(prompt, lambda: True, began).usage(), prompt_tokens=read)
            return
        writing = self.begin(prompt, cancelled, began)
        yield from writing.pieces(cancelled)
        yield writing.usage()

    def begin(
        self,
        prompt: Prompt,
        cancelled: Callable[[], bool],
        began: float,
        stems: question.Stems | None = None,
    ) -> Sequences:
        """Prefill the prompt, or that of `stems`, and stand ready to write."""
        prompt = replace(prompt, sampling=prompt.sampling.on(self._parameters))
        gen_id = self.generation(prompt.model)
        author = self._author(gen_id)
        both = self._beside(prompt, stems)
        voice = VoiceParts(
            gen_id,
            self.vocabulary,
            self._breaks,
            self._writable(self._model(gen_id).vocab, both),
            both is None or both != author,
            self.runs,
            usual(prompt.tags, self._lines_of(gen_id)),
            habits(prompt.tags, self._lines_of(gen_id)),
        )
        ready = self._prepare(prompt, cancelled, stems.text if stems else None)
        return Sequences(prompt, voice, ready, began, stems)

    def _beside(self, prompt: Prompt, stems: question.Stems | None = None) -> Habits | None:
        """The author of the voice that is asked, in the scripts of what is given as well."""
        given = prompt.text + prompt.suffix + (prompt.title or "")
        for tail in stems.tails if stems else ():
            given += self.vocabulary.bytes_of(tail).decode("utf-8", "ignore")
        author = self._author(self.generation(prompt.model))
        return author and author.beside(given)

    def _ask(
        self, prompt: Prompt, cancelled: Callable[[], bool], began: float
    ) -> Iterator[Piece | Usage]:
        """n questions to the author, the best of the true ones; two batches at most."""
        size = self._model(self.generation(prompt.model)).vocab
        found: list[str] = []
        done: list[Usage] = []
        while len(found) < prompt.n and len(done) < _ATTEMPTS and not cancelled():
            inner = _attempt(prompt, len(done))
            stems = question.make_stems(self.vocabulary, inner, size)
            writing = self.begin(inner, cancelled, began, stems)
            for _ in writing.pieces(cancelled):
                pass
            done.append(writing.usage())
            found += question.best(map(_candidate, writing.answers), prompt.text, found)
        for i in range(prompt.n):
            text = found[i] if i < len(found) else ""
            yield Piece(i, text, "cancelled" if cancelled() and not text else "stop")
        first = done[0] if done else self.begin(prompt, lambda: True, began).usage()
        yield replace(first, tokens=sum(usage.tokens for usage in done), sure=())

    def _read(self, prompt: Prompt) -> Encoded:
        """The prompt's own tokens, with all of its end."""
        room, _ = budget(self._model(self.generation(prompt.model)).context, prompt.max_tokens)
        return encode(self.vocabulary, prompt, room, header=True, heal=False)

    def _prompt_chances(
        self, prompt: Prompt, most: int, cancelled: Callable[[], bool]
    ) -> tuple[TokenChance, ...]:
        """Of the prompt's own tokens, after the header or the start of a text."""
        model, read = self._model(self.generation(prompt.model)), self._read(prompt)
        barred = self._writable(model.vocab, self._beside(prompt))
        ids, head = read.cut.ids, read.head
        return prompt_chances(model, self.vocabulary, ids, head, most, barred, cancelled)

    def _prepare(
        self, prompt: Prompt, cancelled: Callable[[], bool], text: str | None = None
    ) -> Prepared | None:
        """Prefill the prompt in every lane it needs; None when it was cancelled meanwhile.

        `text` replaces the prompt's own, unhealed.
        """
        gen_id, sampling = self.generation(prompt.model), prompt.sampling
        model = self._model(gen_id)
        wanted = [("c", gen_id, True)]
        # A date alone changes next to nothing, and the base has never seen a header.
        if sampling.tag_strength != 1.0 and prompt.tags and gen_id != _BASE:
            wanted.append(("u", gen_id, False))
        if sampling.voice and gen_id != _BASE:
            wanted.append(("b", _BASE, True))
        models = [self._model(g) if g != gen_id else model for _, g, _ in wanted]
        room, most = budget(model.context, prompt.max_tokens)
        lanes, parts, cached = [], [], 0
        for (name, owner, header), each in zip(wanted, models, strict=True):
            heal = sampling.heal and text is None
            encoded = encode(self.vocabulary, prompt, room, header=header, heal=heal, text=text)
            ids = encoded.cut.ids
            try:
                prefix, found = self.prefixes.fill((owner, name), each, ids[:-1], cancelled)
            except Cancelled:
                return None
            cached = found if name == "c" else cached
            lanes.append(Lane(each, ids, prefix))
            parts.append(encoded)
        guidance = Guidance.of(sampling, [name for name, _, _ in wanted])
        same_tail = all(p.cut.tail == parts[0].cut.tail for p in parts)
        return Prepared(lanes, guidance, parts[0], cached, same_tail, most)


def _candidate(answer: Answer) -> question.ScoredText:
    nats = answer.sampler.log_chance / max(1, len(answer.tail))
    return question.ScoredText(answer.wording.text, answer.finish == "stop", nats)


def _attempt(prompt: Prompt, number: int) -> Prompt:
    """The request for a batch of candidates; each attempt draws otherwise."""
    return replace(
        prompt,
        seed=None if prompt.seed is None else prompt.seed + number * 7919,
        length="sentence",
        suffix="",
        stop=(),
        max_tokens=_MOST_TOKENS,
        n=max(_CANDIDATES, prompt.n + 2),
    )
