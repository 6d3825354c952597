"""Atomic files leave the old bytes or the new; frames survive pipes and refuse nonsense."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest

from vaultgpt.files import atomic_writer, write_atomic
from vaultgpt.wire import Piece, Prompt, Sampling, TokenChance, Usage, read_frame, write_frame


def test_a_write_that_fails_leaves_the_old_bytes_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomic(path, "old")
    with pytest.raises(RuntimeError), atomic_writer(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_frames_come_back_as_they_went() -> None:
    buffer = io.BytesIO()
    messages: list[dict[str, Any]] = [{"text": "ångström 🐦\n"}, {}, {"n": 1}]
    for message in messages:
        write_frame(buffer, message)
    buffer.seek(0)
    assert [read_frame(buffer) for _ in messages] == messages
    assert read_frame(buffer) is None


def test_a_cut_frame_is_the_end_and_a_huge_one_an_error() -> None:
    assert read_frame(io.BytesIO(struct.pack(">I", 10) + b"{}")) is None
    with pytest.raises(ValueError, match="too long"):
        read_frame(io.BytesIO(struct.pack(">I", 1 << 31)))
    with pytest.raises(ValueError, match="object"):
        read_frame(io.BytesIO(struct.pack(">I", 2) + b"[]"))


def test_a_prompt_survives_the_wire() -> None:
    prompt = Prompt(
        "I dreamt",
        tags=("dream",),
        date="2014-03",
        stop=("\n",),
        sampling=Sampling(temperature=0.5),
    )
    assert Prompt.from_json(prompt.to_json()) == prompt
    piece = Piece(0, "x", "stop", (TokenChance("x", -1.5, {"y": -2.0}),))
    assert Piece.from_answer(piece.answer(3)) == piece and piece.answer(3)["id"] == 3
    usage = Usage("base", 1, 2, 3, 4.0, None, sure=(0.5,))
    assert Usage.from_answer(usage.answer(3)) == usage
