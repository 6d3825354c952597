"""All figures of a tiny random generation, in this process, on a vault of two tags."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.making import make_adapter, make_job
from vaultgpt.mirror.engine import Engine
from vaultgpt.report import study as module
from vaultgpt.report import style, tagged
from vaultgpt.report.study import Study, Wanted, _Writer
from vaultgpt.settings import Mirror
from vaultgpt.training.copying import WordRuns
from vaultgpt.training.loop import Stopped
from vaultgpt.wire import Piece, Prompt, Sampling, Usage


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pages are enough, so that a tiny model writes them in seconds."""
    monkeypatch.setattr(tagged, "LEAST_PIECES", 6)
    monkeypatch.setattr(tagged, "LEAST_GENERATED", 3)
    monkeypatch.setattr(tagged, "PIECE_WORDS", 30)
    monkeypatch.setattr(module, "_PAGES", 8)
    monkeypatch.setattr(style, "_PAGE_WORDS", (30,))
    for name in ("LEAST_OWN", "LEAST_TRAINING", "LEAST_MIRROR"):
        monkeypatch.setattr(style, name, 4)


def test_every_figure_is_made_and_no_prose_is_in_them(
    small: None, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Prompt] = []
    generate = Engine.generate

    def overheard(engine: Engine, prompt: Prompt, cancelled: Callable[[], bool]) -> Any:
        asked.append(prompt)
        return generate(engine, prompt, cancelled)

    monkeypatch.setattr(Engine, "generate", overheard)
    made = make_job(tiny_llama, make_adapter(tiny_llama, tmp_path / "g"))
    job = replace(made, mirror=replace(made.mirror, temperature=0.8, tag_strength=1.25))
    phases: list[str] = []
    found: Any = Study(job, lambda phase, fraction: phases.append(phase), threading.Event()).run()
    assert found["style"]["percentile"] is not None and found["style"]["page_words"] == 30
    assert set(found["tags"]["tags"]) == {"journal", "dream", "rare"}
    assert found["tags"]["tags"]["rare"]["generated"] is None
    assert 0 <= found["tags"]["real"] <= 1 and 0 <= found["tags"]["generated"] <= 1
    assert {p.sampling for p in asked} == {
        Sampling(temperature=0.8, tag_strength=1.25, guard=False)
    }  # the author's own, unguarded
    headers = found["headers"]
    assert headers["notes"] == 8 and all(headers[k] > 0 for k in ("right", "wrong", "none"))
    assert set(headers["by_tag"]) == {"journal", "dream"}
    assert found["copying"]["runs"] > 0 and found["copying"]["near_share"] is not None
    assert found["written"]["words"] > 0 and found["written"]["tokens"] > 0
    assert [p for i, p in enumerate(phases) if p not in phases[:i]] == [
        "load",
        "evaluate",
        "write",
        "compare",
    ]
    shown = str(found)
    assert not any(word in shown for word in job.held_out[0].text.split() if len(word) > 7)


def test_little_text_and_one_tag_give_sentences_instead_of_numbers(
    tiny_llama: Path, tmp_path: Path
) -> None:
    job = make_job(
        tiny_llama, make_adapter(tiny_llama, tmp_path / "g"), notes=4, held_out=2, tags=("dream",)
    )
    found: Any = Study(
        replace(job, write_s=3.0, most_write_s=3.0), lambda *_: None, threading.Event()
    ).run()
    assert found["style"]["percentile"] is None and found["style"]["why"]
    assert found["tags"]["generated"] is None and found["tags"]["why"]
    assert found["headers"]["wrong"] is None and found["headers"]["right"] > 0


def test_a_vault_without_held_out_pages_is_no_failure(tiny_llama: Path, tmp_path: Path) -> None:
    job = make_job(tiny_llama, make_adapter(tiny_llama, tmp_path / "g"), notes=3, held_out=0)
    found: Any = Study(
        replace(job, write_s=1.0, most_write_s=1.0), lambda *_: None, threading.Event()
    ).run()
    assert found["headers"]["right"] is None and found["copying"]["author_share"] is None


