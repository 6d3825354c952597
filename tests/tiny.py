"""Tiny random causal models and toy vaults for tests, deterministic, made in under a second.

Knows nothing about vaultgpt: models are written with transformers' own save_pretrained.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

EOT = "<|endoftext|>"
FAMILIES = ("llama", "gpt2", "qwen2", "qwen3", "gpt_neox", "gemma", "gemma2", "mamba")
TokenizerKind = Literal["byte_level", "byte_fallback", "vocab_merges"]


# Prose from a small grammar -----------------------------------------------------------------------

_WHO = [
    "I",
    "my sister",
    "the neighbour",
    "Father",
    "the old dog",
    "Anna",
    "the boy next door",
    "nobody",
    "the postman",
    "my friend",
    "we",
    "the gardener",
    "Thomas",
    "the woman upstairs",
]
_DID = [
    "walked along",
    "remembered",
    "looked at",
    "waited beside",
    "forgot",
    "painted",
    "counted",
    "dreamed of",
    "carried",
    "spoke about",
    "left behind",
    "found",
    "listened to",
    "mended",
]
_HOW = [
    "cold",
    "narrow",
    "quiet",
    "yellow",
    "broken",
    "unfinished",
    "long",
    "small",
    "bright",
    "crooked",
    "empty",
    "familiar",
    "wet",
    "distant",
    "patient",
    "blue",
]
_WHAT = [
    "river",
    "kitchen",
    "garden wall",
    "letter",
    "window",
    "train",
    "piano",
    "orchard",
    "road",
    "harbour",
    "staircase",
    "photograph",
    "clock",
    "field",
    "lamp",
    "library",
    "bicycle",
]
_WHEN = [
    "before breakfast",
    "in the rain",
    "after the last bus",
    "all afternoon",
    "at dusk",
    "without a word",
    "for the third time",
    "on the way home",
    "until it was dark",
    "as if it were summer",
    "while the kettle sang",
    "and did not know why",
]
_TURN = ["Perhaps", "Still,", "Later", "It seems to me that", "And then", "Once more", "Of course"]
TAGS = ("journal", "dream", "poetry", "reading", "work/notes")


def sentence(rng: random.Random) -> str:
    """One plain sentence of 6 to 20 words."""
    noun = f"the {rng.choice(_HOW)} {rng.choice(_WHAT)}"
    text = f"{rng.choice(_WHO)} {rng.choice(_DID)} {noun}"
    if rng.random() < 0.7:
        text += f" {rng.choice(_WHEN)}"
    if rng.random() < 0.3:
        text += f", and {rng.choice(_WHO)} {rng.choice(_DID)} {rng.randrange(2, 90)} of them"
    if rng.random() < 0.2:
        return f"{rng.choice(_TURN)} {text}."
    return text[0].upper() + text[1:] + "."


def prose(words: int, seed: int = 0) -> str:
    """Paragraphs of exactly `words` words (separated by white space); "" for none."""
    rng = random.Random(seed)
    left, paragraphs, current = words, [], []
    while left > 0:
        part = sentence(rng).split()[:left]
        left -= len(part)
        current.append(" ".join(part))
        if len(current) >= 5 or rng.random() < 0.2:
            paragraphs.append(" ".join(current))
            current = []
    if current:
        paragraphs.append(" ".join(current))
    return "\n\n".join(paragraphs)


def poem(words: int, seed: int = 0) -> str:
    """Short lines without full stops, `words` words in all."""
    tokens = prose(words, seed).lower().replace(".", "").replace("\n\n", " ").split()
    return "\n".join(" ".join(tokens[i : i + 5]) for i in range(0, len(tokens), 5))


def tiny_vault(
    folder: Path,
    notes: int = 24,
    words: int = 3000,
    seed: int = 0,
    tags: Sequence[str] = TAGS[:3],
    first_year: int = 2019,
) -> list[Path]:
    """Write `notes` dated, tagged notes of `words` words in all; return their paths in order.

    Tags go round: note i has tags[i % len(tags)]; with tags empty there is none. Every 7th note is
    undated. Daily-note names, ISO dates three days apart from January of `first_year` on. The
    same arguments write the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    share, more = divmod(words, notes)
    written = []
    for i, day in zip(range(notes), _days(first_year), strict=False):
        tag = tags[i % len(tags)] if tags else None
        make = poem if tag == "poetry" else prose
        body = make(share + (i < more), seed * 100_003 + i)
        head = [f"tags: [{tag}]"] if tag else []
        if i % 7 != 6:
            head.append(f"date: {day}")
        name = f"{day}.md" if i % 7 != 6 else f"Loose leaf {i}.md"
        path = folder / (tag or "notes").split("/")[0].capitalize() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        front = "---\n" + "\n".join(head) + "\n---\n" if head else ""
        path.write_text(f"{front}{body}\n", encoding="utf-8", newline="\n")
        written.append(path)
    return written


def _days(first_year: int) -> Iterator[str]:
    year, month, day = first_year, 1, 1
    while True:
        yield f"{year}-{month:02d}-{day:02d}"
        day += 3
        if day > 28:
            day, month = day - 27, month + 1
        if month > 12:
            month, year = 1, year + 1


# Tokenizers ---------------------------------------------------------------------------------------


