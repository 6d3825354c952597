"""What each released version left is opened, and what a newer one left is not."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sqlite3
import zipfile
from pathlib import Path

import pytest

import vaultgpt
from tests.ledger.vaults import DAY, NOW, slight_changes
from tests.upgrades.__main__ import known
from vaultgpt import generation_folders
from vaultgpt.errors import StateError
from vaultgpt.ledger import Ledger, schema
from vaultgpt.settings import Rules, load_settings
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.doctor import check_vault
from vaultgpt.vault.reconcile import read_vault

KEPT = sorted(Path(__file__).parent.glob("*.zip"))
CHANGE = ("Each note keeps its colour.", "ALTER TABLE notes ADD COLUMN colour TEXT; SELECT 1;")


def opened(archive: Path, home: Path, tmp_path: Path) -> VaultState:
    """Its vault and state, adopted as those of a vault that was moved."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    (home / "vaults").mkdir(parents=True)
    shutil.move(tmp_path / "state", home / "vaults" / "diary-5f2c9b17")
    return create_state(tmp_path / "vault", adopt=home / "vaults" / "diary-5f2c9b17")


@pytest.fixture
def old(home: Path, tmp_path: Path) -> VaultState:
    return opened(KEPT[-1], home, tmp_path)


def test_every_version_that_the_changelog_names_left_a_state() -> None:
    log = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = set(re.findall(r"^## (\d+\.\d+\.\d+)", log, flags=re.MULTILINE))
    assert {path.stem for path in KEPT} >= versions, "run `python -m tests.upgrades`"


@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.stem)
def test_an_older_state_is_opened_and_nothing_of_it_is_lost(
    archive: Path, home: Path, tmp_path: Path
) -> None:
    """1. A state of two voices, a refused round, a forgotten note and one not learned. 2. This
    version opens it and reads the vault. Result: all is known as it was, and nothing is new.
    """
    state = opened(archive, home, tmp_path)
    settings = load_settings(state.config)
    assert settings.mirror.temperature == 0.8 and settings.rules.exclude == ("Old/*",)
    with Ledger.open(state) as ledger:
        ledger.record(read_vault(state.vault, Rules()), NOW + 6 * DAY)
        found = json.loads(json.dumps(known(ledger)))
        assert ledger.paused() is None and ledger.meta("memory_repaired") is None
        assert not ledger.guard.mend()  # its index is whole
    assert found == json.loads((tmp_path / "expected.json").read_text())
    for folder in sorted(state.generations.glob("g*")):
        assert generation_folders.condition(folder) == "sound"


@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.stem)
def test_what_an_older_ledger_keeps_of_a_paragraph_tells_its_slight_change(
    archive: Path, home: Path, tmp_path: Path
) -> None:
    """1. A word is added to each paragraph of a note that the older version recorded. Result: they
    are the texts that they were, and no new text waits.
    """
    state = opened(archive, home, tmp_path)
    note = state.vault / "new.md"
    paragraphs = note.read_text(encoding="utf-8").split("\n\n")
    with Ledger.open(state) as ledger:
        ledger.record(read_vault(state.vault, Rules()), NOW + 6 * DAY)
        before, waits = slight_changes(ledger), ledger.pending(NOW + 20 * DAY).words
        note.write_text("\n\n".join(f"changed {text}" for text in paragraphs), encoding="utf-8")
        ledger.record(read_vault(state.vault, Rules()), NOW + 7 * DAY)
        assert slight_changes(ledger) == before + len(paragraphs) == before + 3
        assert ledger.pending(NOW + 20 * DAY).words == waits


@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.stem)
def test_versions_of_one_minor_number_have_one_schema(archive: Path, tmp_path: Path) -> None:
    """So that going back from one to the other is opening the same ledger."""
    with zipfile.ZipFile(archive) as file:
        file.extract("state/ledger.sqlite3", tmp_path)
    db = sqlite3.connect(tmp_path / "state" / "ledger.sqlite3")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    assert version <= schema._newest()
    if archive.stem.rsplit(".", 1)[0] == vaultgpt.__version__.rsplit(".", 1)[0]:
        assert version == schema._newest()


