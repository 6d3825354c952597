"""What a model's folder holds, and whether it can be a base: read from files, no weight is loaded.

Knows nothing about where the folder came from.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from vaultgpt.bases.catalogue import PEBBLE
from vaultgpt.bases.kinds import CHOOSE, check_config, check_tokens
from vaultgpt.errors import BaseModelError
from vaultgpt.files import Json

_DEFAULT_CONTEXT = 2048  # tokens, for models that name no limit (recurrent ones)
_MAX_HEADER_BYTES = 100 << 20  # as the safetensors format has it
_TIED_BY_DEFAULT = frozenset({"gpt2", "gpt_neo", "gemma", "gemma2", "bloom", "opt"})
_TOKENIZER_FILES = (
    *("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model"),
    *("sentencepiece.bpe.model", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json"),
)
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"[\w.-]+\.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_PACKED = (".qweight", ".qzeros", ".weight_packed", ".SCB", ".weight.absmax", ".weight_scale_inv")
_EMBEDDINGS = (
    *("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight"),
    *("embeddings.weight", "embedding.weight"),
)
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")


class Tensor(TypedDict):
    """What a safetensors header says of one tensor."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


@dataclass(frozen=True)
class Base:
    """One base model on this disk. `sha256` covers weights, configuration and tokenizer."""

    name: str  # "pebble", "org/name[@revision]", "ollama:...", "pip:...", or an absolute path
    folder: Path
    revision: str  # 40 hex digits: the hub's commit, a GGUF file's SHA-256, or a digest of sha256
    sha256: dict[str, str]  # file name -> hex digest
    model_type: str
    parameters: int
    context: int  # tokens
    hidden: int
    layers: int
    vocab: int
    tied: bool  # the output head is the token embedding

    @property
    def embedded(self) -> bool:
        """Whether it came with this package."""
        return self.name == PEBBLE

    def matches(self, wanted: Mapping[str, str]) -> bool:
        """Whether these hashes, of a generation's base, are of this very one."""
        return bool(wanted) and all(self.sha256.get(file) == h for file, h in wanted.items())


def read_config(folder: Path, name: str) -> dict[str, object]:
    """config.json as a dictionary; BaseModelError saying what the folder holds instead."""
    path = folder / "config.json"
    if not path.is_file():
        raise _no_config(folder, name)
    config = _json_object(path)
    if config is None:
        raise BaseModelError(f"The config.json of {name} can't be read.", CHOOSE)
    return config


def _no_config(folder: Path, name: str) -> BaseModelError:
    if (folder / "adapter_config.json").is_file():
        return BaseModelError(
            f"{name} is an adapter, not a model.", "Give the base that the adapter was trained on."
        )
    snapshots = sorted((folder / "snapshots").glob("*/config.json"))
    if snapshots:
        return BaseModelError(
            f"{name} is a folder of Hugging Face's cache.",
            f"Name the model in it: `vaultgpt base {snapshots[-1].parent}`.",
        )
    if (folder / "manifests").is_dir() and (folder / "blobs").is_dir():
        return BaseModelError(
            f"{name} is Ollama's store.", "Name a model of it: `vaultgpt base ollama:NAME`."
        )
    if (folder / "params.json").is_file():
        return BaseModelError(
            f"{name} is in its maker's own form, without a config.json.",
            "Take the same model in the form that transformers reads.",
        )
    return BaseModelError(f"{name} is no language model: it has no config.json.", CHOOSE)


def _check_tokenizer(names: Collection[str], name: str) -> None:
    """BaseModelError unless the files hold a tokenizer that can be read here."""
    if "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= set(names):
        return
    if not any(file in names for file in _SENTENCEPIECE):
        raise BaseModelError(f"{name} has no tokenizer.", CHOOSE)
    if importlib.util.find_spec("sentencepiece") is None:
        raise BaseModelError(
            f"The tokenizer of {name} needs the package sentencepiece.",
            "Install it with `pip install sentencepiece`, or choose a base that "
            "has a tokenizer.json.",
        )


def _weight_files(names: Collection[str], index: Json | None, name: str) -> list[str]:
    """The safetensors files that hold the weights; BaseModelError naming what lies there instead.

    `index` is the content of model.safetensors.index.json, None where there is none."""
    shards = index.get("weight_map") if index else None
    files = sorted({str(file) for file in shards.values()}) if isinstance(shards, dict) else []
    if _SINGLE in names:
        if files and files != [_SINGLE]:
            raise BaseModelError(
                f"{name} holds its weights twice, whole and in parts.",
                f"Move {_SINGLE} elsewhere, or {_INDEX} and its parts.",
            )
        return [_SINGLE]
    if files:
        if bad := [f for f in files if f not in names or not _SHARD.fullmatch(f)]:
            raise BaseModelError(f"{name} is incomplete: {bad[0]} is missing.", CHOOSE)
        return files
    if any(file.endswith(".gguf") for file in names):
        raise BaseModelError(
            f"{name} is a GGUF model, packed for other programs.",
            "Choose the full model that it was made from, or fetch one of its files and give that.",
        )
    if any(file.endswith(PICKLES) for file in names):
        raise BaseModelError(
            f"{name} has no safetensors weights, only files that could run code when opened.",
            "Choose another base, or convert it yourself with "
            "transformers' save_pretrained and give the folder.",
        )
    raise BaseModelError(f"{name} has no weights (no {_SINGLE}).", CHOOSE)


