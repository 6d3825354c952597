"""What max_tokens counts, and tokens' log probabilities as the completions API tells them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from tests import tiny
from tests.mirror.conftest import PLAIN, engine_of, never, write
from vaultgpt.mirror.engine import Engine
from vaultgpt.wire import Piece, Prompt, Sampling

LONG = tiny.prose(60, 5)


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Engine:
    return engine_of(tiny_llama)


@pytest.mark.parametrize("text", ["Last night I", "unbelievably", "the morning ", "We went.\n\n"])
def test_max_tokens_counts_new_tokens_and_not_those_taken_back(engine: Engine, text: str) -> None:
    """1. The prompt gives back its last word or white space. 2. So many tokens are asked for.

    Result: there is text, and no more is counted but for the ending of a word, which is said.
    """
    for most in range(1, 7):
        for seed in range(8):
            prompt = Prompt(text=text, length="tokens", max_tokens=most, seed=seed)
            writing = engine.begin(prompt, never, 0.0)
            shown = "".join(piece.text for piece in writing.pieces(never))
            usage, answer = writing.usage(), writing.answers[0]
            assert usage.tokens - usage.overtime <= most and usage.overtime <= 8
            new = engine.vocabulary.bytes_of(answer.tail)[answer.frame.skip :]
            if answer.finish == "length":
                assert shown.strip() or usage.overtime == 8, (most, seed, new)


def test_one_long_word_is_cut_rather_than_left_out(tiny_llama: Path) -> None:
    """A word that does not end within the overtime is given in part."""
    engine = engine_of(tiny_llama)
    written = engine.vocabulary.written
    barred = engine._writable(engine._model(engine.active).vocab)
    for i in range(len(barred)):
        if not (i < len(written) and written[i].isalpha() and written[i].isascii()):
            barred[i] = float("-inf")
    prompt = Prompt(
        text="unbeliev", length="tokens", max_tokens=3, seed=1, sampling=Sampling(heal=False)
    )
    texts, pieces, usage = write(engine, prompt)
    assert texts[0] and pieces[-1].finish == "length"
    assert usage.tokens == 3 + usage.overtime == 11


@pytest.mark.parametrize("heal", [False, True])
def test_the_tokens_told_write_the_text_and_are_the_likeliest_at_temperature_0(
    engine: Engine, heal: bool
) -> None:
    sampling = replace(PLAIN, heal=heal)
    prompt = Prompt(
        text=LONG, length="tokens", max_tokens=12, sampling=sampling, logprobs=3, n=2, seed=1
    )
    texts, pieces, _ = write(engine, prompt)
    for index in range(2):
        told = [t for p in pieces if p.index == index for t in p.tokens]
        assert "".join(t.text for t in told) == texts[index]
        assert all(t.logprob is not None and t.logprob <= 0 and len(t.top) <= 3 for t in told)
        assert all(t.logprob == max(t.top.values()) for t in told[1:])
    assert not any(p.tokens for p in write(engine, replace(prompt, logprobs=None))[1])


def test_chances_of_prompt_and_answer_are_those_of_transformers(
    engine: Engine, tiny_llama: Path
) -> None:
    prompt = Prompt(
        text=LONG, length="tokens", max_tokens=10, sampling=PLAIN, logprobs=1, echo=True
    )
    writing = engine.begin(prompt, never, 0.0)
    told = [p for p in engine.generate(prompt, never) if isinstance(p, Piece)]
    assert "".join(p.text for p in writing.pieces(never)) == "".join(p.text for p in told)
    tail = writing.answers[0].tail
    ids = [*writing.lanes[0].ids, *tail]
    net = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    with torch.no_grad():
        rows = net(torch.tensor([ids])).logits[0].log_softmax(-1)
    wanted = [float(rows[i, token]) for i, token in enumerate(ids[1:])]
    prompt_tokens = told[0].tokens
    assert "".join(t.text for t in prompt_tokens) == LONG and told[0].text == ""
    assert [t.logprob for t in prompt_tokens] == pytest.approx(wanted[: -len(tail)], abs=2e-3)
    written = [t for piece in told[1:] for t in piece.tokens]
    assert [t.logprob for t in written] == pytest.approx(
        wanted[-len(tail) :][: len(written)], abs=2e-3
    )
    _, scored, usage = write(engine, replace(prompt, max_tokens=0))
    assert scored[0] == told[0] and scored[1].finish == "length" and usage.tokens == 0


def test_rewinds_of_the_guard_leave_no_chance_of_a_token_that_is_gone(engine: Engine) -> None:
    prompt = Prompt(text=LONG[:90], length="paragraph", max_tokens=40, seed=3, logprobs=0)
    texts, pieces, _ = write(engine, prompt)
    assert "".join(t.text for p in pieces for t in p.tokens) == texts[0]
