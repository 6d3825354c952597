"""Which models can be a base: causal, unquantised, known to transformers, a tokenizer that fits.

By config.json and the tokenizer's files; of the weights only the embedding's rows count.
transformers is asked in a process of its own.
"""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypedDict, cast, final

from vaultgpt.bases.catalogue import is_turn_mark
from vaultgpt.children import command, environment, spawn_options
from vaultgpt.errors import BaseModelError
from vaultgpt.files import Json

CHOOSE = "Choose another base: `vaultgpt base` lists some."
# Types that every supported transformers knows, so that common bases need no look-up.
_NATIVE = frozenset(
    {
        *("llama", "gpt2", "qwen2", "qwen3", "gpt_neox", "gemma", "gemma2", "mistral", "mamba"),
        *("olmo2", "phi", "opt", "bloom", "gptj", "gpt_neo"),
    }
)
# Types whose causal class exists but whose published weights read both ways unless is_decoder.
_ENCODERS = frozenset(
    {
        *("bert", "roberta", "electra", "camembert", "xlm-roberta", "ernie", "rembert"),
        *("roformer", "big_bird", "megatron-bert", "data2vec-text", "xlm", "xmod"),
    }
)
_IMPORT_S = 120.0  # limit for importing transformers on a very busy machine; 2 s is usual


@final
class Rope(TypedDict, total=False):
    """How positions turn."""

    rope_type: str
    type: str  # its name before
    rope_theta: float
    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int
    partial_rotary_factor: float


@final
class _RopeByLayer(TypedDict):
    """The same for each kind of layer."""

    full_attention: Rope
    sliding_attention: Rope


class ModelConfig(TypedDict, total=False):
    """A model's config.json, as far as anything here reads it; a family has some of the keys."""

    model_type: str
    architectures: list[str] | None
    auto_map: object
    is_encoder_decoder: bool
    vocab_size: int
    bos_token_id: int | list[int] | None
    eos_token_id: int | list[int] | None
    dtype: str | None
    torch_dtype: str | None
    tie_word_embeddings: bool
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None
    head_dim: int | None
    hidden_act: str | None
    hidden_activation: str | None
    rms_norm_eps: float
    max_position_embeddings: int
    pretraining_tp: int
    rope_theta: float
    rope_scaling: Rope | None
    rope_parameters: Rope | _RopeByLayer | None
    rope_local_base_freq: float | None
    rope_interleaved: bool
    layer_types: list[str] | None
    sliding_window: int | None
    use_sliding_window: bool
    sliding_window_pattern: int
    _sliding_window_pattern: int
    query_pre_attn_scalar: float
    attn_logit_softcapping: float | None
    final_logit_softcapping: float | None
    embedding_multiplier: float
    residual_multiplier: float
    attention_multiplier: float
    logits_scaling: float
    # GPT-2's names
    n_embd: int
    n_layer: int
    n_head: int
    n_positions: int
    n_inner: int | None
    activation_function: str
    layer_norm_epsilon: float
    scale_attn_weights: bool


class _SplitPattern(TypedDict, total=False):
    Regex: str


class TokenizerStep(TypedDict, total=False):
    """One way of splitting text, or several of them in turn."""

    type: str
    pretokenizers: list[TokenizerStep]
    decoders: list[TokenizerStep]
    add_prefix_space: bool
    use_regex: bool
    individual_digits: bool
    behavior: str
    invert: bool
    pattern: _SplitPattern


class TokenizerModel(TypedDict, total=False):
    """Its tokens, and for byte pairs what is merged in turn."""

    type: str
    vocab: dict[str, int] | list[tuple[str, float]]  # by spelling, or in the order of ids
    merges: list[str] | list[list[str]]  # a pair as one word of two, or as two
    byte_fallback: bool
    unk_token: str | None
    ignore_merges: bool


class _Added(TypedDict):
    id: int
    content: str
    special: bool


class TokenizerJson(TypedDict, total=False):
    """A tokenizer.json, as far as anything here reads it."""

    model: TokenizerModel
    added_tokens: list[_Added]
    normalizer: TokenizerStep | None
    pre_tokenizer: TokenizerStep | None
    decoder: TokenizerStep | None


