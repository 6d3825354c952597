"""Generations on a disk that others touch, that fails for a moment, that loses bits."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.vaults import NOW, Vault
from tests.rounds.fakes import train
from vaultgpt import files, generation_folders
from vaultgpt.errors import GenerationError
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.mend import repair
from vaultgpt.tasks.doctor import check_vault


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Two generations, the second of which writes."""
    made = Vault(tmp_path)
    made.fill(30, paragraphs=3, words=30)
    train(made)
    made.write("more.md", "More text. " + "another word of it " * 12)
    train(made)
    return made


def active(vault: Vault, times: int = 3) -> str | None:
    """What writes after so many repairs."""
    with Ledger.open(vault.state) as ledger:
        for _ in range(times):
            repair(vault.state, ledger, NOW)
        return ledger.generations.active()


def flip(path: Path, at: int) -> None:
    body = bytearray(path.read_bytes())
    body[at] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "desktop.ini", "._adapter_config.json", "notes.txt"]
)
def test_a_file_manager_s_leavings_harm_nothing(vault: Vault, name: str) -> None:
    """1. A file manager leaves its file in the folder of the active generation. 2. Three repairs.
    Result: the same generation writes, nothing is moved, doctor says that a file is not its own.
    """
    folder = vault.state.generations / "g000002"
    (folder / name).write_bytes(b"\0\0\0\1Bud1")
    assert active(vault) == "g000002" and (folder / name).exists()
    assert generation_folders.verify(folder)["id"] == "g000002"
    told = [f for f in check_vault(vault.state) if f.name == "generation g000002"]
    assert told[0].ok and "none of its own" in told[0].message


def test_foreign_weights_are_not_written_with_and_nothing_is_lost(vault: Vault) -> None:
    """1. Pickled weights are put beside the active generation's. 2. Three repairs. 3. They are
    taken out. Result: the one before writes, the folder stays, and can be made active again.
    """
    foreign = vault.state.generations / "g000002" / "adapter_model.bin"
    foreign.write_bytes(b"pickle")
    assert active(vault) == "g000001" and foreign.exists()
    foreign.unlink()
    with Ledger.open(vault.state) as ledger:
        ledger.generations.activate("g000002", NOW)
    assert active(vault) == "g000002"


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("file", ["manifest.json", "adapter_model.safetensors"])
def test_a_passing_error_of_the_disk_changes_nothing(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, code: int, file: str
) -> None:
    """1. The disk refuses a file for a moment. 2. Three repairs meanwhile, and one afterwards.
    Result: the same generation is active all along; what needs the file says to try again.
    """

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *more: Any) -> Any:
            if path.name == file and path.parent.name == "g000002":
                raise OSError(code, os.strerror(code))
            return real(path, *more)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(generation_folders, "read_json", refusing(files.read_json))
        patch.setattr(generation_folders, "sha256_file", refusing(files.sha256_file))
        assert active(vault) == "g000002"
        with pytest.raises(GenerationError, match="just now"):
            generation_folders.verify(vault.state.generations / "g000002")
    assert active(vault) == "g000002" and not generation_folders.those_set_aside(vault.state)


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_readme_is_written_anew(vault: Vault, harm: str) -> None:
    """1. A bit of the README flips, or it is gone. 2. Three repairs. Result: as published."""
    readme = vault.state.generations / "g000002" / "README.md"
    text = readme.read_bytes()
    if harm == "flip":
        flip(readme, 40)
    elif harm == "cut":
        os.truncate(readme, 10)
    else:
        readme.unlink()
    assert active(vault) == "g000002" and readme.read_bytes() == text


@pytest.mark.parametrize(
    "file", ["adapter_model.safetensors", "adapter_config.json", "manifest.json"]
)
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_what_is_damaged_is_set_aside_and_the_newest_sound_one_serves(
    vault: Vault, file: str, harm: str
) -> None:
    """1. A file of the active generation loses a bit, is cut or gone. 2. Three repairs. 3. The
    folder comes back from a backup. 4. A repair. Result: the one before writes, the damaged folder
    is kept under another name, doctor tells; then it is kept again and its number is not reused.
    """
    folder = vault.state.generations / "g000002"
    backup = {p.name: p.read_bytes() for p in folder.iterdir()}
    if harm == "flip":
        flip(folder / file, 1)
    elif harm == "cut":
        os.truncate(folder / file, 3)
    else:
        (folder / file).unlink()
    assert active(vault) == "g000001"
    (aside,) = generation_folders.those_set_aside(vault.state)
    kept = {p.name for p in aside.iterdir()}
    assert kept == set(backup) - ({file} if harm == "remove" else set())
    told = [f for f in check_vault(vault.state) if f.name == f"generation {aside.name}"]
    assert not told[0].ok and "set aside" in told[0].message
    assert generation_folders._next_id(vault.state) == "g000003"
    folder.mkdir()
    for name, body in backup.items():
        (folder / name).write_bytes(body)
    active(vault)
    with Ledger.open(vault.state) as ledger:
        assert [g.id for g in ledger.generations.all()] == ["g000001", "g000002"]


def test_a_damaged_one_is_erased_with_what_it_learned_once_that_is_forgotten(vault: Vault) -> None:
    """1. A damaged generation is set aside. 2. A note that it learned is forgotten, a fresh round
    makes another. Result: nothing of the forgotten note is left in any folder.
    """
    flip(vault.state.generations / "g000002" / "adapter_model.safetensors", 1)
    active(vault)
    with Ledger.open(vault.state) as ledger:
        ledger.forgotten.add("more.md", NOW)
        learned = next(e.path for e in ledger.entries.all() if not e.held_out and not e.forgotten)
        ledger.forgotten.add(learned, NOW)
    train(vault)
    assert generation_folders.published(vault.state) == ["g000003"]
    assert not generation_folders.those_set_aside(vault.state)


def test_no_generation_is_sound(vault: Vault) -> None:
    """1. Both generations lose a bit. 2. Repairs. Result: the base writes, both are set aside."""
    for name in ("g000001", "g000002"):
        flip(vault.state.generations / name / "adapter_model.safetensors", 5)
    assert active(vault) is None
    assert len(generation_folders.those_set_aside(vault.state)) == 2
