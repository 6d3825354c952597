"""A base with a voice merged in, or the voice alone, as one GGUF file, for llama.cpp and Ollama.

The package gguf knows the names and the format; here is what it leaves to the writer: which numbers
a family needs, how its weights are turned, and the tokenizer, of which llama.cpp knows some ways of
splitting by their names alone. Knows nothing about folders of generations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor

from vaultgpt.bases.kinds import (
    ModelConfig,
    Rope,
    TokenizerJson,
    TokenizerModel,
    TokenizerStep,
    activation_of,
    ropes_of,
)
from vaultgpt.children import no_core, private_stdout
from vaultgpt.errors import BaseModelError
from vaultgpt.files import read_json
from vaultgpt.training.base_model import load_encoder
from vaultgpt.training.lora import Adapter, load_adapter, merged_model
from vaultgpt.wire import read_frame

_LARGEST_HALF = 65504.0
_INSTEAD = "`--merged` writes a folder that transformers and vLLM read."
# Model types that are written; --mlx takes all but gpt2.
_FAMILIES = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite", "gpt2"}
)
_NAMES = {"mistral": "llama", "gemma3_text": "gemma3"}  # of the rest the model type is the name
_TURNED = frozenset({"llama", "mistral", "granite"})  # llama.cpp pairs a head's rows otherwise
_ODD = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention")
_SHIFTED = frozenset({"gemma", "gemma2", "gemma3_text"})  # their norms hold w of 1 + w


def refuse(base: Path) -> None:
    """BaseModelError where the base in a folder is none that can be written as GGUF."""
    config = read_json(base / "config.json")
    kind = str(config.get("model_type"))
    if kind not in _FAMILIES:
        raise BaseModelError(
            f"A base of the kind {kind} can't be written as GGUF here.",
            f"{_INSTEAD} llama.cpp's own convert_hf_to_gguf.py may take it from there.",
        )
    if why := _unlike(kind, config):
        raise BaseModelError(f"This base can't be written as GGUF: {why}.", _INSTEAD)


def _unlike(kind: str, config: ModelConfig) -> str:
    """What of the configuration llama.cpp would not do as transformers does; "" for nothing."""
    if kind in ("gemma2", "gemma3_text"):
        scale = config.get("query_pre_attn_scalar", 256)
        if scale != config.get("head_dim", 256):
            return "its attention has a scale of its own"
        if kind == "gemma2" and _period(config) != 2:
            return "its windows do not alternate"
    if not _activates_as_expected(kind, config):
        return "its activation is another than its family's"
    if any(config.get(key) for key in _ODD):
        return "its attention is scaled by layers"
    if kind == "qwen2" and config.get("use_sliding_window"):
        return "it has sliding windows"
    rope, _ = ropes_of(config)
    if rope["rope_type"] not in ("default", "linear", "llama3"):
        return f"its positions are stretched ({rope['rope_type']})"
    return "" if rope.get("partial_rotary_factor", 1.0) == 1.0 else "its positions are partial"


def _activates_as_expected(kind: str, config: ModelConfig) -> bool:
    """Whether its activation is the one that llama.cpp takes for granted."""
    smooth = ("gelu_new", "gelu_pytorch_tanh")
    wanted = smooth if kind == "gpt2" or kind in _SHIFTED else ("silu", "swish")
    return activation_of(config) in wanted


def _period(config: ModelConfig) -> int:
    """Every how many layers one sees everything; 0 where that isn't even."""
    kinds = config.get("layer_types") or []
    full = [n for n, kind in enumerate(kinds, 1) if kind == "full_attention"]
    if not full:
        return int(config.get("_sliding_window_pattern", config.get("sliding_window_pattern", 2)))
    even = all(n % full[0] == 0 for n in full)
    return full[0] if even and len(full) == len(kinds) // full[0] else 0


# The whole model ----------------------------------------------------------------------------------


def write_model(base: Path, generation: Path | None, path: Path) -> None:
    """Write the base, with `generation` and its embedding's change merged in, as `path`.

    Matrices in float16, or float32 where the base's own are. BaseModelError."""
    refuse(base)
    model = merged_model(base, generation)
    config = model.config.to_dict()
    own = read_json(base / "config.json")
    half = str(own.get("dtype") or own.get("torch_dtype")) != "float32"
    writer = _writer(path, config)
    _add_facts(writer, config, half)
    rows = model.get_input_embeddings().weight.shape[0]
    _add_tokenizer(writer, base, rows)
    for name, weight in _tensors(model, config):
        _add(writer, name, weight, half)
    _finish(writer)


