"""The mirror's other body: a completions server draws the tokens, all else stays here.

What it is sent, where it ends, the copy guard and habits are ours, on text. It writes only with a
voice whose fingerprint agreed; what it can't do, and all while it is away, our own engine writes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from vaultgpt.corpus.lines import Lines, habits, of_generation, usual
from vaultgpt.corpus.secrets import outside, secret_ranges
from vaultgpt.errors import NotFound, UsageError, VaultGPTError
from vaultgpt.generation_folders import with_folder
from vaultgpt.mirror.copy_guard import Runs
from vaultgpt.mirror.fingerprint import UNPENALISED, ServerFacts, Shelf, ask, has_embedding, texts
from vaultgpt.mirror.openai_client import EngineAway, Fields, OpenAIClient
from vaultgpt.mirror.prompting import LONGEST, budget, check_alternatives, conditioned
from vaultgpt.mirror.remote_text import Asking, RemoteText
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.mirror.weights import Checkpoint
from vaultgpt.mirror.wording import Wording
from vaultgpt.settings import Mirror
from vaultgpt.vault.entry import names_verse
from vaultgpt.wire import Piece, Prompt, Usage

if TYPE_CHECKING:
    from vaultgpt.mirror.engine import Engine

_NAME = "openai"
_AGAIN_S = 5.0  # between two tries of an engine that does not serve
_OMITTED = "…"  # stands for an address, a number or a key, which no engine is sent
_MakeEngine = Callable[[Mirror], "Engine"]


@dataclass(frozen=True)
class _Serving:
    """How the engine is asked for the voice that writes, once it was found to hold it."""

    told: ServerFacts
    fields: Fields
    start: str  # the token that begins a text, where the server does not put it there


class RemoteEngine:
    """Does what `engine.Engine` does."""

    def __init__(self, settings: Mirror, runs: Runs, place: Path, make_own: _MakeEngine) -> None:
        """`place` is the state's folder for voices in other engines. UsageError."""
        self.settings, self.runs, self.problem = settings, runs, ""
        self.device, self.dtype, self.cost = f"{_NAME} at {settings.engine_url}", None, None
        self._client = OpenAIClient(settings.engine_url, _key(settings.engine_key_file))
        self._place = Shelf(place, settings.engine_voices)
        self._make_own = make_own
        self._own_engine: Engine | None = None
        self._serving: _Serving | None = None
        self._not_before = 0.0
        self._active: str | None = None
        self._folders: dict[str, Path] = {}

    def load(self, base: Path) -> None:
        """Take `base`, of which only the tokenizer and the size are read. BaseModelError."""
        self._base, self.vocabulary = base, Vocabulary.load(base)
        files = Checkpoint(base)
        self._parameters = files.parameters
        files.close()

    def activate(
        self,
        gen_id: str | None,
        folder: Path | None = None,
        generations: Mapping[str, Path] | None = None,
    ) -> None:
        """Bring a generation's voice to the engine; `problem` says where it is not served."""
        known = with_folder(self._folders if generations is None else generations, gen_id, folder)
        if gen_id is not None and gen_id not in known:
            raise NotFound("There is no such generation.", "`vaultgpt generations` lists them.")
        if self._own_engine is not None:
            self._own_engine.activate(gen_id, folder, generations)
        self._folders, self._active, self._serving = known, gen_id, None
        self._lines = of_generation(known[gen_id]) if gen_id else dict[str, Lines]()
        self._name = self._place.name(gen_id, self._voice, self._base)
        self._place.tidy(self._name)
        self._not_before = 0.0
        self._ready()

    @property
    def slow(self) -> str:
        """Why our own decoder writes slower than it could; a server tells nothing of the kind."""
        why = self._own_engine.slow if self._own_engine else ""
        return f"vaultgpt's own decoder writes, and {why}" if why else ""

    @property
    def _voice(self) -> Path | None:
        return self._folders[self._active] if self._active else None

    def _own(self) -> Engine:
        """Our own engine, from when it is first needed."""
        if self._own_engine is None:
            self._own_engine = self._made(self.settings)
        return self._own_engine

    def _made(self, settings: Mirror) -> Engine:
        engine = self._make_own(settings)
        engine.load(self._base)
        engine.activate(self._active, None, self._folders)
        return engine

    # The voice there --------------------------------------------------------------------------

    def _ready(self) -> bool:
        """Whether the engine serves the voice, now; what changed there is looked at anew."""
        if self._serving is None and monotonic() < self._not_before:
            return False
        try:
            told = ask(self._client)
            if self._serving is None or self._serving.told != told:
                self._serving = self._checked(told)
            self.problem = ""
        except EngineAway as error:
            self._lost(error)
        return self._serving is not None

    def _lost(self, error: EngineAway) -> None:
        """It does not serve: our own engine writes until it is tried again."""
        self._serving, self._not_before = None, monotonic() + _AGAIN_S
        self.problem = f"{error} Meanwhile vaultgpt's own decoder writes."

    def _checked(self, told: ServerFacts) -> _Serving:
        """Put the voice there and compare; EngineAway where it is not found there."""
        model = self.settings.engine_model or (told.models[0] if told.models else "")
        fields: Fields = {"model": model}
        if self._voice is not None:
            try:
                args = (told, self._name, self._voice, self._base, model)
                fields = self._place.put(self._client, *args)
            except EngineAway:
                raise
            except VaultGPTError as error:
                raise EngineAway(error.message, error.mend) from None
            told = ask(self._client)
        elif told.adapters is not None:
            fields["lora"] = []
        own = self._place.own(self._name, self._own_text())
        for start in ("", self.vocabulary.tokenizer.id_to_token(self.vocabulary.start) or ""):
            if own.of(texts(self._client, fields, start)):
                return _Serving(told, fields, start)
        raise self._stranger(told)

    def _own_text(self) -> Callable[[Prompt], str]:
        """Writes by our own decoder in fp32, whose weights are read once it is asked."""
        made: list[Engine] = []

        def write(prompt: Prompt) -> str:
            if not made:
                made.append(self._made(replace(self.settings, dtype="float32")))
            said = made[0].generate(prompt, lambda: False)
            return "".join(item.text for item in said if isinstance(item, Piece))

        return write

    def _stranger(self, told: ServerFacts) -> EngineAway:
        """What it is told whose text is not the voice's."""
        who = self._active or "the base"
        mend = "See that it serves this very base."
        if has_embedding(self._voice):
            mend = (
                "A part of this voice lies in its token embedding, which no adapter carries: "
                "let the engine serve what `vaultgpt export DIR --gguf` writes."
            )
        elif self._voice is not None and told.adapters is not None:
            file = self._place.folder / f"{self._name}.gguf"
            if not any(path.endswith(file.name) for path in told.adapters):
                mend = f"Start llama-server with --lora {file}."
        return EngineAway(f"What the engine serves does not write as {who} does.", mend)

    # Requests ---------------------------------------------------------------------------------

    def warm(self, prompt: Prompt, cancelled: Callable[[], bool]) -> int:
        """Let the engine read the prompt; the number of its tokens."""
        if not self._serves(prompt):
            return self._own().warm(prompt, cancelled)
        assert self._serving is not None
        asking = self._asking(prompt, self._serving)
        body = {**asking.fields, "prompt": asking.before, "max_tokens": 1}
        try:
            self._client.post("/v1/completions", body)
        except EngineAway as error:
            self._lost(error)
            return self._own().warm(prompt, cancelled)
        return len(self.vocabulary.encode(asking.before))

    def generate(
        self, prompt: Prompt, cancelled: Callable[[], bool], received: float | None = None
    ) -> Iterator[Piece | Usage]:
        """As engine.Engine's; what the engine leaves half written our own goes on with."""
        began = perf_counter() if received is None else received
        check_alternatives(prompt)
        if not self._serves(prompt):
            yield from self._own().generate(prompt, cancelled, began)
            return
        assert self._serving is not None
        drafts = self._drafts(prompt, self._asking(prompt, self._serving))
        try:
            for draft in drafts:
                yield from draft.pieces(cancelled)
            yield self._usage(drafts, began)
        except EngineAway as error:
            self._lost(error)
            yield from self._go_on(prompt, drafts, cancelled, began)

    def _serves(self, prompt: Prompt) -> bool:
        """Whether the engine can do it, and does: strengths and forms need more than its text."""
        sampling = prompt.sampling
        plain = prompt.form == "text" and prompt.logprobs is None and prompt.max_tokens > 0
        steered = sampling.voice != 0 or (sampling.tag_strength != 1.0 and bool(prompt.tags))
        named = prompt.model in ("mirror", self._active or "base")
        return plain and named and not steered and self._ready()

    def _asking(self, prompt: Prompt, serving: _Serving) -> Asking:
        room, most = budget(serving.told.context or LONGEST, prompt.max_tokens)
        top, _, text = conditioned(self.vocabulary, prompt, room)
        kept = _OMITTED.join(outside(text, secret_ranges(text)))
        sampling = prompt.sampling.on(self._parameters)
        drawn: Fields = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "top_k": -1,
            **UNPENALISED,
            "dry_multiplier": sampling.dry_multiplier,
            "dry_base": sampling.dry_base,
            "dry_allowed_length": sampling.dry_allowed,
            "dry_penalty_last_n": LONGEST,
        }
        seed = secrets.randbits(31) if prompt.seed is None else prompt.seed
        least = sampling.sure if prompt.length == "clause" else 0.0
        fields = {**drawn, **serving.fields}
        return Asking(serving.start + top + kept, fields, most, seed, prompt.stop, least)

    def _drafts(self, prompt: Prompt, asking: Asking) -> list[RemoteText]:
        lines = usual(prompt.tags, self._lines)
        poetry = lines is not None or any(map(names_verse, prompt.tags))
        manner = habits(prompt.tags, self._lines)
        return [
            RemoteText(
                self._client,
                replace(asking, seed=asking.seed + 104_729 * i),
                Wording.of(prompt, i, asking.most, self.runs, manner, poetry=poetry),
                self.vocabulary,
            )
            for i in range(prompt.n)
        ]

    def _usage(self, drafts: list[RemoteText], began: float) -> Usage:
        first = drafts[0].first_at or perf_counter()
        return Usage(
            generation=self._active or "base",
            prompt_tokens=len(self.vocabulary.encode(drafts[0].asking.before)),
            tokens=sum(draft.count for draft in drafts),
            cached_tokens=drafts[0].cached,
            first_token_ms=round((first - began) * 1000, 1),
            tokens_per_s=drafts[0].tokens_per_s(),
            sure=drafts[0].sure(),
            engine=_NAME,
        )

    def _go_on(
        self, prompt: Prompt, drafts: list[RemoteText], cancelled: Callable[[], bool], began: float
    ) -> Iterator[Piece | Usage]:
        """Each unfinished alternative from where its reader stands, by our own engine."""
        usage = self._usage(drafts, began)
        for index, draft in enumerate(drafts):
            if draft.wording.finish is not None:
                continue
            said = draft.wording.text[draft.wording.opening : draft.wording.sent]
            rest = replace(
                prompt,
                text=prompt.text + said,
                n=1,
                max_tokens=max(1, prompt.max_tokens - draft.count),
                seed=None if prompt.seed is None else prompt.seed + index,
            )
            for item in self._own().generate(rest, cancelled, began):
                if isinstance(item, Piece):
                    yield replace(item, index=index)
                else:
                    usage = replace(usage, tokens=usage.tokens + item.tokens)
        yield replace(usage, engine="own")


def _key(path: str) -> str:
    """UsageError where the file can't be read."""
    if not path:
        return ""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"mirror.engine_key_file can't be read ({type(error).__name__}).",
            "Write the engine's API key into it, or set it to nothing.",
        ) from None
