"""The folder that ships: plain transformers loads it, and it is what its card says."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).resolve().parents[2] / "vaultgpt" / "pebble"
NASTY = (
    "",
    " ",
    "  two  spaces   three ",
    "\n\n\nlines\n \n\t\ttabs\r\nand returns\r",
    "“Don’t,” she said — it’s ‘late’…",
    "#dream #poetry | 2019-03\n# A title\n- [ ] do **this** [[Note|name]] ![[x.png]]\n",
    "naïve café Ærø Straße Ωmega Привет 日本語 한국어 עברית العربية",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \u200b \u00a0 \ufeff",
    "NULL \x00 bell \x07 escape \x1b",
    "1894-03-05 3.14159 1,000,000 ½ ² ٣",
    "<|endoftex t|> <pad> [MASK] ▁ Ġ Ċ",
    "x" * 3000,
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


def test_the_model_loads_without_custom_code_and_predicts() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.tie_word_embeddings
    assert model.config.max_position_embeddings == 1024
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    text = "<|endoftext|>I went out early this morning and walked along the river to the mill."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]  # (1, length)
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=ids).loss)
    assert loss < 6.0  # nats a token; noise would be at 9.0


def test_weights_and_tokenizer_stay_within_24_mb() -> None:
    shipped = [FOLDER / "model.safetensors", *FOLDER.glob("*.json")]
    assert sum(path.stat().st_size for path in shipped) <= 24_000_000


def test_hashes_in_pebble_json_are_those_of_the_files() -> None:
    manifest = json.loads((FOLDER / "pebble.json").read_text(encoding="utf-8"))
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert manifest["name"] == "pebble"
    assert config["vaultgpt_base_version"] == manifest["version"]
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("text", NASTY)
def test_text_returns_byte_for_byte(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids or "<|endoftext|>" in text


def test_every_digit_is_a_token(tokenizer: Any) -> None:
    pieces = tokenizer.tokenize("On 1894-03-05 at 07:45 I had 1234567 things")
    assert [piece for piece in pieces if any(map(str.isdigit, piece))] == list(
        "18940305" + "0745" + "1234567"
    )


def test_end_of_text_is_token_0_and_begins_nothing_by_itself(tokenizer: Any) -> None:
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == 0
    assert tokenizer("I")["input_ids"] == tokenizer("I", add_special_tokens=False)["input_ids"]
    assert tokenizer("<|endoftext|>")["input_ids"] == [0]


def test_a_paragraph_break_and_markdown_are_cheap(tokenizer: Any) -> None:
    def cost(text: str) -> int:
        return len(tokenizer.tokenize(text))

    assert cost("\n\n") == 1
    assert cost(" don’t") == cost(" don't") == 2
    for mark in ("**", "[[", "]]", "# ", "- "):
        assert cost(mark) <= 2, mark


def test_general_files_are_small_readable_and_named_in_the_card() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = sorted(FOLDER.glob("general_*.jsonl.gz"))
    assert [file.name for file in files] == [
        "general_heldout.jsonl.gz",
        "general_replay.jsonl.gz",
    ]
    assert sum(file.stat().st_size for file in files) <= 2_000_000
    sources = []
    for file in files:
        rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        assert all(set(row) == {"source", "text"} for row in rows)
        assert len(rows) >= 60
        sources.append({row["source"] for row in rows})
        assert {source for source in sources[-1] if source not in card} == set()
    assert sources[0].isdisjoint(sources[1])
