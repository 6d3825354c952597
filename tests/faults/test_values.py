"""Names, tags, times and inodes that a database does not expect, each with its note alone."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from tests.ledger.vaults import HOUR, NOW, Vault, body
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Rules
from vaultgpt.vault.reconcile import Scan, read_vault
from vaultgpt.vault.walk import FileStamp


@pytest.fixture
def vault(tmp_path: object) -> Vault:
    made = Vault(tmp_path)  # type: ignore[arg-type]
    made.fill(3)
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_a_name_that_is_no_utf_8_is_a_note_like_any_other(vault: Vault) -> None:
    """1. A file's name is Latin-1 bytes. 2. Two scans. 3. It is forgotten, the ledger is lost.
    Result: the note is known under a path that finds it again, is not read twice, and stays
    forgotten; all other notes are there.
    """
    place = os.fsencode(vault.root) + b"/caf\xe9.md"
    with open(place, "w") as stream:
        stream.write(body("café"))
    os.utime(place, (NOW - 10 * HOUR, NOW - 10 * HOUR))
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        assert len(ledger.entries.all()) == 4
        again = read_vault(vault.root, Rules(), ledger.notes.stamps())
        assert not again.read and not again.gone
        (path,) = {e.path for e in ledger.entries.all()} - {f"note{i:03d}.md" for i in range(3)}
        ledger.forgotten.add(path, NOW)
    for file in vault.state.folder.glob("ledger.sqlite3*"):
        file.unlink()
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        assert [e.path for e in ledger.entries.all() if e.forgotten] == [path]


@pytest.mark.parametrize(
    "head",
    [
        'tags: ["dream\\ud83d"]\n',
        'title: "half \\udc00 of one"\n',
        'aliases: ["\\ud800"]\ntags: [a]\n',
    ],
)
def test_half_a_surrogate_in_front_matter_stops_nothing(vault: Vault, head: str) -> None:
    """1. A tag or title holds half a surrogate. 2. A scan. Result: every note is recorded."""
    vault.write("odd.md", f"---\n{head}---\n{body('odd')}")
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        assert len(ledger.entries.all()) == 4 and ledger.pending(NOW, 0).notes == 4
        assert dict(ledger.entries.census()[0])


def test_half_a_surrogate_in_a_heading_stops_nothing(vault: Vault) -> None:
    """1. Dated headings of a file hold half a surrogate. 2. A scan. Result: each is an entry."""
    text = "".join(f"## 2021-03-{d:02d} \ud83d\n\n{body(d, 1)}\n" for d in (1, 2))
    (vault.root / "days.md").write_bytes(text.encode("utf-8", "surrogatepass"))
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        assert len(ledger.entries.all()) >= 4


def shifted(scan: Scan, stamp: FileStamp) -> Scan:
    """The scan, its first note with another stamp: no disk here holds such a one."""
    first = replace(scan.read[0], stamp=stamp)
    stamps = {**scan.stamps, first.note.path: stamp}
    return replace(scan, read=[first, *scan.read[1:]], stamps=stamps)


@pytest.mark.parametrize(
    "stamp",
    [
        FileStamp(2**63 + 5, 10, 1),
        FileStamp(-(2**63) - 5, 10, 1),
        FileStamp(32_503_680_000 * 10**9, 10, 2**64 - 1),
        FileStamp(-1, 2**70, 2**100),
    ],
)
def test_times_and_inodes_of_any_size_come_back_as_they_were(
    vault: Vault, stamp: FileStamp
) -> None:
    """1. A file's time lies past 2262, or its inode above 2^63. 2. A scan is recorded, twice.
    Result: the stamp is known exactly, so that the note is not read for ever.
    """
    scan = shifted(read_vault(vault.root, Rules(), {}), stamp)
    with Ledger.open(vault.state) as ledger:
        for _ in range(2):
            ledger.record(scan, NOW)
            assert ledger.notes.stamps() == scan.stamps
        assert ledger.pending(NOW, 0).notes == 3


def test_twins_in_two_unicode_forms_are_two_entries(vault: Vault) -> None:
    """1. `é.md` lies in a folder in one Unicode form and in the other. 2. A scan. Result: both."""
    for name, seed in (("\u00e9.md", "one"), ("e\u0301.md", "two")):
        (vault.root / name).write_text(body(seed))
    if len(list(vault.root.iterdir())) < 5:
        pytest.skip("this disk does not tell the two forms apart")
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        assert len({e.path for e in ledger.entries.all()}) == 5
