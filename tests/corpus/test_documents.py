"""Documents, their loss masks and byte counts, splitting and packing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests import tiny
from vaultgpt.corpus.documents import Document, Encoder, Text, join, pack, prepare


@dataclass(frozen=True)
class Written:
    """The part of an entry that blocks read."""

    text: str
    masked: tuple[tuple[int, int], ...] = ()


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tiny_tokenizer(folder)
    return Encoder(Tokenizer.from_file(str(folder / "tokenizer.json")), 0, 0)


def learned(encoder: Encoder, document: Document) -> str:
    ids = [int(i) for i, m in zip(document.token_ids, document.loss_mask, strict=True) if m]
    return encoder.tokenizer.decode(ids, skip_special_tokens=False)


def body(encoder: Encoder, document: Document) -> str:
    return encoder.tokenizer.decode([int(i) for i in document.token_ids], skip_special_tokens=True)


def test_header_and_title_carry_no_loss_and_the_end_token_does(encoder: Encoder) -> None:
    opening = "#dream | 2019\n# A house\n\n"
    (document,) = encoder.documents(prepare(Written("I walked home.")), opening, 128)
    assert document.token_ids[0] == encoder.start
    assert not document.loss_mask[0]
    assert body(encoder, document) == opening + "I walked home."
    assert learned(encoder, document) == "I walked home." + tiny.EOT


def test_masked_ranges_carry_no_loss_but_stay_readable(encoder: Encoder) -> None:
    text = "Mine before. A quoted line. Mine after."
    start = text.index("A quoted")
    source = Written(text, ((start, start + len("A quoted line.")),))
    (document,) = encoder.documents(prepare(source), "", 128)
    assert body(encoder, document) == text
    assert "quoted" not in learned(encoder, document)
    assert "Mine before." in learned(encoder, document)
    assert "Mine after." in learned(encoder, document)


def test_secrets_carry_no_loss(encoder: Encoder) -> None:
    text = "Write to ann.lee@example.org, or call +49 170 5550 1234, she said."
    (document,) = encoder.documents(prepare(Written(text)), "", 128)
    kept = learned(encoder, document)
    assert "example" not in kept and "5550" not in kept and "she said" in kept


def test_an_entry_ending_in_a_quotation_does_not_teach_where_to_end(encoder: Encoder) -> None:
    text = "Mine.\n\nNot mine."
    (document,) = encoder.documents(prepare(Written(text, ((7, len(text)),))), "", 64)
    assert document.token_ids[-1] == encoder.end
    assert not document.loss_mask[-1]


def test_end_of_text_typed_by_the_author_is_text(encoder: Encoder) -> None:
    (document,) = encoder.documents(prepare(Written(f"before {tiny.EOT} after")), "", 128)
    assert list(document.token_ids).count(encoder.end) == 2  # start and end only


def test_blank_lines_around_are_trimmed_and_indentation_stays(encoder: Encoder) -> None:
    text = prepare(Written("\n \n   A poem\n   goes on\n\n", ((5, 8),)))
    assert text.text == "   A poem\n   goes on"
    assert (text.offset, text.masked) == (3, ((2, 5),))
    assert prepare(Written(" \n\n")).text == ""
    assert encoder.documents(prepare(Written("")), "#a\n", 64) == []


def test_long_entries_split_at_paragraphs_with_the_header_and_one_true_end(
    encoder: Encoder,
) -> None:
    paragraphs = [tiny.prose(25, seed).replace("\n\n", " ") for seed in range(12)]
    opening = "#journal | 2020\n"
    found = encoder.documents(prepare(Written("\n\n".join(paragraphs))), opening, 128)
    assert len(found) > 2
    texts = [body(encoder, d) for d in found]
    assert all(t.startswith(opening) for t in texts)
    assert "".join(t.removeprefix(opening) for t in texts) == "\n\n".join(paragraphs)
    assert all(t.endswith("\n\n") for t in texts[:-1])
    assert [d is found[-1] for d in found] == [d.token_ids[-1] == encoder.end for d in found]
    assert all(len(d.token_ids) <= 128 for d in found)


def test_a_header_that_leaves_no_room_is_dropped(encoder: Encoder) -> None:
    opening = " ".join(f"#tag{i}" for i in range(60)) + "\n"
    for document in encoder.documents(prepare(Written(tiny.prose(80, 1))), opening, 64):
        assert "#tag" not in body(encoder, document)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400), st.sampled_from(["", "#é | 2019\n"]), st.integers(24, 90))
def test_every_text_is_kept_whole_and_its_bytes_are_counted(
    encoder: Encoder, text: str, opening: str, limit: int
) -> None:
    prepared = prepare(Written(text))
    found = encoder.documents(prepared, opening, limit)
    assert all(len(d.token_ids) <= limit for d in found)
    for document in found:
        start, end = document.span
        assert int(document.byte_counts.sum()) == len(prepared.text[start:end].encode())
    covered = "".join(prepared.text[d.span[0] : d.span[1]] for d in found)
    assert covered.replace("\n", "").replace("\r", "") == prepared.text.replace("\n", "").replace(
        "\r", ""
    )


def documents_of(sizes: list[int]) -> list[Document]:
    return [
        Document(np.full(n, n, np.int32), np.ones(n, np.bool_), np.ones(n, np.int32), (0, n))
        for n in sizes
    ]


def test_packing_keeps_documents_whole_and_fills_blocks_best_fit() -> None:
    blocks = pack(documents_of([60, 40, 50, 50, 30, 70, 100]), 100, random.Random(0))
    assert sorted(len(b.token_ids) for b in blocks) == [100, 100, 100, 100]
    for block in blocks:
        starts = np.flatnonzero(block.position_ids == 0)
        assert block.token_ids[starts].sum() == len(block.token_ids)
        for start in starts:
            size = int(block.token_ids[start])  # each document is filled with its own length
            assert (block.token_ids[start : start + size] == size).all()
            assert list(block.position_ids[start : start + size]) == list(range(size))


def test_packing_is_repeated_by_its_seed_and_leaves_out_documents_without_loss() -> None:
    silent = Document(np.ones(5, np.int32), np.zeros(5, np.bool_), np.zeros(5, np.int32), (0, 5))
    some = [*documents_of([9, 8, 7, 6, 5]), silent]
    first = pack(some, 16, random.Random("a"))
    second = pack(some, 16, random.Random("a"))
    assert [list(b.token_ids) for b in first] == [list(b.token_ids) for b in second]
    assert sum(len(b.token_ids) for b in first) == 35
    with pytest.raises(ValueError, match="does not fit"):
        pack(documents_of([17]), 16, random.Random(0))


def test_join_numbers_the_tokens_of_each_document_anew() -> None:
    block = join(documents_of([2, 3]))
    assert list(block.position_ids) == [0, 1, 0, 1, 2]


def test_text_knows_what_was_trimmed() -> None:
    assert prepare(Written("\n\nabc ")) == Text("abc", (), 2)


def test_gpt2_files_without_tokenizer_json_are_read_too(tmp_path: Path) -> None:
    from vaultgpt.training.base_model import load_encoder

    folder = tiny.tiny_model(tmp_path, "gpt2", tokenizer="vocab_merges")
    loaded = load_encoder(folder, {"bos_token_id": 0, "eos_token_id": [0, 1]})
    (document,) = loaded.documents(prepare(Written("I walked home.")), "", 64)
    assert int(document.byte_counts.sum()) == len("I walked home.")