def _writer(path: Path, config: ModelConfig) -> Any:
    kind = str(config["model_type"])
    return gguf.GGUFWriter(str(path), _NAMES.get(kind, kind))


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: Any, name: str, weight: Tensor, half: bool) -> None:
    """A matrix in float16 where that holds it; vectors and positions in float32."""
    wide = weight.dim() < 2 or name.startswith("position_embd")
    small = half and not wide and float(weight.abs().max()) < _LARGEST_HALF
    writer.add_tensor(name, weight.to(torch.float16 if small else torch.float32).numpy())


def _add_facts(writer: Any, config: ModelConfig, half: bool) -> None:
    writer.add_name("A voice of vaultgpt")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(config["vocab_size"])
    if config["model_type"] == "gpt2":
        _add_gpt2(writer, config)
        return
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    context = config["max_position_embeddings"]
    if config["model_type"] == "mistral" and (window := config.get("sliding_window")):
        context = min(context, window)  # llama.cpp's Llama has no windows
    writer.add_context_length(context)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    _add_rope(writer, ropes_of(config)[0], width)
    _add_own(writer, config)


def _add_gpt2(writer: Any, config: ModelConfig) -> None:
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])


def _add_rope(writer: Any, rope: Rope, width: int) -> None:
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _slower(rope, width).numpy())


def _slower(rope: Rope, width: int) -> Tensor:
    """fp32 [width / 2]: by what Llama 3 divides each rotary frequency."""
    usual = rope["rope_theta"] ** -(torch.arange(0, width, 2).double() / width)
    turns = rope["original_max_position_embeddings"] * usual / (2 * torch.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    share = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    slower: Tensor = 1 / ((1 - share) / rope["factor"] + share)
    return slower.float()


def _add_own(writer: Any, config: ModelConfig) -> None:
    """What one family alone has."""
    kind = config["model_type"]
    if kind in ("gemma2", "gemma3_text"):
        writer.add_sliding_window(config["sliding_window"])
    if kind == "gemma3_text":
        writer.add_sliding_window_pattern(_period(config))
        writer.add_rope_freq_base_swa(ropes_of(config)[1]["rope_theta"])
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if kind == "granite":
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])


