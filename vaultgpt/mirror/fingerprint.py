"""A voice in another engine: put there, and known by what it writes without chance.

Fixed openings, none of the author's, are gone on with by both; who agrees for long enough holds the
voice. Knows nothing about requests.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vaultgpt.children import command, environment, spawn_options
from vaultgpt.corpus.documents import opening
from vaultgpt.errors import Unavailable, require_package
from vaultgpt.files import make_private_dir, put_folder, read_json, sha256_file, write_json
from vaultgpt.generation_folders import ADAPTER, CONFIG, EMBEDDING
from vaultgpt.mirror.openai_client import EngineRefused, Fields, OpenAIClient
from vaultgpt.wire import Prompt, Sampling, frame_of

_TOKENS = 24  # that each is gone on with
_LEAST = 0.5  # share of our own decoder's text that has to agree
_PLAIN = Prompt(
    "",
    length="tokens",
    max_tokens=_TOKENS,
    seed=1,
    sampling=Sampling(temperature=0, top_p=1, dry_multiplier=0, guard=False, heal=False),
)
_PROMPTS = (
    replace(_PLAIN, text="It was late in the afternoon when we came down to the harbour, and"),
    replace(_PLAIN, text="I have been thinking about the letter", tags=("journal",), date="2019"),
    replace(_PLAIN, text="Last night I", tags=("dream",), date="2021"),
    replace(_PLAIN, text="The first thing that I remember is", title="Childhood"),
)
UNPENALISED: Fields = {"repeat_penalty": 1.0, "repetition_penalty": 1.0}  # llama-server's, vLLM's
_GREEDY: Fields = {"temperature": 0, "max_tokens": _TOKENS, **UNPENALISED}
_CHILD, _CHILD_S = "vaultgpt.training.to_gguf", 300.0


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself."""

    models: tuple[str, ...]
    adapters: tuple[str, ...] | None  # files of LoRA adapters that llama-server was started with
    context: int | None  # tokens


def ask(client: OpenAIClient) -> ServerFacts:
    """EngineAway."""
    rows = client.models()
    sizes = [row.get("max_model_len") or (row.get("meta") or {}).get("n_ctx") for row in rows]
    try:
        found = client.get("/lora-adapters")
        adapters = tuple(str(one.get("path")) for one in found)
    except (EngineRefused, AttributeError, TypeError):
        adapters = None
    known = [int(size) for size in sizes if isinstance(size, int)]
    return ServerFacts(tuple(str(row["id"]) for row in rows), adapters, min(known, default=None))