def test_no_time_to_write_is_said_and_not_guessed(
    small: None, tiny_llama: Path, tmp_path: Path
) -> None:
    job = make_job(tiny_llama, make_adapter(tiny_llama, tmp_path / "g"))
    found: Any = Study(
        replace(job, write_s=0.0, most_write_s=0.0), lambda *_: None, threading.Event()
    ).run()
    assert found["written"]["texts"] == 0 and "0 pages" in found["style"]["why"]
    assert found["tags"]["real"] is not None and found["tags"]["generated"] is None


def test_being_told_to_stop_ends_it(tiny_llama: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Study(make_job(tiny_llama, tmp_path), lambda *_: None, stop).run()


def test_near_copies_differ_by_one_inner_word_and_are_no_copies() -> None:
    index = WordRuns(["one two three four five six seven eight nine ten"])
    for text, near in [
        ("one two three FOUR five six seven eight", 0),  # exact
        ("one two three other five six seven eight", 1),  # an unknown word inside
        ("one two three nine five six seven eight", 1),  # a known word inside
        ("one two other four five other seven eight", 0),  # two words
        ("other two three four five six seven eight", 0),  # the first word: a run of seven
        ("two other four five six seven eight nine ten", 1),
    ]:
        assert index.near([text]) == near, text
    assert index.near([]) == 0 and index.near(["one two three other", "five six seven eight"]) == 0


class Told:
    """An engine that says what it is told to, and keeps what it was asked."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces, self.asked = pieces, []  # type: ignore[var-annotated]

    def generate(self, prompt: Prompt, cancelled: Callable[[], bool]) -> Iterator[Piece | Usage]:
        self.asked.append(prompt)
        yield from self.pieces
        yield Usage("g000001", 4, 9, 0, 1.0, None)


def test_pages_begin_at_the_header_and_are_written_as_at_the_cursor() -> None:
    """The author's own sampling, the guard off; a text that was cut loses its last, half word."""
    engine = Told(
        [
            Piece(0, "I went home.", "stop"),
            Piece(1, "\nThe sea was gr", "length"),
            Piece(2, "It", "cancelled"),
        ]
    )
    sampling = Sampling(tag_strength=1.5, guard=False)
    writer = _Writer(engine, sampling, 30, 1.5, 4)  # type: ignore[arg-type]
    one = Wanted("dream", ((("dream", "sea"), "2019"),), 240, 60, 1.0)
    assert writer.batch(one, 60.0)[:3] == ["I went home.", "The sea was", ""]
    [asked] = engine.asked
    assert (asked.tags, asked.date, asked.text) == (("dream", "sea"), "2019", "")
    assert asked.sampling is sampling and asked.n == 9 and asked.max_tokens == 50
    assert writer.tokens == 9
    writer.batch(one, 60.0)
    assert engine.asked[1].seed != asked.seed


def test_a_batch_under_way_when_time_is_up_is_cut(tiny_llama: Path, tmp_path: Path) -> None:
    engine = Engine(Mirror(device="cpu", dtype="float32", threads=1))
    engine.load(tiny_llama)
    writer = _Writer(engine, Sampling(guard=False), 100, 1.5, 1)
    one = Wanted("dream", ((("dream",), "2019"),), 2_000, 60, 1.0)
    writer.write([one], 0.3, 0.3, lambda _: None)
    assert 0 < one.written < one.words and writer.seconds < 5


def test_a_batch_that_had_no_time_to_write_says_nothing_of_its_pages() -> None:
    class Slow:
        def generate(self, prompt: Prompt, cancelled: Callable[[], bool]) -> Iterator[Piece]:
            while not cancelled():  # the time is spent before the first piece
                time.sleep(0.01)
            yield from ()

    writer = _Writer(Slow(), Sampling(), 20, 1.5, 1)  # type: ignore[arg-type]
    one = Wanted("dream", ((("dream",), "2019"),), 240, 60, 1.0)
    writer.write([one], 0.1, 0.1, lambda _: None)
    assert (one.written, one.words, one.least) == (0, 240, 60)


def test_the_job_survives_its_file(tiny_llama: Path, tmp_path: Path) -> None:
    from vaultgpt.files import write_json
    from vaultgpt.report.job import _read_voice_job

    job = make_job(tiny_llama, tmp_path)
    fields: dict[str, Any] = asdict(job)
    write_json(tmp_path / "job.json", fields)
    assert _read_voice_job(tmp_path / "job.json") == job
