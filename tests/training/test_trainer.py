"""Whole rounds in this process: fresh, incremental, budgeted, resumed."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.training.conftest import MakeJob, item, some_items
from vaultgpt.corpus.habits import measure
from vaultgpt.corpus.lines import habits
from vaultgpt.errors import BaseModelError, TrainingError
from vaultgpt.training import trainer
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.checkpoint import load_last, read_checkpoint, write_checkpoint
from vaultgpt.training.choose import Recipe, choose_recipe
from vaultgpt.training.evaluate import only_new, own_parts
from vaultgpt.training.loop import Stopped
from vaultgpt.training.lora import load_adapter
from vaultgpt.training.measure import Measurer
from vaultgpt.training.round import Report
from vaultgpt.training.trainer import Trainer, _read_job, run_job
from vaultgpt.wire import ProgressEvent


def run(
    path: Path, progress: list[ProgressEvent] | None = None, stop: threading.Event | None = None
) -> Report:
    seen = [] if progress is None else progress
    return run_job(path, seen.append, stop or threading.Event())


def general(path: Path, texts: int = 4) -> str:
    path.write_text(
        "".join(
            json.dumps({"source": "s", "text": tiny.prose(60, 700 + i)}) + "\n"
            for i in range(texts)
        )
    )
    return str(path)


def test_a_fresh_round_beats_its_base_and_reports_it(make_job: MakeJob, tmp_path: Path) -> None:
    progress: list[ProgressEvent] = []
    path = make_job(
        settings={"epochs": 6.0},
        general_heldout=general(tmp_path / "g.jsonl"),
        items=[*some_items(), item(300, "score")],
    )
    report = run(path, progress)
    bits = report.bits_per_byte
    assert bits["held_out"] is not None and bits["held_out_base"] is not None
    assert bits["held_out"] < 0.95 * bits["held_out_base"]
    assert bits["held_out_before"] is None and bits["general"] is not None
    assert {"held_out", "general"} == set(report.segments)
    held = report.segments["held_out"]
    assert set(held.nats) == {"base", "after"}
    assert len(held.entry) == len(held.bytes) == len(held.nats["after"]) == len(held.tags)
    assert set(report.by_tag) == {"journal", "dream"}
    assert {"after", "base", "bytes"} == set(report.by_tag["dream"])
    assert {"share", "author_share", "longest"} <= set(report.copying)
    assert [p["id"] for p in report.prequential] == ["e300"]
    assert report.steps == len(report.losses) and report.tokens > 0
    lines = json.loads((path.parent / "out" / "lines.json").read_text())
    assert {n: kept["entries"] for n, kept in lines.items()} == {"": 12, "journal": 6, "dream": 6}
    assert "lines" not in report.learning
    assert report.learning["rank"] == 4 and report.device == "cpu"
    assert Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report
    assert {m["phase"] for m in progress} == {"load", "evaluate", "train", "measure"}
    assert all(0 <= m["fraction"] <= 1 for m in progress)
    step = next(m for m in progress if m["phase"] == "train")
    assert {"step", "steps", "loss", "tokens_per_s"} <= set(step)
    assert sorted(p.name for p in (path.parent / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "embedding_delta.safetensors",
        "last_weights.safetensors",
        "lines.json",
    ]
    assert not (path.parent / "checkpoint.safetensors").exists()


def test_an_incremental_round_starts_from_its_parent_and_scores_before_it_learns(
    make_job: MakeJob, tmp_path: Path
) -> None:
    """1. a fresh round; 2. an incremental one on new entries, with replay and general text.

    Result: `before` is the fresh round's `after`; the new entries held out of the round improve.
    """
    first = make_job("first", settings={"epochs": 6.0})
    fresh = run(first)
    folder = str(first.parent / "out")
    new = [item(40 + i, words=180) for i in range(4)]
    second = make_job(
        "second",
        kind="incremental",
        parent=folder,
        parent_id="g000001",
        compare={"before": folder, "fresh": folder},
        general_replay=general(tmp_path / "g.jsonl"),
        items=[
            *new,
            *(replace(i, role="replay") for i in some_items(12, 0)),
            *some_items(0, 4),
            item(60, "new_held_out"),
        ],
    )
    report = run(second)
    assert report.bits_per_byte["held_out_before"] == pytest.approx(
        fresh.bits_per_byte["held_out"], rel=1e-4
    )
    held = report.segments["held_out"]
    assert held.nats["before"] == held.nats["fresh"]
    assert report.steps == 7  # of 512 tokens
    assert report.bits_per_byte["new_notes"] is not None
    assert report.bits_per_byte["new_notes_before"] is not None
    assert report.bits_per_byte["new_notes"] < report.bits_per_byte["new_notes_before"]
    assert [p["id"] for p in report.prequential] == [i.id for i in new]
    assert all(p["nats"] < p["base_nats"] for p in report.prequential)
    told = report.new_text
    assert 0.8 < told["word_nats"] / told["held_out_word_nats"] < 1.25 and told["repeated"] < 0.3
    assert fresh.new_text == {}
    assert report.losses[0] < fresh.losses[0]
    assert fresh.last_weights == {}
    assert report.last_weights["nats"] < report.last_weights["base_nats"]
    read = [
        load_last(path.parent / "out", load_adapter(path.parent / "out"))
        for path in (first, second)
    ]
    assert read[0] and read[1] and read[1].tokens == read[0].tokens + report.tokens


@pytest.mark.parametrize("kind", ["fresh", "incremental"])
def test_a_script_of_held_out_pages_alone_is_the_authors_too(make_job: MakeJob, kind: str) -> None:
    """Its letters would be barred else, though the author writes them; nothing else is counted."""
    learned, held = item(0), item(1, "held_out", text="Дождь шёл весь день.")
    found = Trainer(
        make_job(items=[learned, held], kind=kind), lambda event: None, threading.Event()
    )._lines()
    assert habits((), found) == replace(measure(learned.text), scripts=("CYRILLIC", "LATIN"))


def test_saying_again_what_the_mirror_wrote_is_no_copying(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many accepted texts every round was refused (twenty rounds of self-feeding)."""
    asked: list[list[str]] = []

    def spy(
        base: Any, prompts: Any, training: Any, held_out: Any, seed: int, **_: Any
    ) -> dict[str, float]:
        asked.append(list(training))
        return {"share": 0.0, "author_share": 0.0, "longest": 0.0}

    monkeypatch.setattr("vaultgpt.training.measure.copying", spy)
    one = item(1)
    accepted = "I am a woman. I am a woman. I am a woman."
    text = f"{one.text}\n\n{accepted}"
    masked = replace(one, text=text, masked=((len(one.text), len(text)),))
    run(make_job(items=[masked, *some_items(4, 2)], settings={"epochs": 1.0}))
    assert one.text in asked[0] and not any(accepted in part for part in asked[0])