class Shelf:
    """Where the voice that writes lies in the forms that other engines load: the state's `engine`.

    Nothing else is kept there: what is erased at home is erased here, and unloaded."""

    def __init__(self, folder: Path, there: str = "") -> None:
        """`there` is what the engine's machine calls the folder, "" for the same."""
        self.folder, self._there = folder, there or str(folder)
        self._mark = hashlib.sha256(str(folder).encode()).hexdigest()[:8]

    def name(self, generation: str | None, voice: Path | None, base: Path) -> str:
        """The voice's own name there: of this vault, this generation and these very weights."""
        of = hashlib.sha256(str(base).encode()).hexdigest()
        if voice is not None:
            of = sha256_file(voice / ADAPTER)
        return f"voice-{self._mark}-{generation or 'base'}-{of[:8]}"

    def tidy(self, name: str) -> None:
        """Keep nothing of other voices."""
        make_private_dir(self.folder)
        for path in self.folder.iterdir():
            if not path.name.startswith(name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def put(
        self,
        client: OpenAIClient,
        told: ServerFacts,
        name: str,
        voice: Path,
        base: Path,
        model: str,
    ) -> Fields:
        """Bring the voice there, and what a request says to have it. EngineAway, BaseModelError.

        Where a server takes no voices its own model is asked for: then that has to be the voice."""
        if told.adapters is not None:
            file = f"{name}.gguf"
            if not has_embedding(voice):
                self._make_gguf(self.folder / file, voice, base)
            places = [i for i, p in enumerate(told.adapters) if p.endswith(file)]
            return {"model": model, "lora": [{"id": i, "scale": 1.0} for i in places]}
        if name in told.models:
            return {"model": name}
        self._copy(name, voice)
        with contextlib.suppress(EngineRefused):
            for other in told.models:
                if other.startswith(f"voice-{self._mark}-"):
                    client.post("/v1/unload_lora_adapter", {"lora_name": other})
            where = f"{self._there.rstrip('/')}/{name}"
            client.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": where})
            return {"model": name}
        return {"model": model}

    def _copy(self, name: str, voice: Path) -> None:
        """The adapter alone, as a folder of its own."""
        target = self.folder / name
        if not target.exists():
            part = make_private_dir(self.folder / f"{name}.part")
            for file in (ADAPTER, CONFIG):
                shutil.copy2(voice / file, part / file)
            put_folder(part, target)

    def _make_gguf(self, path: Path, voice: Path, base: Path) -> None:
        """The adapter as GGUF, once, by a child that has torch."""
        if path.exists():
            return
        require_package("gguf", "A voice for llama-server", Unavailable)
        part = path.with_suffix(".part")
        job = {"base": str(base), "generation": str(voice), "path": str(part)}
        done = subprocess.run(
            command(_CHILD),
            input=frame_of(job),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            timeout=_CHILD_S,
            check=False,
            **spawn_options(),
        )
        if done.returncode:
            raise Unavailable("This voice could not be written as GGUF for llama-server.")
        os.replace(part, path)

    def own(self, name: str, write: Callable[[Prompt], str]) -> _Fingerprint:
        """What our own decoder writes on from the prompts; `write` is asked once a voice."""
        path, asked = self.folder / f"{name}.json", [_text(prompt) for prompt in _PROMPTS]
        with contextlib.suppress(OSError, ValueError, KeyError):
            if (kept := read_json(path))["asked"] == asked:
                return _Fingerprint(tuple(kept["voice"]), tuple(kept["base"]))
        found = _Fingerprint(
            tuple(write(prompt) for prompt in _PROMPTS),
            tuple(write(replace(prompt, model="base")) for prompt in _PROMPTS),
        )
        write_json(path, {"asked": asked, "voice": found.voice, "base": found.base})
        return found


@dataclass(frozen=True)
class _Fingerprint:
    """What a voice writes on from PROMPTS without chance, and what its base does."""

    voice: tuple[str, ...]
    base: tuple[str, ...]

    def of(self, theirs: Sequence[str]) -> float:
        """The share in which another's texts agree with the voice's from their beginnings.

        0.0 where they agree more with the base's, or for too short."""
        voice = sum(map(_agreed, self.voice, theirs)) / len(theirs)
        base = sum(map(_agreed, self.base, theirs)) / len(theirs)
        nearer = voice > base or self.voice == self.base
        return voice if nearer and voice >= _LEAST else 0.0


def texts(client: OpenAIClient, fields: Fields, start: str) -> list[str]:
    """What a server writes on from PROMPTS, each with `start` before it. EngineAway."""
    found = []
    for prompt in _PROMPTS:
        body = {**_GREEDY, **fields, "prompt": start + _text(prompt)}
        told = client.post("/v1/completions", body)
        try:
            found.append(str(told["choices"][0]["text"]))
        except (KeyError, IndexError, TypeError):
            raise EngineRefused(200, "/v1/completions") from None
    return found


def _text(prompt: Prompt) -> str:
    return opening(prompt.tags, prompt.date, prompt.title) + prompt.text


def _agreed(ours: str, theirs: str) -> float:
    """Of the shorter text, the share before the first difference; broken characters aside."""
    a, b = (text.replace("\ufffd", "").strip() for text in (ours, theirs))
    size = min(len(a), len(b))
    if not size:
        return float(a == b)
    return next((i for i in range(size) if a[i] != b[i]), size) / size


def has_embedding(voice: Path | None) -> bool:
    """Whether a part of the voice lies where no LoRA carries it."""
    return voice is not None and (voice / EMBEDDING).exists()
