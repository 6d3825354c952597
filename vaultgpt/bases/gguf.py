"""GGUF files: what their header says, whether they can be a base, and where Ollama keeps them.

Read in plain Python. Ollama's store is manifests/HOST/NAMESPACE/MODEL/TAG, JSON whose layers name
blobs by hash; Ollama itself is never asked. Knows nothing about unpacking (unpack.py).
"""

from __future__ import annotations

import json
import mmap
import os
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaultgpt.bases.catalogue import is_chat_model, is_turn_mark
from vaultgpt.bases.kinds import TEXT_ENDS
from vaultgpt.errors import BaseModelError

OLLAMA = "ollama:"
_SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)  # 1 counted in 32 bits; no file of today has it
# GGUF's value types: struct code by number; 8 is a string, 9 an array.
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST = 1 << 24  # entries of a header; a file that claims more is damaged
# ggml's types by number: name, numbers a block, bytes a block. Another type is named by its number.
_FLOATS = {0: "float32", 1: "float16", 30: "bfloat16"}
_BLOCKS = {
    **{0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2)},
    **{2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24)},
    **{8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144)},
    **{13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66)},
    **{17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50)},
    **{20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82)},
    **{23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 39: ("MXFP4", 32, 17)},
}
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_HUB_PAGE = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)")


@dataclass(frozen=True)
class Gguf:
    """The header of one file: `facts` by key, the tokens' spellings, shape and type by tensor."""

    path: Path
    facts: dict[str, object]
    tokens: tuple[str, ...]
    tensors: dict[str, tuple[tuple[int, ...], int]]
    data_bytes: int

    @property
    def architecture(self) -> str:
        return str(self.facts.get("general.architecture", ""))

    @property
    def elements(self) -> int:
        """Numbers in all tensors."""
        return sum(_product(shape) for shape, _ in self.tensors.values())

    @property
    def largest(self) -> int:
        """Numbers in the largest tensor."""
        return max(_product(shape) for shape, _ in self.tensors.values())

    @property
    def dtype(self) -> str:
        """What to unpack into: the file's own floats; float16 for blocks, whose scales are that."""
        counts = self._types()
        if any(kind not in _FLOATS for kind in counts):
            return "float16"
        return _FLOATS[max(counts, key=lambda kind: counts[kind])]

    def _types(self) -> Counter[int]:
        counts: Counter[int] = Counter()
        for shape, kind in self.tensors.values():
            counts[kind] += _product(shape)
        return counts

    @property
    def lost(self) -> str:
        """One sentence on what the packing cost; "" for a file in floats."""
        packed = {kind: n for kind, n in self._types().items() if kind not in _FLOATS}
        if not packed:
            return ""
        most = sorted(packed, key=lambda kind: -packed[kind])[:3]
        names = ", ".join(_BLOCKS.get(kind, (f"type {kind}",))[0] for kind in most)
        bits = 8 * self.data_bytes / self.elements
        page = _HUB_PAGE.fullmatch(str(self.facts.get("general.base_model.0.repo_url", "")))
        full = f" ({page[1]})" if page else ""
        return (
            f"Its numbers were packed ({names}: {bits:.1f} bits each), which costs quality; the "
            f"full model{full} is better where it can be had."
        )

    @property
    def chat(self) -> bool:
        """Whether it was tuned to answer: by its names, or because it ends with a turn's mark."""
        names = [self.facts.get(f"general.{key}") for key in ("name", "finetune", "basename")]
        if any(is_chat_model(f"-{n}".replace(" ", "-")) for n in (*names, self.path.stem) if n):
            return True
        end = self._token("eos")
        return end is not None and is_turn_mark(self.tokens[end])

    def ends(self) -> tuple[int | None, int | None]:
        """Start and end token; a mark of a turn gives way to end-of-text, so that it writes on."""
        start, end = self._token("bos"), self._token("eos")
        plain = next((self.tokens.index(t) for t in TEXT_ENDS if t in self.tokens), None)
        if end is None or is_turn_mark(self.tokens[end]):
            end = end if plain is None else plain
        if start is not None and is_turn_mark(self.tokens[start]):
            start = end
        return start, end

    def _token(self, name: str) -> int | None:
        value = self.facts.get(f"tokenizer.ggml.{name}_token_id")
        return value if isinstance(value, int) and 0 <= value < len(self.tokens) else None


def _end(info: tuple[tuple[int, ...], int, int]) -> int:
    """Where a tensor (shape, type, offset) ends, in bytes from the start of the data."""
    shape, kind, offset = info
    _, numbers, size = _BLOCKS.get(kind, ("", 1, 0))
    return offset + _product(shape) // numbers * size