def activation_of(config: ModelConfig) -> str:
    """Between a block's two products, by the name that it has or that its family takes."""
    kind = config.get("model_type", "")
    if kind == "gpt2":
        return config.get("activation_function", "gelu_new")
    name = config.get("hidden_activation") or config.get("hidden_act")
    return name or ("gelu_pytorch_tanh" if kind.startswith("gemma") else "silu")


def ropes_of(config: ModelConfig) -> tuple[Rope, Rope]:
    """The parameters of layers that see everything, and of those with a window."""
    named = config.get("rope_parameters") or {}
    if "full_attention" in named:
        return _rope(config, named["full_attention"]), _rope(config, named["sliding_attention"])
    whole = _rope(config, named)
    local = config.get("rope_local_base_freq")
    if config.get("model_type") == "gemma3_text":
        whole["rope_theta"] = config.get("rope_theta", 1e6)
        return whole, {"rope_theta": local or 1e4, "rope_type": "default"}
    return whole, whole


def _rope(config: ModelConfig, named: Rope) -> Rope:
    scaling: Rope = config.get("rope_scaling") or {}
    rope: Rope = {"rope_theta": config.get("rope_theta", 10000.0), **scaling, **named}
    rope["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    return rope


def check_config(config: Json, name: str) -> None:
    """BaseModelError unless it is a causal, unquantised text model that transformers knows."""
    if isinstance(quantised := config.get("quantization_config"), dict):
        method = str(quantised.get("quant_method") or "reduced precision")
        raise _quantised(name, method)
    if isinstance(packed := config.get("quantization"), dict) and "bits" in packed:
        raise _quantised(name, f"{packed['bits']} bits, for MLX")
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise BaseModelError(f"{name} does not say what kind of model it is.", CHOOSE)
    known = frozenset({""}) if kind in _NATIVE else native_classes(kind)
    if not known:
        if config.get("auto_map"):
            raise BaseModelError(
                f"{name} asks for remote code (its own Python files), which is never run here.",
                CHOOSE,
            )
        raise BaseModelError(
            f"{name} is a {kind} model, which the installed transformers does not "
            "know as one that writes text.",
            "Upgrade transformers, or choose another base: `vaultgpt base` lists some.",
        )
    if isinstance(config.get("text_config"), dict) and "vocab_size" not in config:
        raise BaseModelError(
            f"{name} is not a plain text model ({kind}).",
            "Of such a model the text part is taken where it comes from the hub: give that name.",
        )
    classes = config.get("architectures") or []
    both_ways = kind in _ENCODERS and not config.get("is_decoder")
    if config.get("is_encoder_decoder") or both_ways or not _is_causal(classes, known):
        raise BaseModelError(
            f"{name} does not write text from left to right "
            f"({', '.join(map(str, classes)) or kind}).",
            CHOOSE,
        )
    if not isinstance(config.get("vocab_size"), int):
        raise BaseModelError(f"{name} is not a plain text model ({kind}).", CHOOSE)


def _quantised(name: str, how: str) -> BaseModelError:
    return BaseModelError(
        f"{name} is quantised ({how}), and those can't be trained here.",
        "Choose the full model that it was made from.",
    )


def _is_causal(classes: Any, known: Collection[str]) -> bool:
    if not isinstance(classes, list) or not classes:
        return True  # old files name none; the type decides
    return any(str(c) in known or str(c).endswith(("ForCausalLM", "LMHeadModel")) for c in classes)


@functools.cache
def native_classes(model_type: str) -> frozenset[str]:
    """The causal classes that transformers has for a type; empty when it knows none.

    Asked in a process of its own, for transformers imports torch and the supervisor must not."""
    try:
        done = subprocess.run(
            command(__name__, model_type),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment(),
            timeout=_IMPORT_S,
            check=True,
            **spawn_options(),
        )
        return frozenset(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        raise BaseModelError(
            "transformers can't be asked which models it knows.", "`vaultgpt doctor` says more."
        ) from None


def _tell_classes(model_type: str) -> None:
    """That process: the answer as JSON on standard output."""
    names: Any = importlib.import_module("transformers.models.auto.modeling_auto")
    found = names.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type, ())
    print(json.dumps([found] if isinstance(found, str) else list(found)))


if __name__ == "__main__":
    _tell_classes(sys.argv[1])


TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "<｜end▁of▁sentence｜>")