def test_an_unpackable_base_is_trained_unpacked(make_job: MakeJob, tmp_path: Path) -> None:
    """Mamba: recurrent, so one document a row."""
    folder = tiny.tiny_model(tmp_path / "mamba", "mamba")
    report = run(
        make_job(
            base=str(folder),
            items=some_items(6, 2),
            settings={"epochs": 3.0, "learning_rate": 2e-2},
        )
    )
    assert report.learning["packed"] is False
    assert any("can't be packed" in note for note in report.notes)
    bits = report.bits_per_byte
    assert bits["held_out"] is not None and bits["held_out_base"] is not None
    assert bits["held_out"] < bits["held_out_base"]


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "qwen3", "gemma"])
def test_every_family_learns(family: str, make_job: MakeJob, tmp_path: Path) -> None:
    folder = tiny.tiny_model(tmp_path / family, family)
    report = run(make_job(base=str(folder), settings={"epochs": 3.0, "dtype": "bfloat16"}))
    bits = report.bits_per_byte
    assert bits["held_out"] is not None and bits["held_out_base"] is not None
    assert report.learning["packed"] is True
    assert bits["held_out"] < bits["held_out_base"]
    assert (report.learning["embedding_rate"] > 0) == (family != "gpt_neox")


def test_a_round_of_three_nights_learns_what_one_of_a_single_night_does(
    make_job: MakeJob,
) -> None:
    """1. a whole run; 2. the same job stopped at step 4; 3. started again and stopped at step 7;
    4. started again.

    Result: the base is not scored twice; losses, weights, those that the next round goes on from,
    and every figure that the gate judges by are the same to the last bit.
    """
    settings = {"epochs": 1.5, "batch_tokens": 2048}
    long = [item(i, words=290) for i in range(40)]  # enough to set some aside and validate on
    items = [*long, *some_items(0, 4), item(300, "score")]
    alone = make_job("whole", settings=settings, items=items)
    whole = run(alone)
    path = make_job("cut", settings=settings, items=items)
    for night in (4, 7):
        stopped_at(path, night)
        assert (path.parent / "checkpoint.safetensors").exists()
    again: list[ProgressEvent] = []
    report = run(path, again)
    phases = [m["phase"] for m in again]
    assert "evaluate" not in phases[: phases.index("train")]
    assert next(m for m in again if m["phase"] == "train")["step"] == 8
    assert report.losses == whole.losses and report.learning["validation"]
    for name in ("adapter_model.safetensors", "last_weights.safetensors"):
        one, other = (load_file(p.parent / "out" / name) for p in (alone, path))
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items()), name
    assert report.segments == whole.segments and report.prequential == whole.prequential
    assert report.bits_per_byte == whole.bits_per_byte


