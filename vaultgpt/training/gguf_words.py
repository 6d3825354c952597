"""A tokenizer as the fields of a GGUF file: tokens, kinds, merges, and how text is split first.

llama.cpp knows a way of splitting by its name alone, so that only those it knows can be written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vaultgpt.bases.kinds import TokenizerJson, TokenizerModel, TokenizerStep
from vaultgpt.errors import BaseModelError
from vaultgpt.files import read_json
from vaultgpt.training.base_model import load_encoder

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
INSTEAD = "`--merged` writes a folder that transformers and vLLM read."


def add_tokenizer(writer: Any, base: Path, rows: int) -> None:
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
    return BaseModelError(
        f"The base's tokenizer splits text in a way that GGUF has no name for ({what}).",
        INSTEAD,
    )


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
    steps = tuple(_step(s) for s in _steps(whole.get("pre_tokenizer")))
    way = _WAYS.get(steps)
    composed = (whole.get("normalizer") or {}).get("type") not in (None, "NFC")
    if way is None or composed or (way == "llama-bpe") != bool(whole["model"]["ignore_merges"]):
        raise _unknown("byte pairs")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(way)
    writer.add_token_merges([" ".join(pair) for pair in _merges(whole["model"])])


def _steps(value: TokenizerStep | None) -> list[TokenizerStep]:
    if value is None:
        return []
    return list(value["pretokenizers"]) if value["type"] == "Sequence" else [value]


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