def _tensors(model: Any, config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """Every tensor by its GGUF name, as llama.cpp lays it out; a tied head is the embedding."""
    named, seen = _namer(config), set()
    columns = {f"{n}.weight" for n, m in model.named_modules() if type(m).__name__ == "Conv1D"}
    for name, weight in model.state_dict().items():
        if weight.data_ptr() in seen:
            continue
        seen.add(weight.data_ptr())
        turned = weight.t().contiguous() if name in columns else _turn(name, weight, config)
        shifted = config["model_type"] in _SHIFTED and name.endswith("norm.weight")
        yield named(name), turned + 1 if shifted else turned


def _turn(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """Rows [out, ...] of queries and keys in llama.cpp's order: halves of a head become pairs."""
    counts = {
        "q_proj": config.get("num_attention_heads"),
        "k_proj": config.get("num_key_value_heads"),
    }
    heads = next((n for part, n in counts.items() if f".{part}." in name), None)
    if config["model_type"] not in _TURNED or heads is None:
        return weight
    shape = (heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return weight.reshape(shape).transpose(1, 2).reshape(weight.shape).contiguous()


def _namer(config: ModelConfig) -> Callable[[str], str]:
    """transformers' name of a tensor to GGUF's; BaseModelError for one that has none."""
    kind = str(config["model_type"])
    arch = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == _NAMES.get(kind, kind))
    names = gguf.get_tensor_name_map(
        arch, int(config.get("num_hidden_layers") or config["n_layer"])
    )

    def named(name: str) -> str:
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            said = f"This base has a tensor that GGUF has no name for ({name})."
            raise BaseModelError(said, _INSTEAD)
        return found

    return named


# The tokenizer -----------------------------------------------------------------------------------

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # GGUF's kinds of tokens
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BYTES, _GPT2_BYTES = ("bytes", "False"), ("bytes", "True")
# What stands before the merges, and llama.cpp's name of it.
_WAYS = {
    (_GPT2_BYTES,): "gpt-2",
    (("digits", "True"), _GPT2_BYTES): "smollm",
    (("split", _CONTRACTIONS + _WORDS % r"\p{N}"), _BYTES): "qwen2",
    (("split", _CONTRACTIONS + _WORDS % r"\p{N}{1,3}"), _BYTES): "llama-bpe",
}
_SPACE = "\u2581"


def _add_tokenizer(writer: Any, base: Path, rows: int) -> None:
    """The tokenizer of the base in a folder, filled up to `rows` tokens. BaseModelError."""
    encoder = load_encoder(base, read_json(base / "config.json"))
    whole: TokenizerJson = json.loads(encoder.tokenizer.to_str())
    model = whole["model"]
    if model["type"] != "BPE":
        raise _unknown(model["type"])
    if model.get("byte_fallback"):
        _add_pieces(writer, whole)
    else:
        _add_bytes(writer, whole)
    tokens, kinds = _tokens(whole, rows)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(encoder.start)
    writer.add_eos_token_id(encoder.end)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _unknown(what: str) -> BaseModelError:
    said = f"The base's tokenizer splits text in a way that GGUF has no name for ({what})."
    return BaseModelError(said, _INSTEAD)


def _tokens(whole: TokenizerJson, rows: int) -> tuple[list[str], list[int]]:
    """Spelling and kind of every row."""
    tokens = [f"[PAD{i}]" for i in range(rows)]
    kinds = [_UNUSED] * rows
    fallback = whole["model"].get("byte_fallback")
    for token, i in _ids(whole["model"]).items():
        byte = fallback and len(token) == 6 and token.startswith("<0x")
        tokens[i], kinds[i] = token, _BYTE if byte else _NORMAL
    for added in whole["added_tokens"]:
        i, unknown = added["id"], added["content"] == whole["model"].get("unk_token")
        tokens[i] = added["content"]
        kinds[i] = _UNKNOWN if unknown and fallback else _CONTROL if added["special"] else _USER
    return tokens, kinds


def _ids(model: TokenizerModel) -> dict[str, int]:
    vocab = model["vocab"]
    assert isinstance(vocab, dict)  # as byte pairs have it
    return vocab


def _merges(model: TokenizerModel) -> list[tuple[str, str]]:
    pairs = (m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"])
    return [(left, right) for left, right in pairs]


def _add_bytes(writer: Any, whole: TokenizerJson) -> None:
    """GPT-2's way: bytes as letters, split by a pattern, then merged."""
    split = whole.get("pre_tokenizer")
    steps = split["pretokenizers"] if split and split["type"] == "Sequence" else [split]
    way = _WAYS.get(tuple(_step(step) for step in steps if step))
    composed = (whole.get("normalizer") or {}).get("type") not in (None, "NFC")
    if way is None or composed or (way == "llama-bpe") != bool(whole["model"]["ignore_merges"]):
        raise _unknown("byte pairs")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(way)
    writer.add_token_merges([" ".join(pair) for pair in _merges(whole["model"])])


def _step(step: TokenizerStep) -> tuple[str, str]:
    """What a step does, as `_WAYS` has it."""
    kind = step["type"]
    if kind == "ByteLevel" and not step["add_prefix_space"]:
        return "bytes", str(step["use_regex"])
    if kind == "Digits":
        return "digits", str(step["individual_digits"])
    if kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return "split", str(step["pattern"].get("Regex"))
    return kind, ""


def _add_pieces(writer: Any, whole: TokenizerJson) -> None:
    """SentencePiece's way: a space is a letter, and of two merges the earlier one is done first."""
    spaced = json.dumps(whole.get("normalizer")) + json.dumps(whole.get("pre_tokenizer"))
    if json.dumps(_SPACE) not in spaced:
        raise _unknown("pieces")
    begins = '"Prepend"' in spaced or '"prepend_scheme": "first"' in spaced
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(_merges(whole["model"])):
        ranks.setdefault("".join(pair), rank)
    tokens = sorted(_ids(whole["model"]).items(), key=lambda item: item[1])
    size = max([i for _, i in tokens] + [t["id"] for t in whole["added_tokens"]]) + 1
    scores = [-float(len(ranks) + 1)] * size
    for token, i in tokens:
        scores[i] = -float(ranks.get(token, len(ranks)))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_scores(scores)
    writer.add_add_space_prefix(begins)


# The adapter alone --------------------------------------------------------------------------------


def write_adapter(base: Path, adapter: Adapter, path: Path) -> None:
    """Write LoRA alone as `path`, for llama.cpp's --lora beside the base's own GGUF file.

    An embedding's change has no place in it. BaseModelError."""
    refuse(base)
    config = read_json(base / "config.json")
    writer, named = _writer(path, config), _namer(config)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(adapter.alpha))
    for module, (down, up) in adapter.factors.items():
        weight = f"{module}.weight"
        for kind, factor in (("lora_a", down), ("lora_b", _turn(weight, up, config))):
            writer.add_tensor(f"{named(weight)}.{kind}", factor.float().contiguous().numpy())
    _finish(writer)


def main() -> int:
    """0 when job["path"] stands; the job names the base's and the generation's folders too."""
    no_core()
    private_stdout()
    job = read_frame(sys.stdin.buffer)
    if job is None:
        return 1
    write_adapter(Path(job["base"]), load_adapter(Path(job["generation"])), Path(job["path"]))
    Path(job["path"]).chmod(0o600)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
