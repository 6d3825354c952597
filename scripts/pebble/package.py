"""A checkpoint made into the folder that ships: weights in bf16, tokenizer, version, hashes.

    python -m scripts.pebble.package --work DIR [--run run] --out FOLDER --version 0.1.0
                                    [--soup SHARE --with FOLDER] [--install-to FOLDER]

Checks that plain transformers loads it, that it agrees with the training code, and that weights
and tokenizer stay within 24 MB. --install-to swaps the files of a folder in use, by renames;
--soup makes the weights SHARE of the checkpoint and the rest of the model in --with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from . import checkpoint
from .model import Pebble, Shape
from .tokenizer import save as save_tokenizer
from .warmstart import warm_start

LIMIT_BYTES = 24_000_000
SHIPPED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "pebble.json",
)


def llama_config(shape: Shape) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_size,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        attention_bias=False,
        mlp_bias=False,
    )


def to_transformers(weights: dict[str, Tensor], shape: Shape) -> LlamaForCausalLM:
    """The same model in transformers' class, in bf16."""
    model: LlamaForCausalLM = LlamaForCausalLM(llama_config(shape))
    missing = model.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        raise SystemExit(f"The weights don't fit the class: {missing}")
    model.tie_weights()
    for tensor in model.parameters():
        tensor.data = tensor.data.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    return model


def package(
    run: Path, tokenizer: Path, out: Path, version: str, soup: tuple[float, Path] | None = None
) -> dict[str, object]:
    """Write the folder from the newest checkpoint; returns pebble.json's content."""
    newest = checkpoint.latest(run)
    if newest is None:
        raise SystemExit(f"No checkpoint in {run}.")
    tensors, facts = checkpoint.read(newest)
    shape = Shape(**facts["shape"])
    weights = {n[6:]: t.float() for n, t in tensors.items() if n.startswith("model/")}
    ours = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    if soup is not None:
        share, other = soup[0], warm_start(soup[1], ours)[0]
        weights = {n: share * t + (1 - share) * other[n] for n, t in weights.items()}
    shutil.rmtree(out, ignore_errors=True)
    model = to_transformers(weights, shape)
    model.config.vaultgpt_base_version = version
    model.save_pretrained(out)
    save_tokenizer(ours, out)
    manifest: dict[str, object] = {
        "name": "pebble",
        "version": version,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": facts["step"],
        "tokens_seen": facts["tokens_seen"],
        "share_of_this_run": soup[0] if soup else 1.0,
        "sha256": {name: _hash(out / name) for name in SHIPPED[:-1]},
    }
    (out / "pebble.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    _check(out, weights, shape)
    return manifest


def _check(out: Path, weights: dict[str, Tensor], shape: Shape) -> None:
    """Load it as a stranger would and compare its loss with the training code's."""
    size = sum((out / name).stat().st_size for name in SHIPPED)
    if size > LIMIT_BYTES:
        raise SystemExit(f"{size} bytes, over the limit of {LIMIT_BYTES}.")
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    model.train(False)
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer("<|endoftext|>I walked to the sea.\n\nIt was cold.", return_tensors="pt")
    tokens = ids["input_ids"]  # (1, length)
    ours = Pebble(shape)
    ours.load_state_dict({n: t.to(torch.bfloat16).float() for n, t in weights.items()})
    with torch.no_grad():
        theirs = float(model(input_ids=tokens, labels=tokens).loss)
        mine = float(ours(tokens[:, :-1], tokens[:, 1:], torch.float32))
    if abs(theirs - mine) > 1e-4:
        raise SystemExit(f"transformers' loss is {theirs}, the training code's {mine}.")
    print(f"{size} bytes; loss {theirs:.5f} in transformers, {mine:.5f} in the training code")


def install(out: Path, target: Path) -> None:
    """Copy beside, then rename all files one after the other: the weights come last but one."""
    target.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(out / name, target / f".{name}.new")
    for name in SHIPPED:
        os.replace(target / f".{name}.new", target / name)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--run", default="run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--install-to", type=Path)
    parser.add_argument("--soup", type=float)
    parser.add_argument("--with", dest="other", type=Path)
    args = parser.parse_args()
    soup = (args.soup, args.other) if args.soup is not None else None
    run, tokenizer = args.work / args.run, args.work / "tokenizer"
    manifest = package(run, tokenizer, args.out, args.version, soup)
    print(json.dumps(manifest, indent=2))
    if args.install_to:
        install(args.out, args.install_to)


if __name__ == "__main__":
    main()
