"""The training recipe on a toy: resumed runs agree, parts reassemble, ours is transformers' Llama.

No GPU, no corpus: a few sentences and a model of two layers.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.pebble import checkpoint, pack
from scripts.pebble.clean import paragraphs, unwrap
from scripts.pebble.model import SHAPES, ChunkedLoss, Pebble, softmax_loss
from scripts.pebble.optimizer import orthogonalised
from scripts.pebble.package import to_transformers
from scripts.pebble.schedule import Schedule
from scripts.pebble.tokenizer import train_tokenizer
from scripts.pebble.train import Plan, Run
from scripts.pebble.warmstart import map_rows

SENTENCES = [
    f"On day {n} I walked to the {place} and came home {mood}.\n\nIt rained."
    for n in range(40)
    for place in ("mill", "shore", "wood")
    for mood in ("tired", "glad")
]
TOY = replace(SHAPES["toy"], vocabulary=400)
PLAN = Plan(steps=6, batch_rows=2, sequence=64, warm_up=2, compiled=False, held_out_every=100)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pebble")
    tokenizer = train_tokenizer(iter(SENTENCES), vocabulary=400)
    rows = [{"text": text, "weight": 1.5} for text in SENTENCES]
    pack.pack(iter(rows), tokenizer, folder / "tokens")
    pack.pack(iter(rows[:60]), tokenizer, folder / "heldout-tokens")
    return folder


def run(work: Path, name: str) -> Run:
    return Run(work, name, TOY, PLAN, "cpu")


def test_a_run_killed_after_3_steps_resumes_to_the_same_losses(work: Path) -> None:
    # 1. Six steps without a break. 2. Three steps, saved, and the process's memory lost.
    # 3. A fresh process resumes for three more. Result: the same six losses.
    whole = run(work, "whole")
    expected = [float(whole.one_step()) for _ in range(6)]
    first = run(work, "broken")
    losses = [float(first.one_step()) for _ in range(3)]
    first.save()
    del first
    torch.manual_seed(0)
    second = run(work, "broken")
    assert second.resume()
    assert (second.step, second.tokens_seen) == (3, 3 * 2 * 1024)
    losses += [float(second.one_step()) for _ in range(3)]
    assert losses == pytest.approx(expected, abs=1e-4)
    assert expected[-1] < expected[0]


def test_the_long_sequence_comes_last(work: Path) -> None:
    toy = run(work, "sequence")
    seen = []
    for toy.step in range(6):
        seen.append(toy.sequence())
    assert seen == [64, 64, 64, 64, 64, 128]  # the toy's context is 128


def test_checkpoint_parts_reassemble_bit_for_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(300, 50), "b": torch.arange(7.0)}
    folder = checkpoint.write(tmp_path, 5, tensors, {"step": 5}, part_bytes=10_000)
    assert len(list(folder.glob("part-*"))) > 3
    back, facts = checkpoint.read(folder)
    assert facts == {"step": 5}
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_a_damaged_part_is_refused_and_an_unfinished_write_is_not_seen(tmp_path: Path) -> None:
    folder = checkpoint.write(tmp_path, 1, {"a": torch.ones(9)}, {})
    (tmp_path / ".step-0000002.tmp").mkdir()
    (tmp_path / "step-0000003").mkdir()
    assert checkpoint.latest(tmp_path) == folder
    part = folder / "part-000"
    part.write_bytes(part.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.read(folder)


def test_token_parts_reassemble_and_rows_keep_every_document(tmp_path: Path, work: Path) -> None:
    tokens = np.random.default_rng(1).integers(0, 400, 10_000).astype(np.uint16)
    assert len(pack.write_parts(tokens, tmp_path, part_tokens=3_000)) == 4
    assert np.array_equal(pack.read_parts(tmp_path), tokens)
    packed = pack.load(work / "tokens")
    first = packed.epoch(0)
    assert first.shape[1] == 1024
    assert np.array_equal(first, packed.epoch(0))
    assert not np.array_equal(first, packed.epoch(1)[: len(first)])


def test_our_forward_pass_is_transformers_llama(work: Path) -> None:
    torch.manual_seed(3)
    ours = Pebble(TOY)
    weights = {n: t.to(torch.bfloat16).float() for n, t in ours.state_dict().items()}
    ours.load_state_dict(weights)
    theirs = to_transformers(weights, TOY).float()
    tokens = torch.randint(1, 400, (2, 33))
    with torch.no_grad():
        mine = float(ours(tokens[:, :-1], tokens[:, 1:], torch.float32))
        reference = float(theirs(input_ids=tokens, labels=tokens).loss)
    assert mine == pytest.approx(reference, abs=1e-4)


def test_the_chunked_loss_has_the_gradients_of_cross_entropy() -> None:
    torch.manual_seed(4)
    hidden = torch.randn(700, 16, requires_grad=True)  # more than one chunk
    weight = torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (700,))
    torch.nn.functional.cross_entropy(hidden @ weight.T, targets).backward()
    expected = [leaf.grad for leaf in (hidden, weight)]
    for leaf in (hidden, weight):
        leaf.grad = None
    ChunkedLoss.apply(hidden, weight, targets, softmax_loss).backward()
    for leaf, wanted in zip((hidden, weight), expected, strict=True):
        assert leaf.grad is not None and wanted is not None
        assert torch.allclose(leaf.grad, wanted, atol=1e-6)


def test_muons_update_has_singular_values_near_1() -> None:
    torch.manual_seed(5)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(3, 96, 32)).float())
    assert float(values.min()) > 0.5 and float(values.max()) < 1.5


def test_the_rate_reaches_zero_at_the_end_even_when_the_end_is_moved() -> None:
    schedule = Schedule(end=100, warm_up=10, decay_from=40)
    assert schedule.rate(4) == 0.5
    assert schedule.rate(39) == 1.0
    assert schedule.rate(70) == 0.5
    schedule.finish_at(70, 80)
    assert schedule.rate(70) == 0.5
    assert schedule.rate(75) == 0.25
    assert schedule.rate(80) == 0.0


def test_finish_at_is_obeyed_in_a_running_run_and_kept_by_its_checkpoint(work: Path) -> None:
    toy = run(work, "finish")
    (work / "finish" / "finish_at").write_text("2\n")
    toy.go(seconds=60.0)
    assert toy.step == 2
    again = run(work, "finish")
    assert again.resume()
    assert again.schedule.rate(2) == 0.0


def test_shapes_fit_the_size_limit() -> None:
    for name in ("cpu", "gpu"):
        with torch.device("meta"):
            parameters = sum(p.numel() for p in Pebble(SHAPES[name]).parameters())
        assert 2 * parameters + 600_000 <= 24_000_000  # bf16, and the tokenizer


def test_embedding_rows_move_by_the_bytes_they_stand_for() -> None:
    theirs = train_tokenizer(iter(SENTENCES), vocabulary=300)
    ours = train_tokenizer(iter(SENTENCES), vocabulary=320)
    rows = torch.randn(theirs.get_vocab_size(), 8)
    mapped, matched = map_rows(rows, theirs, ours)
    assert matched >= 290
    assert torch.equal(mapped[ours.token_to_id("a")], rows[theirs.token_to_id("a")])
    assert not mapped.isnan().any()


def test_wrapped_prose_is_joined_and_verse_is_not() -> None:
    wrapped = (
        "It was late in the year when we came at last to the house by the\n"
        "river, and nobody had lit a fire there since my father went to sea\n"
        "in the spring."
    )
    assert "\n" not in unwrap(wrapped)
    verse = "The sky is low,\n  The clouds are mean,\nA travelling flake of snow"
    assert unwrap(verse) == verse


def test_contents_and_notes_of_the_transcriber_are_cut() -> None:
    prose = "It rained all day, and I sat by the window with my book and did not read. " * 8
    text = f"CONTENTS\n\nI. One\n\nII. Two\n\n{prose}\n\n{prose}\n\nTranscriber's Note: errors."
    assert paragraphs(text) == [prose.strip(), prose.strip()] or paragraphs(text) == [prose, prose]


def test_log_and_checkpoint_facts_can_be_read_by_others(work: Path) -> None:
    toy = run(work, "facts")
    toy.one_step()
    toy.save()
    newest = checkpoint.latest(work / "facts")
    assert newest is not None
    manifest = json.loads((newest / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["facts"]["tokens_seen"] == 2048