def read_header(path: Path) -> dict[str, Tensor]:
    """What a safetensors file holds, by name. BaseModelError."""
    damaged = BaseModelError(f"{path.name} is damaged or incomplete.", "Fetch the model again.")
    try:
        with path.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > _MAX_HEADER_BYTES:
                raise damaged
            header = json.loads(stream.read(size))
            header.pop("__metadata__", None)
            end = max((int(t["data_offsets"][1]) for t in header.values()), default=0)
            if any(
                not isinstance(t["dtype"], str) or math.prod(t["shape"]) < 0
                for t in header.values()
            ):
                raise damaged
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error):
        raise damaged from None
    if path.stat().st_size != 8 + size + end:
        raise damaged
    tensors: dict[str, Tensor] = header
    return tensors


def _count_parameters(headers: Mapping[str, Tensor], name: str, tied: bool) -> int:
    """Trained numbers, without stored masks and without a stored copy of a tied head.

    BaseModelError when the weights are quantised or of a type that can't be read."""
    total = 0
    for tensor, facts in headers.items():
        is_float = facts["dtype"] in _FLOATS
        if tensor.endswith(_PACKED) or (tensor.endswith(".weight") and not is_float):
            raise BaseModelError(
                f"{name} is quantised ({facts['dtype']} weights), and those can't be trained here.",
                "Choose the full model that it was made from.",
            )
        mask = len(facts["shape"]) > 3 or tensor.endswith(("inv_freq", "masked_bias"))
        if is_float and not mask and not (tied and tensor.endswith(_HEADS)):
            total += math.prod(facts["shape"])
    return total


def inspect(
    folder: Path, name: str, revision: str, sha256: dict[str, str], *, checked: bool = False
) -> Base:
    """The Base in `folder`; BaseModelError in one clear line when it can't be one.

    `checked`: this very configuration has passed check_config and check_tokens before."""
    config = read_config(folder, name)
    if not checked:
        check_config(config, name)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    _check_alone(names, name)
    _check_tokenizer(names, name)
    headers: dict[str, Tensor] = {}
    for file in _weight_files(names, _json_object(folder / _INDEX), name):
        headers.update(read_header(folder / file))
    vocab = _first(config, "vocab_size")
    if not checked:
        check_tokens(folder, config, _rows(headers) or vocab, name)
    stored_head = any(tensor.endswith(_HEADS) for tensor in headers)
    default = config["model_type"] in _TIED_BY_DEFAULT
    tied = bool(config.get("tie_word_embeddings", default)) or not stored_head
    return Base(
        name=name,
        folder=folder,
        revision=revision,
        sha256=sha256,
        model_type=str(config["model_type"]),
        parameters=_count_parameters(headers, name, tied),
        context=_first(
            config, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"
        )
        or _DEFAULT_CONTEXT,
        hidden=_first(config, "hidden_size", "n_embd", "d_model", "dim"),
        layers=_first(config, "num_hidden_layers", "n_layer", "n_layers"),
        vocab=vocab,
        tied=tied,
    )


def _check_alone(names: Collection[str], name: str) -> None:
    """Refuse a folder of which different programs would read different things."""
    if "adapter_config.json" in names:
        raise BaseModelError(
            f"{name} holds an adapter beside its weights: transformers would add it without "
            "asking, other programs would not.",
            "Move adapter_config.json and the adapter's weights elsewhere, or merge them.",
        )


def _rows(headers: Mapping[str, Tensor]) -> int:
    """Rows of the token embedding, as far as its name is known; 0 otherwise."""
    found = (facts["shape"] for name, facts in headers.items() if name.endswith(_EMBEDDINGS))
    return next((int(shape[0]) for shape in found if len(shape) == 2), 0)


def small_files(names: Collection[str], name: str) -> list[str]:
    """Of the files that a hub lists, those that come before the weights: configuration, tokenizer.

    BaseModelError when what is listed can't be a base, whatever these say."""
    _check_tokenizer(names, name)
    index = [_INDEX] if _INDEX in names and _SINGLE not in names else []
    if not index:
        _weight_files(names, None, name)
    return [file for file in ("config.json", *index, *_TOKENIZER_FILES) if file in names]


def large_files(names: Collection[str], folder: Path, name: str) -> list[str]:
    """Of the files that a hub lists, the weights; `folder` holds the small ones. BaseModelError."""
    return _weight_files(names, _json_object(folder / _INDEX), name)


def model_files(folder: Path, name: str) -> list[str]:
    """The files that make the model what it is: weights, configuration, tokenizer; sorted."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    found = {*_weight_files(names, _json_object(folder / _INDEX), name), "config.json"}
    return sorted(found | {file for file in (_INDEX, *_TOKENIZER_FILES) if file in names})


def _first(config: Json, *keys: str) -> int:
    """The first of `keys` that holds a whole number; 0 when none does."""
    values = (config.get(key) for key in keys)
    return next((int(v) for v in values if isinstance(v, int) and v > 0), 0)


def _json_object(path: Path) -> dict[str, object] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