def _count(facts: Mapping[str, object], key: str, default: int) -> int:
    """The whole number under a key."""
    found = facts.get(key)
    return found if isinstance(found, int) else default


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


# Finding ------------------------------------------------------------------------------------------


def is_gguf(path: Path) -> bool:
    """Whether a file is called GGUF, or begins as one does (Ollama's have no ending)."""
    if path.suffix.lower() == _SUFFIX:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) == _MAGIC
    except OSError:
        return False


def gguf_in(folder: Path) -> Path | None:
    """The one GGUF model in a folder (LM Studio keeps one a folder); None without any.

    BaseModelError when there are several to choose from."""
    found = sorted(p for p in folder.glob(f"*{_SUFFIX}") if "mmproj" not in p.name.lower())
    if len(found) > 1 and not all(_SHARD.search(p.name) for p in found):
        names = ", ".join(p.name for p in found[:4]) + (", ..." if len(found) > 4 else "")
        raise BaseModelError(
            f"{folder} holds {len(found)} GGUF files ({names}).",
            "Name one of them; the largest loses least.",
        )
    return found[0] if found else None


# Reading ------------------------------------------------------------------------------------------


def read_gguf(path: Path, name: str) -> Gguf:
    """The header of the file; BaseModelError when it is no whole GGUF or can't be a base."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
            found = _HeaderReader(m).read(path)
    except BaseModelError:
        raise
    except PermissionError:
        raise BaseModelError(f"{path} can't be read.", "Mend its permissions.") from None
    except (OSError, ValueError, struct.error, IndexError, OverflowError, MemoryError):
        raise BaseModelError(
            f"{name} is damaged, incomplete or no GGUF file.", "Fetch it again."
        ) from None
    _check(found, name)
    return found


class _HeaderReader:
    """Walks through a mapped header once; struct.error and ValueError where it is damaged."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def read(self, path: Path) -> Gguf:
        if self._data[:4] != _MAGIC:
            raise ValueError("magic")
        self._at = 4
        version, tensors, pairs = self._number("I"), self._number("Q"), self._number("Q")
        if version not in _VERSIONS or max(tensors, pairs) > _MOST:
            raise ValueError("version")
        facts: dict[str, object] = {}
        for _ in range(pairs):
            key = self._string()
            facts[key] = self._value(self._number("I"), keep=key == "tokenizer.ggml.tokens")
        infos = dict(self._tensor() for _ in range(tensors))
        alignment = _count(facts, "general.alignment", 32)
        start = -(-self._at // alignment) * alignment
        if not infos or start + max(map(_end, infos.values())) > len(self._data):
            raise ValueError("cut")
        tokens = facts.pop("tokenizer.ggml.tokens", None)
        return Gguf(
            path,
            facts,
            tuple(map(str, tokens)) if isinstance(tokens, list) else (),
            {name: (shape, kind) for name, (shape, kind, _) in infos.items()},
            len(self._data) - start,
        )

    def _number(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self._data, self._at)
        self._at += struct.calcsize("<" + code)
        return value

    def _string(self) -> str:
        size = self._number("Q")
        if self._at + size > len(self._data):
            raise ValueError("string")
        self._at += size
        return self._data[self._at - size : self._at].decode("utf-8", "replace")

    def _value(self, kind: int, keep: bool = False) -> object:
        """One value; of an array of strings only its length, unless `keep`."""
        if kind in _CODES:
            return self._number(_CODES[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise ValueError("kind")
        inner, count = self._number("I"), self._number("Q")
        if count > _MOST:
            raise ValueError("count")
        if inner in _CODES:
            code = f"{count}{_CODES[inner]}"
            values = list(struct.unpack_from("<" + code, self._data, self._at))
            self._at += struct.calcsize("<" + code)
            return values
        if inner != _STRING:
            raise ValueError("nested")
        if keep:
            return [self._string() for _ in range(count)]
        for _ in range(count):
            size = self._number("Q")
            self._at += size
        return count

    def _tensor(self) -> tuple[str, tuple[tuple[int, ...], int, int]]:
        name, dims = self._string(), self._number("I")
        if dims > 8:
            raise ValueError("dims")
        shape = tuple(reversed([self._number("Q") for _ in range(dims)]))
        return name, (shape, self._number("I"), self._number("Q"))


def _check(found: Gguf, name: str) -> None:
    """BaseModelError for a file that is whole and yet no model to train on."""
    kind, shard = found.facts.get("general.type", "model"), _SHARD.search(found.path.name)
    if _count(found.facts, "split.count", 0) > 1 or shard:
        raise BaseModelError(
            f"{name} is one part of several.",
            "Join them with llama.cpp's `llama-gguf-split --merge FIRST OUT.gguf`, and name that.",
        )
    if kind == "mmproj" or found.architecture == "clip":
        raise BaseModelError(
            f"{name} reads pictures for another model (mmproj) and writes no text.",
            "Name the model's own file.",
        )
    if kind == "adapter":
        raise BaseModelError(
            f"{name} is an adapter, not a model.", "Give the base that the adapter was trained on."
        )
    if kind != "model":
        raise BaseModelError(f"{name} holds no model ({kind}).", "Name the model's own file.")
    if not found.tokens:
        raise BaseModelError(f"{name} has no tokenizer.", "Take the full model it was made from.")
    if any(key.endswith(".pooling_type") for key in found.facts):
        raise BaseModelError(
            f"{name} turns text into vectors and writes none.", "Name a model that writes text."
        )


def _stores() -> list[Path]:
    """The folders where Ollama may keep models, the likeliest first."""
    if named := os.environ.get("OLLAMA_MODELS"):
        return [Path(named).expanduser()]
    service = Path("/usr/share/ollama/.ollama/models")  # of the Linux installer's own user
    return [p for p in (Path.home() / ".ollama" / "models", service) if os.path.lexists(p)]


def ollama_file(name: str) -> Path:
    """The weights of `ollama:[host/][namespace/]model[:tag]`, by its manifest. BaseModelError."""
    stores = _stores()
    for store in stores:
        for manifest in _manifests(store, name.removeprefix(OLLAMA)):
            return _weights_of(manifest, store, name)
    where = " or ".join(map(str, stores)) or "~/.ollama/models"
    known = [n for store in stores for n in _known_to_ollama(store)]
    has = f" It has {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}." if known else ""
    raise BaseModelError(
        f"Ollama has no {name.removeprefix(OLLAMA)} in {where}.{has}",
        f"Fetch it with `ollama pull {name.removeprefix(OLLAMA)}`, or set OLLAMA_MODELS.",
    )


def _manifests(store: Path, name: str) -> list[Path]:
    """Manifests that exist for a name: STORE/manifests/HOST/NAMESPACE/MODEL/TAG."""
    rest, tag = name, "latest"
    if name.rfind(":") > name.rfind("/"):
        rest, _, tag = name.rpartition(":")
    parts = rest.split("/")
    if not 1 <= len(parts) <= 3 or any(p in ("", ".", "..") for p in (*parts, tag)):
        return []
    hosts = [parts[0]] if len(parts) == 3 else ["registry.ollama.ai", "ollama.com"]
    namespace = parts[-2] if len(parts) > 1 else "library"
    places = (
        store / root / host / namespace / parts[-1] / tag
        for root in ("manifests", "manifest-v2")  # newer Ollamas write the second
        for host in hosts
    )
    return [p for p in places if p.is_file()]


def _known_to_ollama(store: Path) -> list[str]:
    found = []
    for path in sorted(store.glob("manifest*/*/*/*/*")):
        namespace, model, tag = path.parts[-3:]
        short = model if namespace == "library" else f"{namespace}/{model}"
        found.append(f"{short}:{tag}")
    return sorted(set(found))


def _weights_of(manifest: Path, store: Path, name: str) -> Path:
    try:
        layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        kinds = [str(x["mediaType"]).split(";")[0].rsplit(".", 1)[-1].strip() for x in layers]
        digests = [str(x["digest"]) for x, k in zip(layers, kinds, strict=True) if k == "model"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BaseModelError(
            f"Ollama's manifest of {name} can't be read.", "Mend its permissions, or pull it again."
        ) from None
    if "adapter" in kinds:
        raise BaseModelError(
            f"{name} is an adapter on another model.", "Name the model that it was trained on."
        )
    if len(digests) != 1 or not re.fullmatch(r"sha256[:-][0-9a-f]{64}", digests[0]):
        what = "keeps it in a form of its own" if "tensor" in kinds else "has no weights of it here"
        raise BaseModelError(f"Ollama {what}: {name} can't be a base.", "Take the full model.")
    blob = store / "blobs" / digests[0].replace(":", "-")
    if not os.access(blob, os.R_OK):
        raise BaseModelError(
            f"The weights of {name} can't be read ({blob}).",
            "Pull it again, or ask for the right to read Ollama's files.",
        )
    return blob
