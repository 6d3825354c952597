"""Tokens of scripts that the author does not write in are not written, and cost nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.mirror.conftest import engine_of, write
from vaultgpt.arithmetic import Dtype
from vaultgpt.corpus.habits import Habits
from vaultgpt.corpus.lines import FILE, by_tag, save
from vaultgpt.files import write_json
from vaultgpt.mirror import head as heads
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.families import build
from vaultgpt.mirror.head import _LEFT_OUT, Head
from vaultgpt.mirror.lean import LeanModel
from vaultgpt.mirror.llama_layer import _rms_norm
from vaultgpt.mirror.question import make_stems
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Prompt, Sampling, TokenChance

PROSE = "A whole day of rain, and then the bus, which was late as ever."
FREE = Sampling(temperature=1.5, top_p=1.0, dry_multiplier=0, guard=False)
ASKED = Prompt(text="Rain", tags=("journal",), n=4, seed=3, length="tokens", sampling=FREE)
STRANGE = range(200, 440)  # of the tiny vocabulary's 512

Start = Callable[..., Engine]


@pytest.fixture
def start(tiny_llama: Path, adapters: Callable[..., Path], tmp_path: Path) -> Start:
    """An engine whose author wrote `text`, and whose tokenizer has many a word of Russian."""

    def engine(text: str = PROSE, *, old: bool = False, **settings: str) -> Engine:
        folder = tmp_path / "g000001"
        shutil.copytree(adapters(tiny_llama, "llama"), folder, dirs_exist_ok=True)
        save(folder, by_tag([(("journal",), text)] * 4))
        if old:
            lines = json.loads((folder / FILE).read_text())
            for tag in lines.values():
                del tag["habits"]["scripts"]
            write_json(folder / FILE, lines)
        made = engine_of(tiny_llama, **settings)
        for i in STRANGE:
            made.vocabulary.written[i] = "дождь".encode()
        made.activate("g000001", folder)
        return made

    return engine


def russian(engine: Engine, prompt: Prompt = ASKED) -> int:
    return "".join(write(engine, prompt)[0]).count("дождь")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_script_that_the_author_does_not_write_in_is_not_written(
    start: Start, dtype: str
) -> None:
    engine = start(dtype=dtype)
    assert russian(engine) == 0
    guided = replace(FREE, tag_strength=2.0, voice=0.5)
    assert russian(engine, replace(ASKED, sampling=guided)) == 0
    assert russian(engine, replace(ASKED, text="Дождь")) > 0  # one who begins so goes on so
    assert russian(engine, replace(ASKED, suffix="дождь")) > 0
    assert russian(engine, replace(ASKED, model="base")) > 0
    assert russian(engine) == 0


def test_it_is_written_by_who_writes_in_it_and_where_that_is_not_known(start: Start) -> None:
    assert russian(start(f"{PROSE} Дождь.")) > 0
    assert russian(start(old=True)) > 0


def test_a_letter_of_a_third_script_opens_that_one_alone(start: Start) -> None:
    """One letter of Greek in an English note is no leave to write Russian."""
    engine = start()
    for i in range(200, 320):
        engine.vocabulary.written[i] = "βροχή".encode()
    for text in ("Rain, β-rays and a lake", "Ο β Ω"):
        written = "".join(write(engine, replace(ASKED, text=text))[0])
        assert "дождь" not in written and "βροχή" in written
    assert "βροχή" not in "".join(write(engine, ASKED)[0])


def test_a_question_may_be_in_the_script_of_its_stem(start: Start) -> None:
    """Nothing in Latin was ever written; the stems of a language that is not known are English."""
    engine = start("Дождь шёл весь день, и автобус опоздал.")
    asked = replace(ASKED, form="question", text="", seed=1)
    stems = make_stems(engine.vocabulary, asked, 512)
    found = engine.begin(asked, lambda: False, 0.0, stems)
    barred = found.voice.barred
    latin = [i for i, w in enumerate(engine.vocabulary.written[:100]) if w.isalpha()]
    assert latin and (barred[latin] == 0).all()
    alone = engine.begin(replace(asked, form="text"), lambda: False, 0.0)
    assert (alone.voice.barred[latin] < 0).all()


@pytest.mark.parametrize("echo", [False, True])
def test_none_is_told_among_the_likeliest(start: Start, echo: bool) -> None:
    """Neither beside a token that is written nor beside the prompt's own, whose chance is the
    model's all the same."""
    asked = replace(ASKED, n=1, max_tokens=6, logprobs=5, echo=echo)

    def told(prompt: Prompt) -> list[TokenChance]:
        return [token for piece in write(start(), prompt)[1] for token in piece.tokens]

    assert not any("дождь" in token.top for token in told(asked))
    assert all(len(token.top) == 5 for token in told(asked))
    every = told(replace(asked, model="base"))
    assert any("дождь" in token.top for token in every)


