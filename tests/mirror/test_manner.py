"""A text keeps the author's measure: no circles, figures and stray quotes as theirs, no stubs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.mirror.conftest import engine_of, never, write
from vaultgpt.corpus.habits import Habits, looped, marks, measure
from vaultgpt.corpus.lines import by_tag, save
from vaultgpt.corpus.words import norms
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.manner import Fault, Manner
from vaultgpt.wire import Prompt, Sampling

RARELY = Habits(words=10_000, figures=20)


def first_fault(text: str, before: str = "", habits: Habits | None = RARELY) -> Fault | None:
    """Character by character, as an engine would."""
    manner = Manner(habits, before, True)
    for end in range(1, len(text) + 1):
        upto = text[:end].rfind(" ") + 1
        if found := manner.fault(text[:end], upto):
            return found
    return manner.fault(text, len(text))


@pytest.mark.parametrize(
    ("before", "text", "fault"),
    [
        ("", "the practractractract of it", Fault(4, "circles")),
        ("a pract", "ractractract of it", Fault(0, "circles")),
        ("It cost", " 517 seize", Fault(1, "figures")),
        ("It cost 5", "17 seize", None),  # the author's own figure is written on
        ("He", " died.” 25", Fault(6, "strays")),
        ("“He", " died.” She", None),
        ("I saw him go up the hill and", " I saw him go up the", Fault(11, "circles")),
        ("It rained.", "\n\n* * *\n\nThen", Fault(2, "marks")),
        ("It rained.", "\n- milk\n- \n", Fault(8, "marks")),
        ("- ", "\n- \n", Fault(0, "marks")),
        ("It was", " *late*, and **very** - so -- cold\n- milk\n", None),
        ("I saw him go up the hill and", " I saw her go up the", None),
    ],
)
def test_what_the_author_would_not_write_is_a_fault(
    before: str, text: str, fault: Fault | None
) -> None:
    assert first_fault(text, before) == fault


def test_what_the_author_does_often_passes_and_an_unknown_author_may_write_figures() -> None:
    lists = Habits(words=1000, figures=300, circles=200, strays=20, marks=100)
    text = ' 517, 12, 14" and 9.\n***\nI go. I go and I go. I go and I go'
    assert first_fault(text, "", lists) is None
    assert first_fault(" 517 and 5399\n* * *\n* * *", "", None) is None
    assert first_fault(" I go. I go. I go. I go. I go. I go.", "", None) is not None


def test_a_pardon_lets_what_stands_stand() -> None:
    manner = Manner(RARELY, "", True)
    assert manner.fault("In 1914 ", 8) == Fault(3, "figures")
    manner.pardon(7)
    assert manner.fault("In 1914 ", 8) is None
    assert Manner(RARELY, "", False).fault("In 1914 ", 8) is None


def scripted(engine: Engine, monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    """A model that wants to write `texts` over and over, each less than the one before it."""
    model, vocabulary = engine._model(engine.active), engine.vocabulary
    wishes = [vocabulary.encode(text) for text in texts]

    def logits(ids: list[int], positions: list[int]) -> np.ndarray:
        rows = np.zeros((len(ids), model.vocab), np.float32)
        for row, place in zip(rows, positions, strict=True):
            for rank, wish in enumerate(wishes):
                row[wish[place % len(wish)]] += 30.0 - 8.0 * rank
        return rows

    def step(cache: Any, ids: list[int], positions: list[int], every: bool) -> Any:
        import torch

        return torch.from_numpy(logits(ids, positions))

    monkeypatch.setattr(model, "step", step)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_goes_in_circles_is_led_out(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """Without chance too, where DRY alone lets a loop of eight words go on."""
    engine = engine_of(tiny_llama)
    scripted(engine, monkeypatch, " and so on and on it went that day", tiny.prose(60, 5))
    sampling = Sampling(temperature=temperature, heal=False)
    prompt = Prompt(text="We", length="tokens", max_tokens=80, seed=1, sampling=sampling)
    text = write(engine, prompt)[0][0]
    assert measure(text).circles == 0 and len(text.split()) > 20
    free = Sampling(temperature=0, heal=False, dry_multiplier=0)
    prompt = Prompt(text="We", length="tokens", max_tokens=80, sampling=free)
    assert measure(write(engine, prompt)[0][0]).circles > 5


@pytest.fixture
def engine(tiny_llama: Path, adapters: Callable[..., Path], tmp_path: Path) -> Engine:
    """A generation whose author writes no figures."""
    folder = tmp_path / "g000001"
    shutil.copytree(adapters(tiny_llama, "llama"), folder)
    save(folder, by_tag([(("journal",), "A whole day of rain, and then the bus.")] * 200))
    engine = engine_of(tiny_llama)
    engine.activate("g000001", folder)
    return engine


def test_figures_are_held_to_the_authors_share(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(engine, monkeypatch, " 517 was 5399", tiny.prose(60, 5))
    prompt = Prompt(text="It", length="tokens", max_tokens=40, seed=1)
    assert not any(c.isdigit() for c in write(engine, prompt)[0][0])
    monkeypatch.undo()
    scripted(engine, monkeypatch, " 517 was 5399", tiny.prose(60, 5))
    base = Prompt(text="It", length="tokens", max_tokens=40, seed=1, model="base")
    scripted_base = engine._model("base")
    monkeypatch.setattr(scripted_base, "step", engine._model("g000001").step)
    assert "517" in write(engine, base)[0][0]


@pytest.mark.parametrize("rule", ["\n* * *\n_ _ _", "\n- \n- \n", "\n________"])
def test_rules_and_empty_items_are_held_to_the_authors_share(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    scripted(engine, monkeypatch, rule, tiny.prose(60, 5))
    prompt = Prompt(text="It rained.\n", length="tokens", max_tokens=60, seed=1)
    text, pieces, _ = write(engine, prompt)
    assert not marks(text[0]) and len(norms(text[0])) > 5
    assert "".join(piece.text for piece in pieces if piece.index == 0) == text[0]


def test_no_word_goes_in_a_loop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(engine, monkeypatch, "ractractract", tiny.prose(60, 5))
    prompt = Prompt(text="I p", length="tokens", max_tokens=40, seed=1)
    text = write(engine, prompt)[0][0]
    assert all(looped(word) is None for word in ("I p" + text).split())


@pytest.mark.parametrize("length", ["sentence", "paragraph", "page"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_of_two_words_is_drawn_again(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, length: Any, temperature: float
) -> None:
    engine = engine_of(tiny_llama)
    end = min(engine.vocabulary.ends)
    model = engine._model("base")
    real = model.step
    places: list[int] = []

    def step(cache: Any, ids: list[int], positions: list[int], every: bool) -> Any:
        logits = real(cache, ids, positions).clone()
        place = positions[0] - start
        ends = place > 11 or (place == 2 and places.count(2) < 2)  # after two tokens, twice
        logits[:, end] = 40.0 if ends else -40.0
        places.append(place)
        return logits

    sampling = Sampling(temperature=temperature, heal=False)
    prompt = Prompt(text="We walked", length=length, seed=2, max_tokens=60, sampling=sampling)
    start = len(engine.begin(prompt, never, 0.0).lanes[0].ids) - 1
    monkeypatch.setattr(model, "step", step)
    texts, pieces, _ = write(engine, prompt)
    assert len(norms(texts[0])) >= 3 and pieces[-1].finish == "stop"
    assert places.count(0) == 3
