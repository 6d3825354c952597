"""The mirror on a graphics card, beside the same on the CPU. Skipped, saying so, where none is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.mirror.conftest import PLAIN, engine_of, never, write
from vaultgpt.arithmetic import choose_device, choose_dtype
from vaultgpt.mirror.families import build
from vaultgpt.mirror.lean import Model
from vaultgpt.wire import Prompt

CARD = "cuda"
IDS = list(range(20, 80))
pytestmark = pytest.mark.skipif(choose_device("auto").type != CARD, reason="no CUDA is here")


def logits(model: Model) -> torch.Tensor:
    """After a prompt in two parts, and after a step."""
    cache = model.empty()
    model.prefill(cache, IDS[:25], 0)
    read = model.peek(cache, IDS[25:], 25)
    return torch.cat([read, model.step(cache, [7], [len(IDS)])])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "gpt_neox"])
@pytest.mark.parametrize("voice", [False, True])
def test_logits_are_those_of_the_cpu(
    tiny_models: Callable[..., Path], adapters: Callable[..., Path], family: str, voice: bool
) -> None:
    base = tiny_models(family)
    kind = family if family in ("gpt2", "gpt_neox") else "llama"
    generation = adapters(base, kind) if voice else None
    there, here = (
        logits(build(base, generation, "float32", torch.device(name))) for name in (CARD, "cpu")
    )
    assert there.device.type == "cpu" and (there - here).abs().max() < 2e-3


def test_it_writes_in_bfloat16_and_the_seed_and_a_warm_cache_give_the_same_text(
    tiny_llama: Path,
) -> None:
    assert choose_dtype("auto", torch.device(CARD), 135_000_000) == "bfloat16"
    engine = engine_of(tiny_llama, device=CARD)
    prompt = Prompt(text="We walked along the", length="tokens", max_tokens=24, n=3, seed=5)
    first = write(engine, prompt)
    assert (engine.device.type, engine.dtype) == (CARD, "bfloat16")
    assert write(engine, prompt)[0] == first[0] and len(first[0]) == 3


def test_greedy_text_in_fp32_is_that_of_the_cpu(tiny_llama: Path) -> None:
    prompt = Prompt(text="We saw the", length="tokens", max_tokens=24, sampling=PLAIN)
    there, here = (
        write(engine_of(tiny_llama, device=name, dtype="float32"), prompt)[0]
        for name in (CARD, "cpu")
    )
    assert there == here


def test_a_voice_takes_over_between_two_requests_and_back(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    engine = engine_of(tiny_llama, device=CARD, dtype="float32")
    prompt = Prompt(text="We saw the", length="tokens", max_tokens=24, sampling=PLAIN)
    as_base = write(engine, prompt)[0]
    engine.activate("g000001", adapters(tiny_llama, "llama", embedding=True))
    as_voice = write(engine, prompt)[0]
    assert as_voice != as_base == write(engine, replace(prompt, model="base"))[0]
    engine.activate(None)
    assert write(engine, prompt)[0] == as_base


def test_a_prompt_is_warmed_there(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, device=CARD)
    prompt = Prompt(text="We saw the harbour and the boats in it", length="tokens", max_tokens=4)
    warmed = engine.warm(prompt, never)
    assert warmed > 0 and write(engine, prompt)[2].cached_tokens == warmed