def test_left_out_rows_change_no_text(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = write(start(), ASKED)[0]
    monkeypatch.setattr(heads, "_LEAST", 2.0)
    assert write(start(), ASKED)[0] == apart


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_head_in_two_parts_gives_the_same_numbers(
    tiny_models: Callable[..., Path], family: str, dtype: Dtype
) -> None:
    base, ids = tiny_models(family), list(range(20, 60))
    whole, parted = (
        build(base, None, dtype, torch.device("cpu"), seldom=seldom)
        for seldom in ((), tuple(STRANGE))
    )
    assert torch.equal(*(model.peek(model.empty(), ids, 0) for model in (whole, parted)))
    caches = [model.empty() for model in (whole, parted)]
    for model, cache in zip((whole, parted), caches, strict=True):
        model.prefill(cache, ids, 0)
    wanted = whole.step(caches[0], [7], [len(ids)])
    assert torch.equal(wanted, parted.step(caches[1], [7], [len(ids)]))
    found = parted.step(caches[1], [7], [len(ids)], every=False)
    assert (found[:, STRANGE] == _LEFT_OUT).all()
    usual = [i for i in range(wanted.shape[1]) if i not in STRANGE]
    assert torch.equal(found[:, usual], wanted[:, usual])


def test_few_seldom_rows_are_no_product_of_their_own() -> None:
    made: list[int] = []

    def make(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        made.append(len(weight))
        return lambda x: x @ weight.T

    weight = torch.randn(10, 4)
    for seldom in ((), (1,), (1, 2)):
        Head(weight, make, seldom)  # type: ignore[arg-type]
    assert made == [10, 10, 8, 2]


def test_a_voice_takes_over_the_ends_of_one_with_the_same_seldom_tokens_alone(
    tiny_llama: Path,
) -> None:
    cpu = torch.device("cpu")
    first = build(tiny_llama, None, "int8", cpu, seldom=STRANGE)
    same = build(tiny_llama, None, "int8", cpu, like=first, seldom=STRANGE)
    other = build(tiny_llama, None, "int8", cpu, like=first)
    assert isinstance(first, LeanModel)
    assert isinstance(same, LeanModel) and isinstance(other, LeanModel)
    assert same.head is first.head and other.head is not first.head


def test_the_tokens_of_other_scripts_are_told_by_their_letters(tiny_llama: Path) -> None:
    vocabulary = Vocabulary.load(tiny_llama)
    words = ["Ünterm", "день", "a я", "5 µm", "😀 — „", "\u0301", "日", "ﬁ", "ば", "aʰ ー"]
    vocabulary.written[100 : 100 + len(words)] = [word.encode() for word in words]
    vocabulary.written[99] = "я".encode()[:1]  # part of a letter
    found = set(vocabulary.foreign(Habits(scripts=("LATIN",))))
    assert [w for i, w in enumerate(words, 100) if i in found] == [
        "день",
        "a я",
        "5 µm",
        "日",
        "ば",
    ]
    assert 99 not in found
    every = Habits(scripts=("LATIN", "CYRILLIC", "GREEK", "CJK", "HIRAGANA"))
    assert vocabulary.foreign(every) == [] == vocabulary.foreign(Habits(scripts=None))
    assert 100 in vocabulary.foreign(Habits(scripts=("CYRILLIC",)))


@pytest.mark.parametrize("shape", [(1, 1, 48), (3, 1, 48), (1, 20, 48), (1, 1, 5, 16)])
def test_norms_in_fewer_operations_are_torchs_own(shape: tuple[int, ...]) -> None:
    eps, width = 1e-5, shape[-1]
    torch.manual_seed(0)
    for size in (1e-4, 1.0, 1e3):
        x, weight = torch.randn(shape) * size, torch.rand(width) + 0.5
        for each in (None, weight):
            wanted = torch.nn.functional.rms_norm(x, (width,), each, eps)
            assert torch.allclose(_rms_norm(x, each, eps, torch.tensor([eps])), wanted, rtol=1e-5)
    zero = torch.zeros(shape)
    assert torch.equal(_rms_norm(zero, None, eps, torch.tensor([eps])), zero)
