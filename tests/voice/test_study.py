"""All figures of a tiny random generation, in this process, on a vault of two tags."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.voice.making import make_adapter, make_job
from vaultgpt.corpus.lines import measure
from vaultgpt.training.base import load_base
from vaultgpt.training.copying import WordRuns
from vaultgpt.training.device import Device
from vaultgpt.training.loop import Stopped
from vaultgpt.voice import study as module
from vaultgpt.voice import style, tagged
from vaultgpt.voice.study import Study
from vaultgpt.voice.write import InLines, Kept, Wanted, Writer

CPU = Device(torch.device("cpu"), torch.float32, 1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pages are enough, so that a tiny model writes them in seconds."""
    monkeypatch.setattr(tagged, "LEAST_PIECES", 6)
    monkeypatch.setattr(tagged, "LEAST_GENERATED", 3)
    monkeypatch.setattr(tagged, "PIECE_WORDS", 30)
    monkeypatch.setattr(module, "PAGES", 8)
    monkeypatch.setattr(style, "PAGE_WORDS", (30,))
    for name in ("LEAST_OWN", "LEAST_TRAINING", "LEAST_MIRROR"):
        monkeypatch.setattr(style, name, 4)


def test_every_figure_is_made_and_no_prose_is_in_them(
    small: None, tiny_llama: Path, tmp_path: Path
) -> None:
    job = make_job(tiny_llama, make_adapter(tiny_llama, tmp_path / "g"))
    phases: list[str] = []
    found = Study(job, lambda phase, fraction: phases.append(phase), threading.Event()).run()
    assert found["style"]["percentile"] is not None and found["style"]["page_words"] == 30
    assert set(found["tags"]["tags"]) == {"journal", "dream", "rare"}
    assert found["tags"]["tags"]["rare"]["generated"] is None
    assert 0 <= found["tags"]["real"] <= 1 and 0 <= found["tags"]["generated"] <= 1
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
    found = Study(
        replace(job, write_s=3.0, most_write_s=3.0), lambda *_: None, threading.Event()
    ).run()
    assert found["style"]["percentile"] is None and found["style"]["why"]
    assert found["tags"]["generated"] is None and found["tags"]["why"]
    assert found["headers"]["wrong"] is None and found["headers"]["right"] > 0


def test_a_vault_without_held_out_pages_is_no_failure(tiny_llama: Path, tmp_path: Path) -> None:
    job = make_job(tiny_llama, make_adapter(tiny_llama, tmp_path / "g"), notes=3, held_out=0)
    found = Study(
        replace(job, write_s=1.0, most_write_s=1.0), lambda *_: None, threading.Event()
    ).run()
    assert found["headers"]["right"] is None and found["copying"]["author_share"] is None


def test_no_time_to_write_is_said_and_not_guessed(
    small: None, tiny_llama: Path, tmp_path: Path
) -> None:
    job = make_job(tiny_llama, make_adapter(tiny_llama, tmp_path / "g"))
    found = Study(
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


@pytest.mark.parametrize("settings", [(0.95, 0.98, 0.05), (1.0, 0.6, 0.0), (2.0, 1.0, 0.001)])
def test_rows_keep_the_tokens_that_the_mirror_would_draw_from(
    settings: tuple[float, float, float],
) -> None:
    temperature, top_p, min_p = settings
    scores = 3.0 * torch.randn((4, 700), generator=torch.Generator().manual_seed(5))
    found = Kept({"temperature": temperature, "top_p": top_p, "min_p": min_p})(scores, scores)
    for row, kept in zip(scores.double() / temperature, found, strict=True):
        chances = (row - row.max()).exp()
        chances[chances < min_p] = 0.0
        order = chances.argsort(descending=True)
        sums = chances[order].cumsum(0)
        count = int((sums < top_p * sums[-1]).sum()) + 1
        wanted = {int(i) for i in order[:count] if chances[i] > 0}
        assert wanted == set(kept.isfinite().nonzero().flatten().tolist())
        place = next(iter(wanted))
        assert float(kept[place]) == pytest.approx(float(row[place]), abs=1e-4)


def test_pages_under_a_tag_of_verse_are_written_in_lines_as_the_mirror_writes_them() -> None:
    """Two rows, one two tokens into its line and one at the start of the next."""
    written = ["so ", "is the cat", ",\n", "\n\n", "\n"]
    lines = measure("so is the cat,\nI say\nso is the cat,\nand so am I\n")
    bend = InLines(lines, written, (2, 3))
    scores = torch.tensor([[3.0, 3.0, 0.0, -1.0, 0.0]]).repeat(2, 1)
    prompt = torch.tensor([[0, 0, 0], [0, 0, 0]])
    assert torch.equal(bend(prompt, scores), scores)  # nothing is written yet
    bend(torch.cat([prompt, torch.tensor([[0], [1]])], 1), scores)
    found = bend(torch.cat([prompt, torch.tensor([[0, 1], [1, 2]])], 1), scores)
    assert bend.columns == [13, 0]
    assert found[0, 2] > scores[0, 2] + 1 and torch.equal(found[1], scores[1])


@pytest.mark.parametrize("label", ["dream", ""])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba"])
def test_a_tag_is_as_strong_in_the_report_as_at_the_cursor(
    tmp_path: Path, family: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """u + 1.5 (c - u) at every token, u without the header; a date alone is not made stronger."""
    base = load_base(tiny.tiny_model(tmp_path, family), CPU)
    sampling = {"temperature": 0.0, "top_p": 1.0, "min_p": 0.0, "tag_strength": 1.5}
    header = "#dream | 2019\n" if label else "| 2019\n"
    rows: list[list[int]] = []
    monkeypatch.setattr(Writer, "_text", lambda self, row, end: rows.append(row) or "")
    Writer(base, sampling, 8, 1.5, 1).batch(Wanted(label, (header,), 8, 1, 1.0), 60.0)
    start = [base.encoder.start]
    top = [*start, *base.encoder.tokenizer.encode(header, add_special_tokens=False).ids]
    written: list[int] = []
    with torch.no_grad():
        for _ in rows[0]:
            c, u = (base.logits(torch.tensor([ids + written]), None)[0, -1] for ids in (top, start))
            written.append(int((u + 1.5 * (c - u) if label else c).argmax()))
    assert len(written) >= 12 and rows[0] == written


def test_the_job_survives_its_file(tiny_llama: Path, tmp_path: Path) -> None:
    from vaultgpt.files import write_json
    from vaultgpt.voice.job import read_voice_job

    job = make_job(tiny_llama, tmp_path)
    fields: dict[str, Any] = asdict(job)
    write_json(tmp_path / "job.json", fields)
    assert read_voice_job(tmp_path / "job.json") == job