def other_recipe(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """As an upgrade has it: rounds of today take another one."""

    def chosen(*given: Any, **asked: Any) -> Recipe:
        return replace(choose_recipe(*given, **asked), **changes)

    monkeypatch.setattr(trainer, "choose_recipe", chosen)


def told(progress: list[ProgressEvent]) -> list[str]:
    """The sentences."""
    return [m["text"] for m in progress if m["event"] == "say"]


def steps_of(progress: list[ProgressEvent]) -> list[int]:
    return [m["step"] for m in progress if m.get("phase") == "train"]


def test_a_round_that_goes_on_after_an_upgrade_keeps_the_recipe_that_it_was_begun_by(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A round is stopped at step 4. 2. vaultgpt is upgraded: rounds learn at twice the rate, in
    smaller batches and once more over the text. 3. It goes on. 4. Another one begins.

    Result: the third is said in a sentence and loses and learns as if nothing had been; the fourth
    learns by the new recipe.
    """
    items = [*(item(i, words=290) for i in range(20)), *some_items(0, 4)]
    settings = {"epochs": 1.5, "batch_tokens": 1024}
    whole = run(make_job("whole", settings=settings, items=items))
    path = make_job("cut", settings=settings, items=items)
    stopped_at(path, 4)
    other_recipe(monkeypatch, rate=8e-3, batch_tokens=512)
    monkeypatch.setattr(trainer, "passes", lambda *_, **__: 2.5)
    again: list[ProgressEvent] = []
    report = run(path, again)
    assert told(again) == [
        "This round was begun by the recipe of another vaultgpt, and goes on by that."
    ]
    assert told(again)[0] in report.notes
    assert report.losses == whole.losses and steps_of(again)[0] == 5
    assert report.learning["rate"] == whole.learning["rate"]
    assert report.bits_per_byte == whole.bits_per_byte
    said: list[ProgressEvent] = []
    anew = run(make_job("anew", settings=settings, items=items), said)
    assert not told(said) and anew.learning["rate"] == 8e-3
    assert anew.steps > report.steps


@pytest.mark.parametrize("other", ["nothing", "steps", "rank"])
def test_a_checkpoint_that_names_no_recipe_goes_on_where_it_fits(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """1. A round was stopped by a vaultgpt that wrote no recipe down. 2. This one learns as that
    did, in more steps, or other weights. Result: it goes on, or begins anew and says so.
    """
    whole = run(make_job("whole", settings={"epochs": 4.0}))
    path = make_job("cut", settings={"epochs": 4.0})
    stopped_at(path, 3)
    found = read_checkpoint(path.parent, digest := hashlib.sha256(path.read_bytes()).hexdigest())
    assert found is not None
    write_checkpoint(path.parent, digest, replace(found[0], recipe={}), found[1])
    if other == "steps":
        other_recipe(monkeypatch, batch_tokens=256)
    elif other == "rank":
        other_recipe(monkeypatch, rank=2)
    again: list[ProgressEvent] = []
    report = run(path, again)
    if other == "nothing":
        assert report.losses == whole.losses and not told(again) and steps_of(again)[0] == 4
        return
    assert steps_of(again)[0] == 1 and "began anew" in " ".join(report.notes).replace(
        "begins", "began"
    )
    assert (other == "rank") != bool(told(again))


def stopped_at(path: Path, step: int) -> None:
    """The job learned up to this step, as a night ends in its middle."""
    stop = threading.Event()

    def until(message: ProgressEvent) -> None:
        if message["phase"] == "train" and message["step"] == step:
            stop.set()

    with pytest.raises(Stopped):
        run_job(path, until, stop)


def test_a_report_counts_what_evaluations_read(make_job: MakeJob) -> None:
    """1. a round without held-out text; 2. the same with some; 3. that one stopped and resumed.

    Result: the held-out text counts once for the base and once for what was trained; a resumed
    round counts what it scored before it was stopped.
    """
    least = run(make_job("least", items=some_items(12, 0)))
    path = make_job("more")
    report = run(path)
    sampled = report.copying["tokens"]
    assert least.scored_tokens - least.copying["tokens"] == 0  # no general text either
    segments = report.segments["held_out"]
    assert report.scored_tokens - sampled > 2 * sum(segments.bytes) / 16
    stop = threading.Event()
    cut = make_job("cut")
    with pytest.raises(Stopped):
        run_job(cut, lambda m: stop.set() if m["phase"] == "train" else None, stop)
    assert run(cut).scored_tokens == report.scored_tokens


def test_what_an_earlier_round_scored_is_not_scored_again(make_job: MakeJob) -> None:
    """1. a first round; 2. a round after it; 3. the same told of the first one's figures; 4. told
    of them, with one held-out entry edited since.

    Result: 3 reads fewer tokens and says what 2 says; 4 scores the edited entry anew.
    """
    first = make_job("first")
    known = {k: asdict(v) for k, v in run(first).segments.items()}
    after = {
        "kind": "incremental",
        "parent": str(first.parent / "out"),
        "parent_id": "g000001",
        "compare": {k: str(first.parent / "out") for k in ("before", "fresh")},
    }
    told = {"known": {"before": known, "fresh": known}}
    anew, reused = run(make_job("anew", **after)), run(make_job("reused", **after, **told))
    assert reused.scored_tokens < anew.scored_tokens
    for name, figure in anew.bits_per_byte.items():
        assert reused.bits_per_byte[name] == (figure and pytest.approx(figure, rel=1e-5)), name
    items = some_items()
    edited = [
        replace(i, text=i.text + " And then it rained.") if i.id == "e100" else i for i in items
    ]
    again = run(make_job("edited", items=edited, **after, **told))
    assert reused.scored_tokens < again.scored_tokens < anew.scored_tokens
    assert again.bits_per_byte["held_out_before"] != reused.bits_per_byte["held_out_before"]


def test_a_small_round_is_judged_on_a_part_and_carries_the_rest_on(make_job: MakeJob) -> None:
    """1. a first round; 2. one on two new entries, with 40 held-out segments; 3. one on top of it;
    4. one as large as the held-out text.

    Result: 2 scores 10 of them, and the rest goes as they go; 3 takes the second's figures and says
    so; 4 scores all of them anew under the second's generation where they were carried on.
    """

    def made(name: str, new: list[int], before: str, known: dict[str, Any]) -> Report:
        folders = {
            "before": str(paths[before].parent / "out"),
            "fresh": str(paths["first"].parent / "out"),
        }
        paths[name] = make_job(
            name,
            items=[*(item(i, words=60) for i in new), *some_items(0, 40)],
            kind="incremental",
            parent=folders["before"],
            parent_id="g000001",
            compare=folders,
            known=known,
        )
        return run(paths[name])

    paths = {"first": make_job("first", items=some_items(12, 40))}
    first = run(paths["first"])
    whole = {k: asdict(v) for k, v in first.segments.items()}
    assert first.segments["held_out"].carried == []
    count = len(first.segments["held_out"].keys)
    assert count == 40
    second = made("second", [40, 41], "first", {"before": whole, "fresh": whole})
    held = second.segments["held_out"]
    assert len(held.measured().keys) == 10 and len(held.carried) == count - 10
    judged = held.measured()
    assert set(judged.keys) == set(sorted(held.keys)[:10])  # which hold both tags
    part = held.measured().nats
    change = sum(part["after"]) / sum(part["before"])
    for at in held.carried:
        assert held.nats["after"][at] == pytest.approx(held.nats["before"][at] * change)
    before = second.bits_per_byte["held_out_before"]
    assert before is not None
    assert second.bits_per_byte["held_out"] == pytest.approx(before * change)
    told = {"before": {k: asdict(v) for k, v in second.segments.items()}, "fresh": whole}
    third = made("third", [42, 43], "second", told).segments["held_out"]
    assert third.nats["before"] == held.nats["after"] and third.carried == held.carried
    large = made("large", list(range(44, 84)), "second", told).segments["held_out"]
    assert large.carried == []
    alone = made("alone", list(range(44, 84)), "second", {}).segments["held_out"]
    assert large.nats["before"] == pytest.approx(alone.nats["before"], rel=1e-4)
    assert large.nats["fresh"] == pytest.approx(alone.nats["fresh"], rel=1e-4)


def test_only_what_is_new_in_an_entry_is_foretold(make_job: MakeJob) -> None:
    """1. a first round; 2. one on an entry whose second paragraph alone is new.

    Result: that paragraph's bytes are foretold, and not the one that was learned before; an entry
    that is new as a whole is foretold as a whole.
    """
    first = make_job("first")
    run(first)
    folder = str(first.parent / "out")
    old, new = "We rowed to the island.", "Nobody had fed the swans."
    grown = item(50, text=f"{old}\n\n{new}", new_ranges=((len(old) + 2, len(old) + 2 + len(new)),))
    report = run(
        make_job(
            "second",
            items=[grown, item(51), *some_items(0, 4)],
            kind="incremental",
            parent=folder,
            parent_id="g000001",
            compare={"before": folder},
        )
    )
    sizes = {p["id"]: p["bytes"] for p in report.prequential}
    assert len(new) - 1 <= sizes["e50"] <= len(new) + 1
    assert sizes["e51"] == len(item(51).text)
    assert only_new(item(51)) == item(51)
    assert own_parts([only_new(grown)])[1] == new


def test_every_first_tag_is_judged(make_job: MakeJob, base: BaseModel) -> None:
    """One poem among forty held-out entries, each of them in turn: it is always scored."""

    def measurer(name: str, poem: int, known: dict[str, Any]) -> Measurer:
        held = [
            item(100 + i, "held_out", tags=("poetry",)) if i == poem else item(100 + i, "held_out")
            for i in range(40)
        ]
        path = make_job(name, items=[item(1), *held], kind="incremental", known=known)
        return Measurer(
            _read_job(path), base, path.parent, "", threading.Event(), lambda *a, **k: None
        )

    ranks = []
    for poem in range(0, 40, 4):
        keys = measurer(f"ask-{poem}", poem, {}).keys["held_out"]
        ones = [1.0] * len(keys)
        told = {"before": {"held_out": {"keys": keys, "nats": {"after": ones, "base": ones}}}}
        judged = measurer(f"told-{poem}", poem, told).judged["held_out"]
        assert sum(judged) == 10 and judged[poem]
        ranks.append(sorted(keys).index(keys[poem]))
    assert max(ranks) > 9  # the lowest hashes alone would have left one out


def test_an_older_report_without_that_count_can_be_read(make_job: MakeJob) -> None:
    value = run(make_job()).to_json()
    del value["scored_tokens"]
    assert Report.from_json(value).scored_tokens == 0


def test_a_budget_is_kept(make_job: MakeJob) -> None:
    began = time.monotonic()
    report = run(make_job(settings={"epochs": 5000.0}, budget_s=9.0))
    assert time.monotonic() - began < 12.0
    assert 0 < report.steps < report.learning["planned_steps"] + 1 < 5000


@pytest.mark.parametrize(("small", "segments"), [(0, 12), (50_000_000, 40)])
def test_a_first_round_on_a_large_base_scores_less_plain_english(
    small: int, segments: int, make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultgpt.training.measure.SMALL_BASE", small)
    texts = general(tmp_path / "general.jsonl", 45)
    report = run(make_job(settings={"epochs": 0.1}, budget_s=60.0, general_heldout=texts))
    assert len(report.segments["general"].entry) == segments


def test_a_round_without_text_and_a_damaged_job_are_one_sentence(
    make_job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="no text to learn"):
        run(make_job(items=[item(1, text="only a quote", masked=((0, 12),))]))
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(TrainingError, match="job file"):
        run(tmp_path / "broken.json")
    with pytest.raises(BaseModelError):
        run(make_job("none", base=str(tmp_path / "nowhere")))