def tiny_tokenizer(folder: Path, kind: TokenizerKind = "byte_level", vocab: int = 512) -> int:
    """Write a tokenizer trained on the grammar above; return its vocabulary size.

    byte_level: GPT-2's way, tokenizer.json. vocab_merges: the same as vocab.json + merges.txt only.
    byte_fallback: SentencePiece's way (a word opens with U+2581, unknown bytes as <0xNN>).
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    texts = [prose(400, seed) for seed in range(4)] + ["#dream #poetry | 2019-03\n", "# Title\n\n"]
    if kind == "byte_fallback":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        special, alphabet = [EOT, "<unk>", *(f"<0x{b:02X}>" for b in range(256))], []
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        special, alphabet = [EOT], sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    _save_tokenizer(tokenizer, folder, kind)
    return int(tokenizer.get_vocab_size())


def _save_tokenizer(tokenizer: Any, folder: Path, kind: TokenizerKind) -> None:
    if kind == "vocab_merges":
        tokenizer.model.save(str(folder))
        return
    import transformers

    if kind == "byte_fallback":  # the bytes are pieces, not special tokens to be skipped
        import json

        value = json.loads(tokenizer.to_str())
        value["added_tokens"] = [t for t in value["added_tokens"] if t["content"] in (EOT, "<unk>")]
        tokenizer = type(tokenizer).from_str(json.dumps(value))
    make: Any = transformers.PreTrainedTokenizerFast
    fast = make(tokenizer_object=tokenizer, bos_token=EOT, eos_token=EOT)
    fast.save_pretrained(str(folder))


# Models -------------------------------------------------------------------------------------------


def tiny_model(
    folder: Path,
    family: str = "llama",
    *,
    seed: int = 0,
    vocab: int = 512,
    hidden: int = 32,
    layers: int = 2,
    context: int = 256,
    tokenizer: TokenizerKind = "byte_level",
    dtype: str = "float32",
    **overrides: Any,
) -> Path:
    """Write a random `family` model and its tokenizer into `folder` as safetensors; return it.

    Weights are wide enough that logits differ clearly; biases and norms are random too, so that a
    forward pass that forgets one is found out. `overrides` go into the transformers configuration.
    """
    import torch
    import transformers

    make: Any = transformers.AutoModelForCausalLM
    size = tiny_tokenizer(folder, tokenizer, vocab)
    config = _config(family, size, hidden, layers, context, overrides)
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = make.from_config(config).to(torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1 and "A_log" not in name and not name.endswith(".D"):
                    parameter.add_(0.1 * torch.randn_like(parameter))
    finally:
        torch.random.set_rng_state(state)
    model.to(getattr(torch, dtype)).save_pretrained(str(folder))
    return folder


def _config(
    family: str, vocab: int, hidden: int, layers: int, context: int, overrides: dict[str, Any]
) -> Any:
    from transformers import CONFIG_MAPPING

    common: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "initializer_range": 0.15,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    attention = {
        "num_attention_heads": 4,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": context,
    }
    grouped = {**attention, "num_key_value_heads": 2, "tie_word_embeddings": True}
    by_family: dict[str, dict[str, Any]] = {
        "llama": {**grouped},
        "qwen2": {**grouped},
        "qwen3": {**grouped, "head_dim": hidden // 4},
        "gemma": {**grouped, "head_dim": hidden // 4},
        "gemma2": {
            **grouped,
            "head_dim": hidden // 4,
            "query_pre_attn_scalar": hidden // 4,
            "sliding_window": context // 2,
        },
        "mistral": {**grouped, "sliding_window": None},
        "granite": {
            **grouped,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.2,
            "logits_scaling": 1.7,
        },
        "gemma3_text": {
            **grouped,
            "num_key_value_heads": 1,
            "head_dim": hidden // 2,
            "query_pre_attn_scalar": hidden,
            "sliding_window": context // 8,
            "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        },
        "gpt_neox": {**attention, "tie_word_embeddings": False},
        "mamba": {"state_size": 8, "time_step_rank": 4, "tie_word_embeddings": True},
    }
    if family == "gpt2":
        common = {
            "vocab_size": vocab,
            "n_embd": hidden,
            "n_layer": layers,
            "n_head": 4,
            "n_positions": context,
            "initializer_range": 0.15,
            "bos_token_id": 0,
            "eos_token_id": 0,
        }
        return CONFIG_MAPPING["gpt2"](**{**common, **overrides})
    return CONFIG_MAPPING[family](**{**common, **by_family[family], **overrides})


def tiny_writer(folder: Path, steps: int = 120, **options: Any) -> Path:
    """A tiny Llama that has read the grammar above, so that it writes words; some 4 s of a core.

    Where a random model's bytes would do, tiny_model is quicker.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    tiny_model(folder, hidden=64, initializer_range=0.02, **options)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    notes = [f"#dream | 20{10 + i % 9}\n{prose(60, i)}" for i in range(200)]
    ids = [i for note in notes for i in (0, *tokenizer.encode(note, add_special_tokens=False).ids)]
    make: Any = AutoModelForCausalLM
    model = make.from_pretrained(folder, dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    rng = random.Random(0)
    for _ in range(steps):
        starts = [rng.randrange(len(ids) - 97) for _ in range(8)]
        batch = torch.tensor([ids[start : start + 96] for start in starts])  # [8, 96]
        model(batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    return folder
