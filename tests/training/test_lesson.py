"""A lesson and what was learned cross to another process and back as the same bytes would."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.conftest import MakeJob, item, some_items
from tests.training.test_trainer import run
from vaultgpt.errors import TrainingError
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.learning import (
    Learned,
    Lesson,
    Site,
    _pack_learned,
    learn,
    pack_lesson,
    unpack_learned,
    unpack_lesson,
)
from vaultgpt.training.sealing import new_key, seal, unseal
from vaultgpt.training.trainer import Trainer


def lesson_of(job: Path) -> Lesson:
    trainer = Trainer(job, lambda _: None, threading.Event())
    return trainer._lesson(trainer._measured())


def learned(base: BaseModel, lesson: Lesson) -> Learned:
    return learn(base, lesson, Site(Path()), None, "", threading.Event(), lambda _: None)


def test_a_lesson_that_was_packed_teaches_the_same(make_job: MakeJob, base: BaseModel) -> None:
    """A small round, which goes on from a voice's weights and moments, and a fresh one."""
    first = make_job("first", settings={"epochs": 2.0})
    run(first)
    parent = str(first.parent / "out")
    news = [item(40 + i, words=180) for i in range(3)]
    small = make_job("small", kind="incremental", parent=parent, items=[*news, *some_items(0)])
    for job in (first, small):
        plain = learned(base, lesson_of(job))
        packed = learned(base, unpack_lesson(pack_lesson(lesson_of(job))))
        assert packed.progress.losses == plain.progress.losses
        back = unpack_learned(_pack_learned(packed))
        for name, tensor in plain.adapter.tensors.items():
            assert torch.equal(back.adapter.tensors[name], tensor)
        assert plain.adapter.embedding is not None and back.adapter.embedding is not None
        assert torch.equal(back.adapter.embedding, plain.adapter.embedding)
        assert plain.last is not None and back.last is not None
        assert back.last.moments.keys() == plain.last.moments.keys()
        assert replace(back.progress, seconds=0.0) == replace(packed.progress, seconds=0.0)


def test_a_lesson_holds_no_word_name_tag_path_or_id(make_job: MakeJob) -> None:
    secret = "Marzipanorchard"
    entry = item(1, words=400, title=f"{secret} title", tags=(f"{secret}-tag",))
    entry = replace(entry, id=f"{secret}-id", text=f"{secret} {entry.text}")
    job = make_job(items=[entry, *some_items()])
    import zlib

    opened = zlib.decompress(pack_lesson(lesson_of(job)))
    for word in (secret, "kitchen", "journal", "held_out", str(job.parent)):
        assert word.encode() not in opened and word.encode("utf-16-le") not in opened


def test_what_was_changed_or_is_of_another_key_is_refused(make_job: MakeJob) -> None:
    data, key = pack_lesson(lesson_of(make_job())), new_key()
    sealed = seal(data, key)
    assert unseal(sealed, key) == data
    other = b"B" if sealed[50:51] == b"A" else b"A"
    for bad, with_key in (
        (sealed, new_key()),
        (sealed[:-9], key),
        (sealed[:50] + other + sealed[51:], key),
        (sealed, "short"),
    ):
        with pytest.raises(TrainingError, match="can't be read"):
            unseal(bad, with_key)
    for bad in (b"", data[:-5], data[:100]):
        for unpack in (unpack_lesson, unpack_learned):
            with pytest.raises(TrainingError, match="can't be read"):
                unpack(bad)


def test_weights_that_are_no_numbers_are_refused(make_job: MakeJob, base: BaseModel) -> None:
    done = learned(base, lesson_of(make_job()))
    next(iter(done.adapter.tensors.values()))[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="can't be read"):
        unpack_learned(_pack_learned(done))
