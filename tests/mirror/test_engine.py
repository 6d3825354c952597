"""A whole request: prefix reuse, swaps, cancelling, seeds, strengths, endings, figures."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from tests.mirror.conftest import PLAIN, engine_of, never, write
from vaultgpt.corpus.words import split_words
from vaultgpt.errors import NotFound, Unavailable, UsageError
from vaultgpt.mirror.engine import Engine
from vaultgpt.wire import Length, Prompt, Sampling, Usage

LONG = tiny.prose(80, 11)
TOKENS: dict[str, Any] = {"length": "tokens", "max_tokens": 20}


def tail(engine: Engine, prompt: Prompt, alternative: int = 0) -> list[int]:
    request = engine.begin(prompt, never, 0.0)
    list(request.pieces(never))
    return request.answers[alternative].tail


# Prefix reuse -------------------------------------------------------------------------------------


def count_prefilled(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all prefill calls from here on."""
    calls: list[int] = []
    model = engine._model(engine.active)
    real = model.prefill

    def spy(cache: Any, ids: list[int], start: int) -> None:
        calls.append(len(ids))
        real(cache, ids, start)

    monkeypatch.setattr(model, "prefill", spy)
    return calls


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "mamba"])
def test_a_note_that_grew_prefills_only_what_is_new(
    tiny_models: Callable[..., Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(tiny_models(family))
    calls = count_prefilled(engine, monkeypatch)
    text = LONG[:200]
    _, _, cold = write(engine, Prompt(text=text, sampling=PLAIN, **TOKENS))
    assert cold.cached_tokens == 0 and sum(calls) == cold.prompt_tokens - 1
    calls.clear()
    more = text + LONG[200:230]
    texts, _, warm = write(engine, Prompt(text=more, sampling=PLAIN, **TOKENS))
    assert sum(calls) <= 20 and warm.cached_tokens + sum(calls) == warm.prompt_tokens - 1
    fresh, _, _ = write(engine_of(tiny_models(family)), Prompt(text=more, sampling=PLAIN, **TOKENS))
    assert texts == fresh


def test_the_accepted_answer_is_cached_too(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(tiny_llama)
    prompt = Prompt(text=LONG[:100], sampling=PLAIN, **TOKENS)
    texts, _, usage = write(engine, prompt)
    calls = count_prefilled(engine, monkeypatch)
    _, _, again = write(engine, Prompt(text=LONG[:100] + texts[0], sampling=PLAIN, **TOKENS))
    assert again.cached_tokens >= usage.prompt_tokens - 1 and sum(calls) < 20


def test_several_notes_keep_their_prefixes(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    notes = [tiny.prose(50, seed) for seed in range(3)]
    for note in notes:
        write(engine, Prompt(text=note, tags=("journal",), **TOKENS))
    for note in notes:
        _, _, usage = write(engine, Prompt(text=note, tags=("journal",), **TOKENS))
        assert usage.cached_tokens == usage.prompt_tokens - 1


def test_a_prefix_is_never_used_for_another_generation(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    """Other engines shipped this bug. 1. Write with the base. 2. Activate a generation. 3. Write
    the same prompt. Result: nothing cached, and the text of an engine that never saw the base."""
    generation = adapters(tiny_llama, "llama")
    engine = engine_of(tiny_llama)
    prompt = Prompt(text=LONG, sampling=PLAIN, **TOKENS)
    before, _, _ = write(engine, prompt)
    engine.activate("g000001", generation)
    after, _, usage = write(engine, prompt)
    fresh = engine_of(tiny_llama)
    fresh.activate("g000001", generation)
    assert usage.cached_tokens == 0 and usage.generation == "g000001"
    assert after == write(fresh, prompt)[0] != before
    assert write(engine, Prompt(text=LONG, sampling=PLAIN, model="base", **TOKENS))[0] == before


def test_the_same_id_in_another_folder_is_another_generation(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    engine = engine_of(tiny_llama)
    prompt = Prompt(text=LONG, sampling=PLAIN, **TOKENS)
    texts = []
    for seed in (1, 2):
        engine.activate("g000001", adapters(tiny_llama, "llama", seed=seed))
        texts.append(write(engine, prompt)[0])
        assert write(engine, prompt)[2].cached_tokens > 0
    assert texts[0] != texts[1]


def test_warm_prefills_and_the_request_finds_it(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    prompt = Prompt(text=LONG, tags=("dream",), sampling=Sampling(tag_strength=1.3), **TOKENS)
    cached = engine.warm(prompt, never)
    _, _, usage = write(engine, prompt)
    assert usage.cached_tokens == cached == usage.prompt_tokens - 1


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("n", [1, 3])
def test_warm_or_cold_the_seed_gives_the_same_text(
    tiny_models: Callable[..., Path], family: str, n: int
) -> None:
    prompt = Prompt(text=LONG, seed=9, n=n, **TOKENS)
    engine = engine_of(tiny_models(family))
    cold = write(engine, prompt)[0]
    assert cold == write(engine, prompt)[0] == write(engine_of(tiny_models(family)), prompt)[0]


# Generations --------------------------------------------------------------------------------------


def test_any_known_generation_can_be_asked_for(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    engine = engine_of(tiny_llama)
    folders = {f"g00000{s}": adapters(tiny_llama, "llama", seed=s) for s in (1, 2, 3, 4)}
    engine.activate("g000001", None, folders)
    texts = {
        g: write(engine, Prompt(text=LONG, sampling=PLAIN, model=g, **TOKENS))[0][0]
        for g in ("base", *folders, "mirror")
    }
    assert texts["mirror"] == texts["g000001"] and len(set(texts.values())) == 5
    assert len(engine._models) <= 4
    with pytest.raises(NotFound):
        write(engine, Prompt(text="", model="g000099"))
    with pytest.raises(NotFound):
        engine.activate("g000099")
    assert engine.active == "g000001"
    engine.activate(None)
    assert write(engine, Prompt(text=LONG, sampling=PLAIN, **TOKENS))[0][0] == texts["base"]


def test_before_a_base_is_loaded_it_is_unavailable() -> None:
    from vaultgpt.settings import Mirror

    with pytest.raises(Unavailable):
        Engine(Mirror()).activate(None)


# Alternatives and seeds ---------------------------------------------------------------------------


def test_an_alternative_does_not_depend_on_its_batch_mates(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    prompt = {"text": LONG, "seed": 4, **TOKENS}
    alone, _, _ = write(engine, Prompt(**prompt))
    together, _, usage = write(engine, Prompt(n=4, **prompt))
    assert together[0] == alone[0] and len(set(together)) == 4
    assert usage.tokens >= 80
    assert write(engine, Prompt(**{**prompt, "seed": 5}))[0] != alone


def test_without_a_seed_texts_differ(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    assert len({write(engine, Prompt(text=LONG, **TOKENS))[0][0] for _ in range(3)}) > 1


def test_too_many_alternatives_are_refused(tiny_llama: Path) -> None:
    for n in (0, 17):
        with pytest.raises(UsageError):
            write(engine_of(tiny_llama), Prompt(text="", n=n))


# Strengths ----------------------------------------------------------------------------------------


def mixed_logits(engine: Engine, prompt: Prompt) -> np.ndarray:
    request = engine.begin(prompt, never, 0.0)
    assert request._decoding is not None
    return request._decoding.look([])[0]


def test_tag_and_voice_strength_mix_logits_as_worded(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    engine = engine_of(tiny_llama)
    engine.activate("g000001", adapters(tiny_llama, "llama"))

    def logits(
        sampling: Sampling, tags: tuple[str, ...] = ("dream",), model: str = "mirror"
    ) -> Any:
        return mixed_logits(engine, Prompt(text=LONG, tags=tags, sampling=sampling, model=model))

    plain = Sampling(heal=False, tag_strength=1.0)
    c, u, b = logits(plain), logits(plain, ()), logits(plain, model="base")
    strong = logits(Sampling(heal=False, tag_strength=1.5))
    assert np.abs(strong - (u + 1.5 * (c - u))).max() < 1e-3
    voiced = logits(Sampling(heal=False, voice=0.4, tag_strength=1.0))
    assert np.abs(voiced - (c + 0.4 * (c - b))).max() < 1e-3
    both = logits(Sampling(heal=False, voice=0.4, tag_strength=1.5))
    assert np.abs(both - (u + 1.5 * (c - u) + 0.4 * (c - b))).max() < 1e-3
    texts, _, _ = write(
        engine,
        Prompt(
            text=LONG, tags=("dream",), n=3, seed=1, sampling=Sampling(voice=0.4, tag_strength=1.5)
        ),
    )
    assert len(texts) == 3


def test_a_strength_is_for_tags_and_a_generation_and_both_lanes_read_the_same_text(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    engine = engine_of(tiny_llama)
    engine.activate("g000001", adapters(tiny_llama, "llama"))
    strong = Sampling(heal=False, tag_strength=1.5)

    def lanes(**more: Any) -> list[list[int]]:
        prompt = Prompt(text=tiny.prose(600, 3), sampling=strong, **TOKENS, **more)
        return [lane.ids for lane in engine.begin(prompt, never, 0.0).lanes]

    assert len(lanes(date="2021")) == len(lanes(tags=("dream",), model="base")) == 1
    under, without = lanes(tags=("dream", "a very long tag of many words"), date="2021")
    text = len(without) - 1  # after the start token
    assert text > 40 and under[-text:] == without[1:]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("n", [1, 3])
def test_what_is_stepped_together_is_what_each_lane_says_alone(
    tiny_models: Callable[..., Path], adapters: Callable[..., Path], family: str, n: int
) -> None:
    base = tiny_models(family)
    engine = engine_of(base)
    engine.activate("g000001", adapters(base, family))
    prompt = Prompt(
        text=LONG,
        tags=("dream",),
        n=n,
        seed=4,
        sampling=Sampling(heal=False, tag_strength=1.5),
        **TOKENS,
    )
    request = engine.begin(prompt, never, 0.0)
    assert request._decoding is not None
    decoding, seen = request._decoding, []
    assert len(decoding.lanes) == 2
    real = decoding._step

    def spy(rows: list[Any]) -> Any:
        logits = real(rows)
        seen.append([(list(a.tail), row.copy()) for a, row in zip(rows, logits, strict=True)])
        return logits

    decoding._step = spy  # type: ignore[method-assign]
    list(decoding.run(request.answers, never))
    assert len(seen) > 5
    for path, logits in seen[-1]:
        assert np.abs(logits - decoding.look(path)[-1]).max() < 1e-3
    for lane in decoding.lanes if n == 1 else []:  # the next request can go on from there
        ids, last = lane.prefix.ids, request.answers[0].tail[-1]
        assert [*ids, last] == [*lane.ids, *request.answers[0].tail]
        fresh = lane.model.empty()
        lane.model.prefill(fresh, ids, 0)
        here, there = (lane.model.peek(c, [last], len(ids)) for c in (lane.prefix.cache, fresh))
        assert (here - there).abs().max() < 1e-3


# Cancelling ---------------------------------------------------------------------------------------


def after(calls: int) -> Callable[[], bool]:
    """Cancelled from the given question on."""
    left = [calls]

    def cancelled() -> bool:
        left[0] -= 1
        return left[0] < 0

    return cancelled


def test_cancelled_in_prefill_nothing_is_written_and_the_part_is_kept(
    tiny_models: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(tiny_models("llama", context=2048))
    monkeypatch.setattr(type(engine._model("base")), "chunk", 64)
    prompt = Prompt(text=tiny.prose(400, 2), n=2, **TOKENS)
    texts, pieces, usage = write(engine, prompt, after(2))
    assert texts == ["", ""] and [p.finish for p in pieces] == ["cancelled"] * 2
    assert usage.tokens == 0
    assert write(engine, prompt)[2].cached_tokens == 128
    assert engine.warm(Prompt(text="Other " * 90), after(0)) == 0


def test_cancelled_in_decoding_every_alternative_ends(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    prompt = Prompt(text="I", n=2, length="tokens", max_tokens=100, seed=1)
    _, pieces, usage = write(engine, prompt, after(8))
    assert [p.finish for p in pieces if p.finish] == ["cancelled"] * 2 and usage.tokens < 30


def test_a_closed_request_leaves_the_engine_whole(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    prompt = Prompt(text=LONG, seed=2, **TOKENS)
    wanted = write(engine, prompt)[0]
    said = engine.generate(Prompt(text=LONG, seed=3, length="tokens", max_tokens=50), never)
    next(said)
    said.close()  # type: ignore[attr-defined]
    assert write(engine, prompt)[0] == wanted


# Context and endings ------------------------------------------------------------------------------


def test_a_long_note_is_cut_to_fit_and_typing_on_keeps_the_cache(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    text = tiny.prose(2000, 7)
    reused = 0
    for end in range(len(text) - 200, len(text), 10):
        _, _, usage = write(engine, Prompt(text=text[:end], seed=1, **TOKENS))
        assert usage.prompt_tokens + 20 <= 256
        reused += usage.cached_tokens >= usage.prompt_tokens - 16
    assert reused >= 15


@pytest.mark.parametrize("length", ["sentence", "paragraph", "page", "tokens"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_no_answer_ends_inside_a_word_or_with_white_space(
    tiny_models: Callable[..., Path], family: str, length: Length
) -> None:
    engine = engine_of(tiny_models(family))
    for seed in range(3):
        prompt = Prompt(text="We walked along", length=length, max_tokens=15, seed=seed, n=2)
        request = engine.begin(prompt, never, 0.0)
        pieces = list(request.pieces(never))
        for answer in request.answers:
            text = "".join(p.text for p in pieces if p.index == answer.wording.index)
            assert text == answer.wording.text == text.rstrip()
            tokens = b"".join(engine.vocabulary.written[t] for t in answer.tail)
            whole = tokens.decode("utf-8", "ignore")
            at = whole.find(text) + len(text)
            assert not (re.search(r"\w\Z", whole[:at]) and re.match(r"\w", whole[at:]))
            assert [p.finish for p in pieces if p.index == answer.wording.index][-1] in (
                "stop",
                "length",
            )


def test_end_of_text_ends_an_answer_but_not_before_a_word(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(tiny_llama)
    model = engine._model("base")
    real = type(model).step

    def eager(self: Any, *args: Any) -> torch.Tensor:
        logits: torch.Tensor = real(self, *args).clone()
        logits[:, 0] += 100.0
        return logits

    monkeypatch.setattr(type(model), "step", eager)
    sampling = Sampling(temperature=0, heal=False)
    texts, pieces, _ = write(engine, Prompt(text="We saw", sampling=sampling))
    assert texts[0].strip() and pieces[-1].finish == "stop"
    texts, pieces, _ = write(engine, Prompt(text="We saw", sampling=sampling, **TOKENS))
    assert texts == [""] and pieces[-1].finish == "stop"


def test_stop_strings_are_found_across_pieces(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    prompt = Prompt(text=LONG, seed=1, length="tokens", max_tokens=60)
    whole = write(engine, prompt)[0][0]
    for start in range(5, len(whole) - 10, 7):
        mark = whole[start : start + 6]
        got, pieces, _ = write(
            engine, Prompt(text=LONG, seed=1, length="tokens", max_tokens=60, stop=(mark,))
        )
        assert got[0] == whole[: whole.index(mark)].rstrip()
        assert pieces[-1].finish == "stop"


def test_the_suffix_is_not_written_again(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    prompt = Prompt(text=LONG, seed=1, length="tokens", max_tokens=60)
    whole = write(engine, prompt)[0][0]
    at = next(m.start() for m in re.finditer(r"(?<!\S)\w\S*(?=\s)", whole) if m.start() > 20)
    suffix = "\n\n" + whole[at : at + 30]
    got = write(engine, Prompt(text=LONG, seed=1, length="tokens", max_tokens=60, suffix=suffix))
    assert got[0][0] == whole[:at].rstrip()


def test_the_figures_of_a_request(tiny_llama: Path) -> None:
    usage = write(engine_of(tiny_llama), Prompt(text="We saw", seed=1, **TOKENS))[2]
    assert usage.generation == "base" and usage.tokens >= 20
    assert usage.first_token_ms > 0 and usage.tokens_per_s is not None and usage.tokens_per_s > 0
    assert Usage.from_answer(usage.answer(1)) == usage


@pytest.mark.parametrize("text", ["We walked along the", "We walked alo", "We walked along "])
def test_the_chance_of_the_first_words_is_the_models_own(tiny_llama: Path, text: str) -> None:
    """Whatever the sampling then makes of it: temperature, guards, and a healed word with it."""
    engine = engine_of(tiny_llama)
    sampling = Sampling(temperature=0.7, min_p=0.1, dry_multiplier=2.0)
    prompt = Prompt(text=text, length="tokens", max_tokens=24, seed=3, sampling=sampling)
    writing = engine.begin(prompt, never, 0.0)
    list(writing.pieces(never))
    answer, sure = writing.answers[0], writing.usage().sure
    assert 0 < len(sure) <= 3 and list(sure) == sorted(sure, reverse=True)
    frame, decoding = answer.frame, writing._decoding
    assert decoding is not None
    rows = decoding.look(answer.tail)
    nats, done = 0.0, 0
    if frame.healing:
        weights = torch.tensor(frame.healing.weights).log_softmax(0)
        nats, done = float(weights[answer._way]), answer.healed
    words = split_words(answer.wording.text)[:3]
    wanted = []
    for word in words:
        last = answer._token_at(word.end - 1)
        for i in range(done, last + 1):
            row = torch.tensor(rows[i] + decoding.barred).log_softmax(0)
            nats += float(row[answer.tail[i]])
        done = max(done, last + 1)
        wanted.append(np.exp(nats))
    assert sure == pytest.approx(wanted, abs=2e-4)
    assert Usage.from_answer(writing.usage().answer(1)) == writing.usage()


def _clause(base: Path, text: str, sure: float) -> tuple[str, Usage, tuple[float, ...]]:
    """A clause, its usage, and the chances of the first words that the prompt goes on with."""
    engine, sampling = engine_of(base), Sampling(temperature=0, sure=sure)
    asked = Prompt(text, length="clause", max_tokens=12, sampling=sampling)
    (got,), _, usage = write(engine, asked)
    return got, usage, write(engine, replace(asked, length="tokens"))[2].sure


@pytest.mark.parametrize("text", ["We walked along the", "We walked alo", "We walked along "])
def test_a_clause_has_only_words_that_it_is_sure_of(tiny_llama: Path, text: str) -> None:
    _, _, chances = _clause(tiny_llama, text, 0.0)
    assert chances[0] > 0
    got, usage, _ = _clause(tiny_llama, text, chances[0] * 0.9)
    assert got.strip() and usage.sure[0] >= chances[0] * 0.9
    assert _clause(tiny_llama, text, chances[0] * 1.1)[0] == ""


def test_a_clause_that_it_is_not_sure_of_costs_one_token(tiny_llama: Path) -> None:
    got, usage, _ = _clause(tiny_llama, "We walked along the", 1.0)
    assert got == "" and usage.tokens <= 1
