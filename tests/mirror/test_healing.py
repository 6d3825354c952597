"""Token healing against a brute-force search of the vocabulary; bytes and characters kept whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.mirror.conftest import engine_of, never, write
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.prompting import _cut_tail
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Prompt, Sampling

GREEDY = Sampling(temperature=0, dry_multiplier=0, guard=False)
ENDS = [
    "I walked along the riv",
    "I walked along the river",
    "I waited ",
    "She said.   ",
    "Once.\n",
    "Once.\n\n",
    "café",
    "Grüße aus Köl",
    "a heart ❤️",
    "smile 😀",
    "日本語の",
    "don'",
    "well-kno",
    "(",
    "...",
    "x" * 200,
    " ",
    "\n",
]


@pytest.fixture(params=["byte_level", "byte_fallback", "vocab_merges"])
def vocabulary(request: pytest.FixtureRequest, tiny_models: Callable[..., Path]) -> Vocabulary:
    return Vocabulary.load(tiny_models("llama", tokenizer=request.param))


@pytest.mark.parametrize("text", ENDS)
def test_what_goes_back_and_what_stays_are_the_text(vocabulary: Vocabulary, text: str) -> None:
    ids = vocabulary.encode(text)
    cut = _cut_tail(vocabulary, text, ids)
    assert vocabulary.bytes_of(cut.ids) + cut.tail == text.encode()
    assert cut.tail and cut.paths[0] == ()
    for path in cut.paths:
        assert cut.tail.startswith(vocabulary.bytes_of(list(path))) and len(
            vocabulary.bytes_of(list(path))
        ) < len(cut.tail)


def test_partial_words_and_white_space_go_back_whole(tiny_llama: Path) -> None:
    vocabulary = Vocabulary.load(tiny_llama)
    for text, tail in [
        ("the old riv", b" riv"),
        ("I waited  ", b"  "),
        ("Once.\n\n", b"\n\n"),
        ("in K\u00f6l", " K\u00f6l".encode()),
        ("I don't", b" don't"),
    ]:
        assert _cut_tail(vocabulary, text, vocabulary.encode(text)).tail == tail


def test_bytes_of_tokens_write_any_text(vocabulary: Vocabulary) -> None:
    text = "Grüße, 日本 😀!\n\n\tTabs “and” quotes "
    assert vocabulary.bytes_of(vocabulary.encode(text)) == text.encode()
    assert vocabulary.encode("<|endoftext|>") != [vocabulary.start]


def test_starting_with_finds_what_a_search_finds(vocabulary: Vocabulary) -> None:
    for prefix in (b" ", b"\n", b" th", b"\xc3", b"\xff", b"zzzz"):
        brute = {i for i, w in enumerate(vocabulary.written) if w.startswith(prefix)}
        assert set(vocabulary.starting_with(prefix).tolist()) == brute


def test_a_blank_line_is_written_as_the_tokenizer_writes_it(tiny_llama: Path) -> None:
    """GPT-2's cut gives the last line end to the word: two in one token precede a third."""
    cut_as_gpt2 = Tokenizer(models.BPE())
    cut_as_gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    texts = ["so.\n\n\nThen\n\n"] * 9
    cut_as_gpt2.train_from_iterator(texts, trainers.BpeTrainer(initial_alphabet=alphabet))
    vocabulary = Vocabulary(cut_as_gpt2, [0], [0])
    double = vocabulary.written.index(b"\n\n")
    assert vocabulary.encode("so.\n\n\nThen").count(double) == 1
    assert double in vocabulary.blanks and double not in vocabulary.encode("so.\n\nThen")
    cut_as_gpt2.pre_tokenizer = pre_tokenizers.Split("\n\n", "isolated")
    assert Vocabulary(cut_as_gpt2, [0], [0]).blanks == []  # here training shows it
    engine = engine_of(tiny_llama)
    engine.vocabulary.__dict__["blanks"] = [5]
    assert engine._writable(engine.vocabulary.size)[5] == -np.inf


def test_html_tags_which_no_page_that_is_learned_has_are_never_written(tiny_llama: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))
    tokenizer.add_tokens(["<em>", "</em>", "<br />", " </", "<3", "a < b"])
    vocabulary = Vocabulary(tokenizer, [0], [0])
    tags = [vocabulary.written[i] for i in vocabulary.html]
    assert sorted(tags) == [b" </", b"</em>", b"<br />", b"<em>"]
    engine = engine_of(tiny_llama)
    engine.vocabulary.__dict__["html"] = [6]
    assert engine._writable(engine.vocabulary.size)[6] == -np.inf


