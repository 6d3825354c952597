"""Under a tag of verse lines end where the author's do; elsewhere nothing is bent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.mirror.conftest import engine_of, write
from vaultgpt.corpus.lines import _measure, by_tag, save
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.sampling import Breaks, Verse
from vaultgpt.wire import Prompt, Sampling

POEM = "\n".join(["the rain is here again"] * 3 + ["", "and I am up"] + ["so is the cat, I"] * 3)
FREE = Sampling(temperature=1.0, dry_multiplier=0, min_p=0.0, guard=False)


@pytest.fixture
def engine(tiny_llama: Path, adapters: Callable[..., Path], tmp_path: Path) -> Engine:
    """Active is a generation that learned poems under #poetry and prose under #journal."""
    folder = tmp_path / "g000001"
    shutil.copytree(adapters(tiny_llama, "llama"), folder)
    prose = "A whole day of rain, and then the bus, which was late as ever."
    known = by_tag([(("poetry",), POEM)] * 4 + [(("journal",), prose)] * 4)
    save(folder, known)
    engine = engine_of(tiny_llama)
    engine.activate("g000001", folder)
    return engine


def lengths(engine: Engine, tag: str, text: str = "Rain") -> list[int]:
    """Of the lines of four alternatives, but for each one's last."""
    prompt = Prompt(
        text=text, tags=(tag,), n=4, seed=1, length="tokens", max_tokens=160, sampling=FREE
    )
    texts, _, _ = write(engine, prompt)
    return [len(line) for one in texts for line in (text + one).split("\n")[:-1] if line]


def test_lines_are_as_long_as_the_authors_and_prose_is_left_alone(engine: Engine) -> None:
    poem, prose = lengths(engine, "poetry"), lengths(engine, "journal")
    assert len(poem) > 3 * len(prose)
    assert 14 <= np.median(poem) <= 30  # the author's have 20 to 22, and 11


def test_an_essay_on_poetry_goes_on_as_prose(engine: Engine) -> None:
    essay = "Rain is what poems are made of, and there is no end of it in this town of ours. It"
    assert len(lengths(engine, "poetry", essay)) <= len(lengths(engine, "journal", essay)) + 2


def test_the_models_own_breaks_are_kept_once_it_writes_in_lines() -> None:
    """A model that breaks as often as the author does is not made to break more."""
    breaks = Breaks([b"a", b"\n", b"\n\n", b",\n"])
    assert breaks.single.tolist() == [1, 3] and breaks.blank.tolist() == [2]
    verse = Verse(_measure(POEM), breaks)
    inside = np.log(np.array([0.88, 0.06, 0.01, 0.05], np.float32))
    first = inside.copy()
    verse.bend(first, "", "x" * 20)
    for _ in range(60):
        verse.bend(inside.copy(), "", "x" * 20)
    later = inside.copy()
    verse.bend(later, "", "x" * 20)
    gain = (first - inside)[1], (later - inside)[1]
    assert gain[0] > gain[1] + 1.5
    short = inside.copy()
    verse.bend(short, "A\n", "xx")
    assert short[1] < inside[1] and short[0] == inside[0]
    start = inside.copy()
    verse.bend(start, "A\n", "")
    assert (start == inside).all()


@pytest.mark.parametrize("apart", [True, False])
def test_no_poem_goes_on_with_a_blank_line_after_every_line(apart: bool) -> None:
    """1. A poem that parted three lines so goes on, with a token for a blank line or with two line
    ends. 2. Its author began it so. 3. It parted fewer. Result: only the first has no more."""
    verse = Verse(_measure(POEM), Breaks([b"a", b"\n", b"\n\n" if apart else b"b"]))
    line = "I am up" if apart else ""  # where the next token may make a blank line

    def barred(before: str, text: str) -> list[bool]:
        logits = np.zeros(3, np.float32)
        verse.bend(logits, before, text)
        return [bool(np.isneginf(one)) for one in logits]

    spaced = "The rain\n\nis here\n\nagain\n\n"
    ended = spaced + ("" if apart else "and so\n")
    assert barred("", ended + line) == [False, not apart, apart]
    assert not any(barred(spaced, ended + line))
    assert not any(barred("", "The rain\nis here\n\nagain\n" + line))


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("Not I,\nnot I.\n\nA bird\nnot I", True),
        ("Not I,\nnot I.\n\nA bird\nnot I said", False),
        ("A bird\nnot I", False),
        ("not I", False),
        ("\n*\n*\n*", False),
    ],
)
def test_a_line_said_twice_goes_on_and_becomes_another(text: str, over: bool) -> None:
    """Refrains come twice; a small model would else say a short line six times."""
    verse = Verse(_measure(POEM), Breaks([b"a", b"\n", b"\n\n", b",\n"]))
    logits = np.zeros(4, np.float32)
    verse.bend(logits, "", text)
    assert np.isneginf(logits).tolist() == [False, over, over, over]
