"""What a model's folder holds, and whether it can be a base: read from files, no weight is loaded.

Knows nothing about where the folder came from.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import re
import struct
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaultgpt.errors import BaseModelError

CHOOSE = "Choose another base; docs/bases.md names some."
DEFAULT_CONTEXT = 2048  # tokens, for models that name no limit (recurrent ones)
IMPORT_S = 120.0  # limit for importing transformers on a very busy machine; 2 s is usual
MAX_HEADER_BYTES = 100 << 20  # as the safetensors format has it
# Types that every supported transformers knows, so that common bases need no look-up.
NATIVE = frozenset({"llama", "gpt2", "qwen2", "qwen3", "gpt_neox", "gemma", "gemma2", "mistral",
                    "mamba", "olmo2", "phi", "opt", "bloom", "gptj", "gpt_neo"})
# Types whose causal class exists but whose published weights read both ways unless is_decoder.
ENCODERS = frozenset({"bert", "roberta", "electra", "camembert", "xlm-roberta", "ernie", "rembert",
                      "roformer", "big_bird", "megatron-bert", "data2vec-text", "xlm", "xmod"})
TIED_BY_DEFAULT = frozenset({"gpt2", "gpt_neo", "gemma", "gemma2", "bloom", "opt"})
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model",
                   "sentencepiece.bpe.model", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json")
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"[\w.-]+\.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
PACKED = (".qweight", ".qzeros", ".weight_packed", ".SCB", ".weight.absmax", ".weight_scale_inv")
HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")


@dataclass(frozen=True)
class Base:
    """One base model on this disk. `sha256` covers weights, configuration and tokenizer."""

    name: str  # "pebble", "org/name", "org/name@revision", or an absolute folder
    folder: Path
    revision: str  # the hub's commit; for pebble and folders a digest of sha256, 40 hex digits
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
        return self.name == "pebble"

    @property
    def family(self) -> str:
        return self.model_type

    @property
    def params(self) -> int:
        return self.parameters


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """config.json as a dictionary; BaseModelError when there is none."""
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "adapter_config.json").is_file():
            raise BaseModelError(f"{name} is an adapter, not a model.",
                                 "Give the base that the adapter was trained on.")
        raise BaseModelError(f"{name} is no language model: it has no config.json.", CHOOSE)
    config = json_object(path)
    if config is None:
        raise BaseModelError(f"The config.json of {name} can't be read.", CHOOSE)
    return config


def check_config(config: Mapping[str, Any], name: str) -> None:
    """BaseModelError unless it is a causal, unquantised text model that transformers knows."""
    if isinstance(quantised := config.get("quantization_config"), dict):
        method = str(quantised.get("quant_method") or "reduced precision")
        raise BaseModelError(f"{name} is quantised ({method}), and those can't be trained here.",
                             "Choose the full model that it was made from.")
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise BaseModelError(f"{name} does not say what kind of model it is.", CHOOSE)
    known = frozenset({""}) if kind in NATIVE else native_classes(kind)
    if not known:
        if config.get("auto_map"):
            raise BaseModelError(f"{name} asks for remote code (its own Python files), which is "
                                 "never run here.", CHOOSE)
        raise BaseModelError(f"{name} is a {kind} model, which the installed transformers does not "
                             "know as one that writes text.", "Upgrade transformers, or choose "
                             "another base; docs/bases.md names some.")
    classes = config.get("architectures") or []
    both_ways = kind in ENCODERS and not config.get("is_decoder")
    if config.get("is_encoder_decoder") or both_ways or not _is_causal(classes, known):
        raise BaseModelError(f"{name} does not write text from left to right "
                             f"({', '.join(map(str, classes)) or kind}).", CHOOSE)
    if not isinstance(config.get("vocab_size"), int):
        raise BaseModelError(f"{name} is not a plain text model ({kind}).", CHOOSE)


def _is_causal(classes: Any, known: Collection[str]) -> bool:
    if not isinstance(classes, list) or not classes:
        return True  # old files name none; the type decides
    return any(str(c) in known or str(c).endswith(("ForCausalLM", "LMHeadModel")) for c in classes)


@functools.cache
def native_classes(model_type: str) -> frozenset[str]:
    """The causal classes that transformers has for a type; empty when it knows none.

    Asked in a process of its own, for transformers imports torch and the supervisor must not.
    """
    code = ("import json, sys\n"
            "from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES\n"
            "found = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(sys.argv[1], ())\n"
            "print(json.dumps([found] if isinstance(found, str) else list(found)))")
    try:
        done = subprocess.run([sys.executable, "-c", code, model_type], capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=IMPORT_S, check=True)
        return frozenset(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        raise BaseModelError("transformers can't be asked which models it knows.",
                             "`vaultgpt doctor` says more.") from None


def check_tokenizer(names: Collection[str], name: str) -> None:
    """BaseModelError unless the files hold a tokenizer that can be read here."""
    if "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= set(names):
        return
    if not any(file in names for file in SENTENCEPIECE):
        raise BaseModelError(f"{name} has no tokenizer.", CHOOSE)
    if importlib.util.find_spec("sentencepiece") is None:
        raise BaseModelError(f"The tokenizer of {name} needs the package sentencepiece.",
                             "Install it with `pip install sentencepiece`, or choose a base that "
                             "has a tokenizer.json.")


def weight_files(names: Collection[str], index: Mapping[str, Any] | None, name: str) -> list[str]:
    """The safetensors files that hold the weights; BaseModelError naming what lies there instead.

    `index` is the content of model.safetensors.index.json, None where there is none.
    """
    if SINGLE in names:
        return [SINGLE]
    shards = index.get("weight_map") if index else None
    if isinstance(shards, dict) and shards:
        files = sorted({str(file) for file in shards.values()})
        if bad := [f for f in files if f not in names or not SHARD.fullmatch(f)]:
            raise BaseModelError(f"{name} is incomplete: {bad[0]} is missing.", CHOOSE)
        return files
    if any(file.endswith(".gguf") for file in names):
        raise BaseModelError(f"{name} is a GGUF model, quantised for other programs.",
                             "Choose the full model that it was made from.")
    if any(file.endswith(PICKLES) for file in names):
        raise BaseModelError(f"{name} has no safetensors weights, only files that could run code "
                             "when opened.", "Choose another base, or convert it yourself with "
                             "transformers' save_pretrained and give the folder.")
    raise BaseModelError(f"{name} has no weights (no {SINGLE}).", CHOOSE)


def read_header(path: Path) -> dict[str, Any]:
    """Tensor name -> {dtype, shape, data_offsets} of a safetensors file. BaseModelError."""
    damaged = BaseModelError(f"{path.name} is damaged or incomplete.", "Fetch the model again.")
    try:
        with path.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > MAX_HEADER_BYTES:
                raise damaged
            header = json.loads(stream.read(size))
            header.pop("__metadata__", None)
            end = max((int(t["data_offsets"][1]) for t in header.values()), default=0)
            if any(not isinstance(t["dtype"], str) or math.prod(t["shape"]) < 0
                   for t in header.values()):
                raise damaged
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error):
        raise damaged from None
    if path.stat().st_size != 8 + size + end:
        raise damaged
    tensors: dict[str, Any] = header
    return tensors


def count_parameters(headers: Mapping[str, Any], name: str, tied: bool) -> int:
    """Trained numbers, without stored masks and without a stored copy of a tied head.

    BaseModelError when the weights are quantised or of a type that can't be read.
    """
    total = 0
    for tensor, facts in headers.items():
        is_float = facts["dtype"] in FLOATS
        if tensor.endswith(PACKED) or (tensor.endswith(".weight") and not is_float):
            raise BaseModelError(f"{name} is quantised ({facts['dtype']} weights), and those can't "
                                 "be trained here.", "Choose the full model that it was made from.")
        mask = len(facts["shape"]) > 3 or tensor.endswith(("inv_freq", "masked_bias"))
        if is_float and not mask and not (tied and tensor.endswith(HEADS)):
            total += math.prod(facts["shape"])
    return total


def inspect(
    folder: Path, name: str, revision: str, sha256: dict[str, str], *, checked: bool = False
) -> Base:
    """The Base in `folder`; BaseModelError in one clear line when it can't be one.

    `checked`: this very configuration has passed check_config before.
    """
    config = read_config(folder, name)
    if not checked:
        check_config(config, name)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    check_tokenizer(names, name)
    headers: dict[str, Any] = {}
    for file in weight_files(names, json_object(folder / INDEX), name):
        headers.update(read_header(folder / file))
    stored_head = any(tensor.endswith(HEADS) for tensor in headers)
    default = config["model_type"] in TIED_BY_DEFAULT
    tied = bool(config.get("tie_word_embeddings", default)) or not stored_head
    return Base(
        name=name, folder=folder, revision=revision, sha256=sha256,
        model_type=str(config["model_type"]),
        parameters=count_parameters(headers, name, tied),
        context=_first(config, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len",
                       "seq_length") or DEFAULT_CONTEXT,
        hidden=_first(config, "hidden_size", "n_embd", "d_model", "dim"),
        layers=_first(config, "num_hidden_layers", "n_layer", "n_layers"),
        vocab=int(config["vocab_size"]),
        tied=tied,
    )


def model_files(folder: Path, name: str) -> list[str]:
    """The files that make the model what it is: weights, configuration, tokenizer; sorted."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    found = {*weight_files(names, json_object(folder / INDEX), name), "config.json"}
    return sorted(found | {file for file in (INDEX, *TOKENIZER_FILES) if file in names})


def _first(config: Mapping[str, Any], *keys: str) -> int:
    """The first of `keys` that holds a whole number; 0 when none does."""
    values = (config.get(key) for key in keys)
    return next((int(v) for v in values if isinstance(v, int) and v > 0), 0)


def json_object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