@cache
def plain_net(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def brute_force(engine: Engine, text: str) -> dict[tuple[tuple[int, ...], int], float]:
    """log p of every (path, last) by a plain forward pass each and a loop over the vocabulary."""
    vocabulary = engine.vocabulary
    net = plain_net(engine._base)
    cut = _cut_tail(vocabulary, text, vocabulary.encode(text))
    allowed = torch.tensor(engine._writable(len(vocabulary.written)))
    out = {}
    for path in cut.paths:
        ids, weight = [vocabulary.start, *cut.ids], 0.0
        for token in path:
            with torch.inference_mode():
                row = net(torch.tensor([ids])).logits[0, -1]
            weight += torch.log_softmax(row + allowed, 0)[token].item()
            ids.append(token)
        with torch.inference_mode():
            row = torch.log_softmax(net(torch.tensor([ids])).logits[0, -1] + allowed, 0)
        rest = cut.tail[len(vocabulary.bytes_of(list(path))) :]
        for token, written in enumerate(vocabulary.written):
            if written.startswith(rest):
                out[path, token] = weight + row[token].item()
    return out


@pytest.mark.parametrize("text", ENDS[:-2])
def test_healing_equals_brute_force(tiny_llama: Path, text: str) -> None:
    engine = engine_of(tiny_llama)
    request = engine.begin(Prompt(text=text, max_tokens=8, sampling=GREEDY), never, 0.0)
    healing = request.answers[0].frame.healing
    assert healing is not None
    wanted = brute_force(engine, text)
    got = {
        (way.path, way.last): float(weight)
        for way, weight in ((healing.way(i), healing.weights[i]) for i in range(len(healing)))
    }
    assert got.keys() == wanted.keys()
    assert max(abs(got[key] - wanted[key]) for key in wanted) < 1e-3
    best = max(wanted, key=lambda key: wanted[key])
    assert request.answers[0].forced == [*best[0], best[1]]


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
@pytest.mark.parametrize("text", ENDS)
def test_only_new_bytes_are_written(tiny_models: Callable[..., Path], kind: str, text: str) -> None:
    engine = engine_of(tiny_models("llama", tokenizer=kind))
    prompt = Prompt(text=text, length="tokens", max_tokens=12, seed=3, n=2)
    request = engine.begin(prompt, never, 0.0)
    pieces = list(request.pieces(never))
    for answer in request.answers:
        cut = _cut_tail(engine.vocabulary, text, engine.vocabulary.encode(text))
        written = engine.vocabulary.bytes_of(answer.tail)
        assert written.startswith(cut.tail)
        said = "".join(p.text for p in pieces if p.index == answer.wording.index)
        new = written[len(cut.tail) :].decode("utf-8", "ignore")
        assert said in new
        assert "\ufffd" not in said


def test_pieces_never_split_a_character(tiny_models: Callable[..., Path]) -> None:
    engine = engine_of(tiny_models("llama", tokenizer="byte_fallback", vocab=320))
    for seed in range(4):
        prompt = Prompt(
            text="日本",
            length="tokens",
            max_tokens=60,
            seed=seed,
            sampling=Sampling(temperature=1.5, min_p=0, top_p=1),
        )
        _, pieces, _ = write(engine, prompt)
        for piece in pieces:
            assert "\ufffd" not in piece.text
            assert piece.text.encode("utf-8").decode("utf-8") == piece.text


def test_healing_off_and_an_empty_prompt(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    texts, _, usage = write(engine, Prompt(text="", length="tokens", max_tokens=5, seed=1))
    assert usage.prompt_tokens == 1 and isinstance(texts[0], str)


def test_a_wide_tail_gives_back_only_a_few_tokens(tiny_llama: Path) -> None:
    vocabulary = Vocabulary.load(tiny_llama)
    text = "日本語" * 40
    assert len(_cut_tail(vocabulary, text, vocabulary.encode(text)).tail) <= 64


def test_weights_are_probabilities(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    request = engine.begin(Prompt(text="I waited ", sampling=GREEDY), never, 0.0)
    healing = request.answers[0].frame.healing
    assert healing is not None
    assert 0 < np.exp(healing.weights.astype(np.float64)).sum() <= 1.0001
