"""The copy guard: word by word, and in an engine that would recite."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mirror.conftest import SetRuns, engine_of, write
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.corpus.words import norms
from vaultgpt.mirror.copy_guard import CopyGuard, NoRuns
from vaultgpt.wire import Prompt, Sampling

KNOWN = "one two three four five six seven eight nine ten eleven twelve"


def first_hit(before: str, text: str, known: str = KNOWN) -> int | None:
    """Feed character by character as an engine would; where the guard objects."""
    guard = CopyGuard(SetRuns([known]), before, True)
    for end in range(1, len(text) + 1):
        hit = guard.copied(text[:end], guard.ended(text[:end]))
        if hit is not None:
            return hit
    return guard.copied(text, len(text))


@pytest.mark.parametrize(
    ("before", "text", "word"),
    [
        ("", KNOWN, "ten"),
        ("", "One, TWO\u2014three four; five\nsix seven eight nine \uff34\uff25\uff2e!", "\uff34"),
        ("one two three four five six", " seven eight nine ten eleven", "ten"),
        ("so one two three four five six seven eight nine", " ten ", "ten"),
        ("two three four five six seven eight nine ten", " eleven", "eleven"),
    ],
)
def test_the_tenth_word_is_found_wherever_the_run_began(before: str, text: str, word: str) -> None:
    assert first_hit(before, text) == text.index(word)


def test_a_word_that_began_in_the_prompt_is_read_whole() -> None:
    assert first_hit("one two three four five six seven eight nine te", "n, and") == -2
    assert first_hit("one two three four five six seven eight nine te", "ll, and") is None


def test_the_prompt_itself_is_never_objected_to() -> None:
    assert first_hit(KNOWN, " and so on and on") is None
    assert first_hit("one two three four five six seven eight nine ten", ", then") is None


def test_nine_words_pass_and_the_guard_can_be_off() -> None:
    assert first_hit("", "one two three four five six seven eight nine and ten") is None
    guard = CopyGuard(SetRuns([KNOWN]), "", False)
    assert guard.copied(KNOWN, len(KNOWN)) is None
    assert not NoRuns().has([])


def test_after_a_rewind_the_words_before_it_still_count() -> None:
    guard = CopyGuard(SetRuns([KNOWN]), "", True)
    upto = KNOWN.index(" ten")
    assert guard.copied(KNOWN[: upto + 4], upto + 4) == upto + 1
    guard.rewind(upto)
    assert guard.copied(KNOWN[:upto] + " then", upto + 5) is None
    guard.rewind(upto)
    assert guard.copied(KNOWN[:upto] + " ten", upto + 4) == upto + 1


def recited(text: str, before: str, known: SetRuns) -> int:
    """Known runs whose last word lies in the new text."""
    head, words = len(norms(before)), norms(before + text)
    return sum(
        known.has(words[i : i + known.n])
        for i in range(max(0, head - known.n + 1), len(words) - known.n + 1)
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 3])
def test_an_engine_that_would_recite_does_not(
    tiny_models: Callable[..., Path], temperature: float, n: int
) -> None:
    """1. Let the engine write unguarded. 2. Put that text into the index. 3. Ask again, guarded.
    Result: no run of ten words of it is completed, with and without a part in the prompt."""
    base = tiny_models("llama")
    settings = Sampling(temperature=temperature, dry_multiplier=0)
    text = "I walked along"
    texts, _, _ = write(
        engine_of(base),
        Prompt(text=text, length="tokens", max_tokens=150, seed=5, sampling=settings),
    )
    known = SetRuns([text + texts[0]], n=4)
    engine = engine_of(base, known)
    for cut in (0, 20, 40):
        before = text + texts[0][:cut]
        prompt = Prompt(
            text=before, length="tokens", max_tokens=120, seed=5, n=n, sampling=settings
        )
        for answer in write(engine, prompt)[0]:
            assert recited(answer, before, known) == 0


def test_when_nothing_else_may_follow_the_text_ends(tiny_llama: Path) -> None:
    class All:
        n = 3

        def has(self, words: object) -> bool:
            return True

    engine = engine_of(tiny_llama, All())
    texts, pieces, _ = write(engine, Prompt(text="I walked along the", length="paragraph", seed=1))
    assert pieces[-1].finish in ("stop", "length")
    assert len(norms(texts[0])) <= 1


def test_it_works_with_the_index_on_disk(tmp_path: Path) -> None:
    index = RunIndex(tmp_path / "runs", b"secret", n=10)
    index.add([KNOWN])
    guard = CopyGuard(RunIndex(tmp_path / "runs", b"secret", n=10).load(), "", True)
    assert guard.copied(KNOWN, len(KNOWN)) == KNOWN.index("ten")


def test_checking_word_by_word_equals_checking_at_once() -> None:
    rng = random.Random(1)
    for _ in range(30):
        words = [rng.choice("ab") for _ in range(40)]
        known = " ".join(rng.choice("ab") for _ in range(14))
        text = " ".join(words)
        index = SetRuns([known], n=5)
        guard, at_once = CopyGuard(index, "", True), CopyGuard(index, "", True)
        hit = None
        for end in range(1, len(text) + 1):
            hit = guard.copied(text[:end], guard.ended(text[:end]))
            if hit is not None:
                break
        assert hit == at_once.copied(text, len(text)) or hit is None
