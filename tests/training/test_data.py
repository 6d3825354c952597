"""Streams, mixtures, the validation split, choices by size, segments and copying figures."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

from tests import tiny
from tests.training.conftest import item
from vaultgpt.corpus.documents import Block
from vaultgpt.settings import Training
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.choose import (
    Recipe,
    _choose_rank,
    _choose_rate,
    choose_recipe,
    passes,
    rate_at,
)
from vaultgpt.training.copying import MIN_P, TEMPERATURE, TOP_P, WordRuns, _Draw, _sample, repeated
from vaultgpt.training.evaluate import (
    as_scores,
    bits_per_byte,
    by_entry,
    by_group,
    own_parts,
    score,
    segments,
    spread,
)
from vaultgpt.training.loss import Batch, each_nats
from vaultgpt.training.round import Item
from vaultgpt.training.streams import (
    SHORT_TOKENS,
    Mixture,
    Stream,
    read_general,
    split_validation,
)


def stream(base: BaseModel, items: list[Item], name: str = "new", packs: bool = True) -> Stream:
    return Stream(items, base.encoder, block_tokens=128, packs=packs, seed=4, name=name)


def texts(base: BaseModel, blocks: list[Block]) -> list[str]:
    return [
        base.encoder.tokenizer.decode(b.token_ids.tolist(), skip_special_tokens=False)
        for b in blocks
    ]


def test_every_epoch_draws_other_headers_and_the_seed_repeats_them(base: BaseModel) -> None:
    items = [item(i) for i in range(8)]
    first, again = stream(base, items), stream(base, items)
    assert texts(base, first.epoch(0)) == texts(base, again.epoch(0))
    assert texts(base, first.epoch(0)) != texts(base, first.epoch(1))


def test_unpacked_streams_give_one_document_a_block(base: BaseModel) -> None:
    for block in stream(base, [item(i) for i in range(5)], packs=False).epoch(0):
        assert block.position_ids.tolist() == list(range(len(block.token_ids)))


def test_half_of_the_draws_cut_a_long_entry_into_short_parts_under_its_header(
    base: BaseModel,
) -> None:
    long = Stream(
        [item(1, words=900, tags=("dream",))],
        base.encoder,
        block_tokens=1024,
        packs=False,
        seed=4,
        name="new",
    )
    longest = [max(len(b.token_ids) for b in long.epoch(n)) for n in range(40)]
    short = [n for n, size in enumerate(longest) if size <= SHORT_TOKENS]
    assert 10 < len(short) < 30 and max(longest) > 2 * SHORT_TOKENS
    headed = [t for n in short for t in texts(base, long.epoch(n))]
    assert sum("#dream" in t for t in headed) > 0.7 * len(headed)


def test_of_a_long_changed_entry_only_the_parts_with_new_text_are_new(base: BaseModel) -> None:
    long = item(1, words=400)
    start = len(long.text) - 30
    whole = stream(base, [long]).tokens
    part = stream(base, [item(1, words=400, new_ranges=((start, len(long.text)),))])
    assert part.tokens < whole / 2
    assert long.text[-20:].strip() in texts(base, part.epoch(0))[-1]


def test_a_mixture_keeps_its_shares_and_goes_on_from_a_position(base: BaseModel) -> None:
    def mixture() -> Mixture:
        return Mixture(
            [
                (stream(base, [item(1)], "new"), 0.3),
                (stream(base, [item(i) for i in range(9)], "replay"), 0.6),
                (stream(base, [], "general"), 0.1),
            ]
        )

    one = mixture()
    blocks = [one.next() for _ in range(60)]
    new = sum(
        len(b.token_ids) for b in blocks if any(item(1).text[:40] in t for t in texts(base, [b]))
    ) / sum(len(b.token_ids) for b in blocks)
    assert 0.25 < new < 0.55  # a third, and the replay of the same entry
    other = mixture()
    other.skip(40)
    assert [b.token_ids.tolist() for b in blocks[40:]] == [
        other.next().token_ids.tolist() for _ in range(20)
    ]


def test_validation_is_whole_entries_only_where_the_vault_can_spare_them() -> None:
    small = [item(i) for i in range(20)]
    assert split_validation(small, 1) == (small, [])
    large = [item(i, words=200) for i in range(120)]
    train, validation = split_validation(large, 1)
    assert validation and not {i.id for i in train} & {i.id for i in validation}
    assert len(train) + len(validation) == 120
    share = sum(len(i.text) for i in validation) / sum(len(i.text) for i in large)
    assert 0.02 < share < 0.07


def test_general_text_is_read_packed_or_plain_and_may_be_absent(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"source": "s", "text": f"text {i}"}) + "\n" for i in range(5))
    (tmp_path / "g.jsonl").write_text(lines)
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("g.jsonl", "g.jsonl.gz"):
        assert read_general(str(tmp_path / name), 20) == ["text 0", "text 1", "text 2"]
    assert read_general(None) == read_general(str(tmp_path / "none")) == []


def test_choices_follow_the_sizes_of_base_and_vault() -> None:
    assert [_choose_rank(w) for w in (25_000, 300_000, 4_000_000)] == [16, 16, 32]
    assert _choose_rate(135_000_000) == pytest.approx(6e-3)
    assert _choose_rate(268_000_000) == pytest.approx(1.5e-3)
    assert _choose_rate(7_000_000) == _choose_rate(10_000) == pytest.approx(4e-3)
    assert _choose_rate(11_600_000) == pytest.approx(2.8e-3, rel=0.01)
    assert _choose_rate(135_000_000) > _choose_rate(600_000_000) > _choose_rate(2 * 10**9) > 5e-4
    settings = Training(rank=0, learning_rate=0.0, embedding=True, block_tokens=0, batch_tokens=0)

    def recipe(**more: object) -> Recipe:
        values = {
            "settings": settings,
            "words": 25_000,
            "params": 7_000_000,
            "context": 512,
            "tied": True,
            "round_tokens": 70_000.0,
            "fresh": True,
            "parent_rank": None,
        }
        return choose_recipe(**(values | more))  # type: ignore[arg-type]

    assert recipe(context=256).block_tokens == 256
    assert recipe(context=1024).block_tokens == 256
    assert recipe(context=1024, params=124_000_000).block_tokens == 1024
    assert recipe(settings=replace(settings, block_tokens=768), context=1024).block_tokens == 768
    assert recipe().embedding_rate > 0
    assert recipe(tied=False).embedding_rate == recipe(params=500_000_000).embedding_rate == 0
    assert recipe(parent_rank=16).rank == 16
    large = recipe(round_tokens=10e6)
    assert large.rate == pytest.approx(_choose_rate(7_000_000))
    assert recipe(round_tokens=10e6, gentle=2).rate == pytest.approx(large.rate / 4)
    named = replace(settings, learning_rate=1e-3)
    assert recipe(settings=named, gentle=2).rate == 1e-3, "what the author set stays"
    read: dict[str, object] = {"fresh": False, "read_tokens": 10e6}
    assert recipe(round_tokens=10e6, **read).rate == large.rate  # it goes on as it was
    small = recipe(round_tokens=40 * 875.0)  # a quarter of the batches that the rate was found at
    assert small.batch_tokens == 875 and small.rate == pytest.approx(large.rate / 4**0.75)
    night = recipe(round_tokens=2 * 875.0, **read)
    assert night.batch_tokens == 875 and night.rate == small.rate
    assert [rate_at(i, 2, night) for i in range(2)] == [1.0, 1.0]  # and without a warm-up
    defaults = Training(epochs=3.0, new_passes=1.25)  # three is what the author asked for
    assert passes(defaults, fresh=True) == 3.0
    assert passes(defaults, fresh=False) == 1.25
    assert passes(Training(epochs=0.0, new_passes=2.0), fresh=True) == 2.0
    assert recipe(round_tokens=10e6).batch_tokens == 3500
    assert recipe(round_tokens=10e6, params=124_000_000).batch_tokens == 16_384
    real = recipe(round_tokens=60 * 1950.0, params=135_000_000)
    assert real.batch_tokens == 1950 and real.rate == pytest.approx(6e-3)
    first = recipe(round_tokens=60 * 1950.0, params=135_000_000, hurried=True)
    assert first.batch_tokens == 512 and first.rate == pytest.approx(3e-3 * (512 / 1950) ** 0.75)
    later = recipe(round_tokens=2000.0, params=135_000_000, **read)
    assert later.rate == pytest.approx(3e-3 * (1000 / 1950) ** 0.75)
    assert recipe(round_tokens=2000.0, **read).batch_tokens == 1000
    much = recipe(round_tokens=20_000.0, fresh=False, read_tokens=40 * 875.0)
    assert (much.batch_tokens, much.rate) == (875, small.rate)  # as the fresh one before it
    assert recipe(round_tokens=20_000.0, fresh=False, read_tokens=4000.0).batch_tokens == 512


def test_segments_score_every_byte_once_and_no_end_token(base: BaseModel) -> None:
    long = item(1, "held_out", 700, title="A house")
    found = segments([long], base.encoder)
    assert len(found) > 2
    stripped = sum(len(long.text[s.document.span[0] : s.document.span[1]].encode()) for s in found)
    assert sum(s.bytes for s in found) == stripped
    for segment in found:
        assert segment.document.loss_mask.sum() <= 256
        ids = segment.document.token_ids[segment.document.loss_mask]
        assert base.encoder.end not in ids
        assert (segment.plain.token_ids[segment.plain.loss_mask] == ids).all()
        shown = base.encoder.tokenizer.decode(segment.plain.token_ids.tolist())
        assert "A house" in shown and "#dream" not in shown


def test_masked_text_is_not_scored(base: BaseModel) -> None:
    text = "Mine here. Not mine at all. Mine again."
    start = text.index("Not mine")
    (found,) = segments([item(1, text=text, masked=((start, start + 17),))], base.encoder)
    assert found.bytes < len(text) - 12
    assert segments([item(1, text=text, masked=((0, len(text)),))], base.encoder) == []


def test_scores_do_not_depend_on_their_neighbours_and_add_up(base: BaseModel) -> None:
    items = [item(i, "held_out", 40 + 90 * i) for i in range(5)]
    found = segments(items, base.encoder)
    together = score(base, found)
    alone = [score(base, [s])[0] for s in found]
    assert np.allclose(together, alone, rtol=1e-4)
    scores = as_scores(found, {"after": together})
    bits = bits_per_byte(scores, "after")
    assert bits == pytest.approx(sum(together) / math.log(2) / sum(s.bytes for s in found))
    assert bits_per_byte(scores, "before") is None and bits_per_byte(None, "after") is None
    tags = by_group(scores, "tags")
    assert set(tags) == {"journal", "dream"}
    assert sum(t["bytes"] for t in tags.values()) == sum(s.bytes for s in found)
    assert set(by_group(scores, "years")) == {"2010", "2011", "2012", "2013", "2014"}
    assert sum(n for _, n, _ in by_entry(found, together)) == pytest.approx(sum(together))


def test_out_of_memory_in_scoring_halves_the_rows(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaultgpt.training import evaluate

    found = segments([item(i, "held_out") for i in range(6)], base.encoder)
    expected, real = score(base, found), each_nats

    def tight(target: BaseModel, batch: Batch) -> torch.Tensor:
        if batch.ids.shape[0] > 2:
            raise MemoryError
        return real(target, batch)

    monkeypatch.setattr(evaluate, "each_nats", tight)
    assert np.allclose(score(base, found), expected, rtol=1e-4)


def test_segments_are_thinned_evenly(base: BaseModel) -> None:
    found = segments([item(i, "held_out") for i in range(10)], base.encoder)
    assert [s.entry for s in spread(found, 5)] == ["e0", "e2", "e4", "e6", "e8"]


def test_runs_that_stand_in_the_training_text_are_counted_in_any_dress() -> None:
    index = WordRuns(["One two three four five six seven eight nine ten.", "Other words entirely."])
    runs, copied, longest = index.measure(
        ["so ONE two, three four five six seven eight nine and more words here"]
    )
    assert (runs, copied, longest) == (7, 2, 9)
    assert index.measure(["ten other words"]) == (0, 0, 2)  # no run crosses two texts
    assert index.measure(["nothing known"]) == (0, 0, 0)
    assert index.measure([]) == (0, 0, 0)


def test_text_that_is_there_many_times_is_counted() -> None:
    text = tiny.prose(60, 5)
    assert repeated([text, tiny.prose(60, 6)]) < 0.05
    assert repeated([text] * 10) == pytest.approx(0.9)
    assert repeated(["too short", "too short"]) == 0.0
    masked = Item("a", "train", f"{text}\n\nmine", ((0, len(text)),), None, None, ())
    assert own_parts([masked]) == ["", "\n\nmine"]


def test_sampling_is_repeated_by_its_seed(base: BaseModel) -> None:
    found = segments([item(i, "held_out") for i in range(3)], base.encoder)
    first, tokens = _sample(base, found, 1)
    assert (first, tokens) == _sample(base, found, 1) != _sample(base, found, 2)
    assert len(first) == 48 and all(first)
    assert _sample(base, [], 1) == ([], 0)


@pytest.mark.parametrize("spread_of_logits", [0.3, 2.0])
def test_tokens_are_drawn_as_transformers_would(spread_of_logits: float) -> None:
    torch.manual_seed(3)
    logits = (torch.randn(1, 300) * spread_of_logits).expand(20_000, -1)
    none = torch.zeros(1, 1, dtype=torch.long)
    wanted = logits[:1]
    for warper in (
        TemperatureLogitsWarper(TEMPERATURE),
        TopPLogitsWarper(TOP_P),
        MinPLogitsWarper(MIN_P),
    ):
        wanted = warper(none, wanted)  # type: ignore[arg-type]
    chances = wanted.softmax(-1)[0]
    drawn = torch.bincount(_Draw()(none, logits).argmax(-1), minlength=300) / 20_000
    assert not drawn[chances == 0].any()
    assert drawn.tolist() == pytest.approx(chances.tolist(), abs=0.01)