def test_what_is_brought_over_is_said_and_the_older_ledger_is_kept(
    old: VaultState, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """1. A vaultgpt of a later schema opens it, twice. 2. This one opens what was kept. Result: it
    is said once, doctor says it from then on, and the kept file is the old ledger, private too.
    """
    with monkeypatch.context() as later:
        later.setattr(schema, "_CHANGES", (*schema._CHANGES, CHANGE))
        with caplog.at_level(logging.WARNING):
            Ledger.open(old).close()
            Ledger.open(old).close()
        assert [CHANGE[0] in r.getMessage() for r in caplog.records] == [True]
        assert any(CHANGE[0] in f.message for f in check_vault(old) if f.name == "ledger")
    with pytest.raises(StateError, match="newer vaultgpt"):
        Ledger.open(old)
    kept = old.ledger.with_name("ledger.sqlite3.schema-2")
    assert kept.stat().st_mode & 0o777 == 0o600
    for end in ("-wal", "-shm"):
        old.ledger.with_name(old.ledger.name + end).unlink(missing_ok=True)
    kept.replace(old.ledger)
    with Ledger.open(old) as ledger:
        assert ledger.generations.active() == "g000002" and ledger.meta("brought_over") is None


def test_a_change_that_fails_leaves_the_ledger_as_it_was(
    old: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Result: the second statement of the second change fails, and none of the three stands."""
    with monkeypatch.context() as later:
        broken = ("Never.", "ALTER TABLE rounds ADD COLUMN x TEXT; ALTER TABLE nothing ADD y;")
        later.setattr(schema, "_CHANGES", (*schema._CHANGES, CHANGE, broken))
        with pytest.raises(StateError):
            Ledger.open(old)
    assert not list(old.folder.glob("*.schema-*"))  # its room may be what was lacking
    with Ledger.open(old) as ledger:
        assert ledger.generations.active() == "g000002"
        columns = ledger._db.read("SELECT name FROM pragma_table_info('notes')")
        assert "colour" not in [row["name"] for row in columns]


def test_a_newer_ledger_is_refused_in_a_sentence_and_left_alone(old: VaultState) -> None:
    Ledger.open(old).close()
    db = sqlite3.connect(old.ledger)
    db.execute("PRAGMA user_version=99")
    db.close()
    before = old.ledger.read_bytes()
    with pytest.raises(StateError, match="newer vaultgpt") as caught:
        Ledger.open(old)
    assert "Install that version" in caught.value.mend
    assert old.ledger.read_bytes() == before
    found = next(f for f in check_vault(old) if f.name == "ledger")
    assert not found.ok and "newer vaultgpt" in found.message


def test_a_ledger_from_before_the_first_release_is_made_anew(old: VaultState) -> None:
    """1. A ledger of a schema that no release had. Result: it is set aside; what can't be read in
    the vault is known from memory.jsonl.
    """

    def known_for_good(ledger: Ledger) -> list[tuple[str, int, bool]]:
        rows = ledger.entries.all(absent=True)
        return sorted((r.id, r.held_out, r.forgotten) for r in rows if r.held_out or r.forgotten)

    with Ledger.open(old) as ledger:
        before = known_for_good(ledger)
    db = sqlite3.connect(old.ledger)
    db.execute("PRAGMA user_version=1")
    db.close()
    with Ledger.open(old) as ledger:
        assert ledger.paused() is None
        ledger.record(read_vault(old.vault, Rules()), NOW + 6 * DAY)
        assert known_for_good(ledger) == before and any(row[2] for row in before)
    assert list(old.folder.glob("ledger.sqlite3.damaged-*"))