def check_tokens(folder: Path, config: Json, rows: int, name: str) -> None:
    """BaseModelError for a tokenizer that is larger than the embedding, or without an end.

    `rows` is the height of the embedding."""
    spellings = _read_vocabulary(folder, name)
    if spellings and max(len(spellings), max(spellings.values()) + 1) > rows:
        raise BaseModelError(
            f"The tokenizer of {name} has {len(spellings):,} tokens, its embedding {rows:,} rows.",
            "The files do not belong together: fetch the model again.",
        )
    special = _read_special(folder, config)
    if any(i >= rows for found in special.values() for i in found):
        raise BaseModelError(
            f"The start or end token of {name} lies beyond its embedding.",
            "The files do not belong together: fetch the model again.",
        )
    named = special["config eos"] or special["generation eos"] or _tokenizers_end(folder)
    if spellings and not named and not any(end in spellings for end in TEXT_ENDS):
        raise BaseModelError(
            f"{name} names no end-of-text token, so that it would not know where a page ends.",
            "Choose another base: `vaultgpt base` lists some.",
        )


def _read_vocabulary(folder: Path, name: str) -> dict[str, int]:
    """Every token's spelling and id; {} for a tokenizer of a kind that is not plain JSON."""
    try:
        if (folder / "tokenizer.json").is_file():
            whole = cast(TokenizerJson, _json(folder / "tokenizer.json"))
            vocab = whole.get("model", {}).get("vocab", {})
            pairs = vocab if isinstance(vocab, dict) else {p[0]: i for i, p in enumerate(vocab)}
            added = {t["content"]: t["id"] for t in whole.get("added_tokens") or []}
            return {str(k): int(v) for k, v in {**pairs, **added}.items()}
        if (folder / "vocab.json").is_file():
            ids = cast(dict[str, int], _json(folder / "vocab.json"))
            return {k: int(v) for k, v in ids.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise BaseModelError(
            f"The tokenizer of {name} can't be read.", "Fetch the model again."
        ) from None
    return {}


def _read_special(folder: Path, config: Json) -> dict[str, list[int]]:
    """Start and end ids by who names them: "config bos", "generation eos" and so on."""
    generation = _json_or_empty(folder / "generation_config.json")
    found = {}
    for key in ("bos", "eos"):
        for who, source in (("config", config), ("generation", generation)):
            value = source.get(f"{key}_token_id")
            ids = value if isinstance(value, list) else [value]
            found[f"{who} {key}"] = [i for i in ids if isinstance(i, int)]
    return found


def _tokenizers_end(folder: Path) -> str:
    """The spelling of the end token that tokenizer_config.json names, "" for none."""
    token = _json_or_empty(folder / "tokenizer_config.json").get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else ""


def token_remarks(folder: Path, config: Json, name: str) -> list[str]:
    """What the two configurations disagree on, a sentence each."""
    special = _read_special(folder, config)
    theirs, ours = special["generation bos"], special["config bos"]
    if not theirs or theirs == ours:
        return []
    spelt = {i: token for token, i in _read_vocabulary(folder, name).items()}
    own = spelt.get(ours[0], str(ours[0])) if ours else "no token at all"
    return [
        f"Its generation_config.json starts a text with {spelt.get(theirs[0], theirs[0])}, its "
        f"config.json with {own}. The second is followed here, in learning and in writing.",
    ]


def ends_a_turn(folder: Path, config: Json, name: str) -> bool:
    """Whether the token that ends a text is the mark of a turn: the sign of a chat model."""
    ids = _read_special(folder, config)["config eos"]
    if not ids:
        return is_turn_mark(_tokenizers_end(folder))
    spelt = {i: token for token, i in _read_vocabulary(folder, name).items()}
    return is_turn_mark(spelt.get(ids[0], ""))


def _json(path: Path) -> dict[str, object]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _json_or_empty(path: Path) -> dict[str, object]:
    try:
        return _json(path)
    except (OSError, ValueError, RecursionError):
        return {}
