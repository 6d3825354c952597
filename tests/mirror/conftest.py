"""What the mirror's tests share: tiny adapters, a set-based guard index, text of a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vaultgpt.bases.names import resolve
from vaultgpt.corpus.words import norms
from vaultgpt.generation_folders import Manifest, publish
from vaultgpt.ledger import GenerationRow, Ledger
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.remote import RemoteEngine
from vaultgpt.settings import Mirror
from vaultgpt.state import VaultState
from vaultgpt.wire import Piece, Prompt, Sampling, Usage

PLAIN = Sampling(temperature=0, dry_multiplier=0, guard=False, heal=False)


def never() -> bool:
    """No request is cancelled."""
    return False


class SetRuns:
    """A guard index in memory."""

    def __init__(self, texts: Sequence[str], n: int = 10) -> None:
        self.n = n
        self.runs = {
            tuple(words[i : i + n])
            for words in map(norms, texts)
            for i in range(len(words) - n + 1)
        }

    def has(self, words: Sequence[str]) -> bool:
        return any(
            tuple(words[i : i + self.n]) in self.runs for i in range(len(words) - self.n + 1)
        )


def engine_of(base: Path, runs: Any = None, **settings: Any) -> Engine:
    """An engine on `base`."""
    engine = Engine(Mirror(**{"device": "cpu", **settings}), runs)
    engine.load(base)
    return engine


def write(
    engine: Engine | RemoteEngine, prompt: Prompt, cancelled: Callable[[], bool] = never
) -> tuple[list[str], list[Piece], Usage]:
    """(texts by alternative, pieces, usage)."""
    said = list(engine.generate(prompt, cancelled))
    usage = said.pop()
    assert isinstance(usage, Usage)
    pieces = [p for p in said if isinstance(p, Piece)]
    texts = ["".join(p.text for p in pieces if p.index == i) for i in range(prompt.n)]
    return texts, pieces, usage


TARGETS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}
LLAMA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_adapter(
    base: Path, folder: Path, family: str, *, embedding: bool = False, seed: int = 1
) -> Path:
    """A random LoRA generation of `base`, written by peft."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    net: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=TARGETS.get(family, LLAMA_TARGETS),
        task_type="CAUSAL_LM",
        fan_in_fan_out=family == "gpt2",
    )
    peft = get_peft_model(net, lora)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    peft.save_pretrained(str(folder))
    if embedding:
        shape = net.get_input_embeddings().weight.shape
        delta = (0.1 * torch.randn(shape)).bfloat16()  # as our own are
        save_file({"embedding": delta}, folder / "embedding_delta.safetensors")
    return folder


def mild_adapter(base: Path, folder: Path, seed: int, *, embedding: bool = False) -> Path:
    """A voice that still writes words, and others than its base."""
    from safetensors.torch import load_file, save_file

    voice = make_adapter(base, folder, "llama", embedding=embedding, seed=seed)
    path = voice / "adapter_model.safetensors"
    mild = {k: v * (0.25 if "lora_B" in k else 1) for k, v in load_file(path).items()}
    save_file(mild, path, {"format": "pt"})
    return voice


def publish_voice(state: VaultState, base: Path, staged: Path) -> str:
    """Publish a staged adapter of `base` and enter it in the ledger, not active; its name."""
    found = resolve(str(base), state)
    manifest: Manifest = {
        "base": found.name,
        "revision": found.revision,
        "base_sha256": found.sha256,
        "parent": None,
        "round": 1,
        "created": time.time(),
        "learned": [],
        "held_out": [],
        "report": {},
        "verdict": {"promoted": True, "why": "For the test."},
    }
    name = publish(staged, state, manifest)
    ends = (manifest["created"], True, "kept", 0, True, 100)
    row = GenerationRow(name, 1, "fresh", None, found.name, found.sha256, *ends)
    with Ledger.open(state) as ledger:
        ledger.generations.add(row, [])
    return name


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """adapters(base, family, **options of make_adapter) -> folder, made once a session."""
    made: dict[tuple[Any, ...], Path] = {}

    def build(base: Path, family: str, **options: Any) -> Path:
        key = (base, family, *sorted(options.items()))
        if key not in made:
            made[key] = make_adapter(base, tmp_path_factory.mktemp("g"), family, **options)
        return made[key]

    return build
