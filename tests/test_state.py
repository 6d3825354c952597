"""State lives outside vaults, in private folders, and follows a vault that moved."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vaultgpt.errors import NotFound, StateError, VaultError
from vaultgpt.state import create_state, drop_state, find_state, known_vaults, state_root
from vaultgpt.tasks.vaults import all_vaults


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    folder = tmp_path / "My Vault"
    folder.mkdir()
    return folder


def test_the_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "h"))
    assert state_root() == tmp_path / "h"
    monkeypatch.delenv("VAULTGPT_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "x"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert state_root() == tmp_path / "x" / "vaultgpt"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_folders_and_files_are_private(vault: Path) -> None:
    state = create_state(vault)
    state.secret(), state.token()
    for path in [state.folder, *state.folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_root_inside_the_vault_is_refused(monkeypatch: pytest.MonkeyPatch, vault: Path) -> None:
    monkeypatch.setenv("VAULTGPT_HOME", str(vault / "state"))
    with pytest.raises(StateError, match="inside the vault"):
        create_state(vault)
    assert not (vault / "state").exists()


@pytest.mark.parametrize(("inside", "refused"), [("state", True), (".local/share", False)])
def test_a_root_inside_any_vault_that_obsidian_shows_is_refused(
    monkeypatch: pytest.MonkeyPatch, vault: Path, tmp_path: Path, inside: str, refused: bool
) -> None:
    """1. VAULTGPT_HOME lies in a vault of Obsidian's that was never set up, or the home folder is
    one. Result: refused, but below a hidden folder, which Obsidian neither watches nor syncs."""
    (tmp_path / "other" / ".obsidian").mkdir(parents=True)
    root = tmp_path / "other" / inside / "vaultgpt"
    monkeypatch.setenv("VAULTGPT_HOME", str(root))
    if refused:
        with pytest.raises(StateError, match=f"inside the vault {tmp_path / 'other'}, where"):
            create_state(vault)
        assert not root.exists()
    else:
        state = create_state(vault)
        assert find_state(vault) == state


def test_a_vault_that_comes_above_the_state_is_told(vault: Path) -> None:
    state = create_state(vault)
    (state.folder.parent / ".obsidian").mkdir()
    with pytest.raises(StateError, match="inside the vault"):
        find_state(vault)


def test_the_secret_is_made_once(vault: Path) -> None:
    state = create_state(vault)
    assert state.secret() == state.secret() and len(state.secret()) == 32
    old = state.token()
    assert state.rotate_token() != old and state.token() != old


def test_a_vault_is_found_from_inside_or_when_it_is_the_only_one(
    vault: Path, tmp_path: Path
) -> None:
    state = create_state(vault)
    inner = vault / "Journal"
    inner.mkdir()
    assert find_state(None, cwd=inner) == state
    assert find_state(None, cwd=tmp_path) == state
    assert find_state(inner) == state
    other = tmp_path / "other"
    other.mkdir()
    create_state(other)
    with pytest.raises(NotFound, match=f"Several vaults.*{vault}, .*{other}"):
        find_state(None, cwd=tmp_path)


def test_an_unknown_vault_says_how_to_set_it_up(vault: Path) -> None:
    with pytest.raises(NotFound, match="vaultgpt init"):
        find_state(vault)
    with pytest.raises(NotFound, match="vaultgpt init"):
        find_state(None)


def test_a_symlink_to_a_vault_is_the_same_vault(vault: Path, tmp_path: Path) -> None:
    state = create_state(vault)
    (tmp_path / "link").symlink_to(vault)
    assert find_state(tmp_path / "link") == state


def test_a_moved_vault_takes_its_state_along(vault: Path, tmp_path: Path) -> None:
    old = create_state(vault)
    secret = old.secret()
    moved = vault.rename(tmp_path / "elsewhere")
    new = create_state(moved, adopt=old.folder)
    assert new.folder == old.folder and new.secret() == secret
    assert list(known_vaults()) == [moved]


def test_a_file_or_a_missing_folder_is_no_vault(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("x")
    with pytest.raises(VaultError, match="a file, not a folder"):
        create_state(tmp_path / "note.md")
    with pytest.raises(VaultError, match="no folder"):
        create_state(tmp_path / "missing")


def test_a_vault_whose_drive_does_not_answer_is_one_that_is_gone(
    vault: Path, tmp_path: Path, unplug: Callable[[Path], None]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    state = create_state(vault)
    create_state(other)
    unplug(vault)
    assert find_state(None, tmp_path).vault == other
    with pytest.raises(VaultError, match="its drive does not answer"):
        find_state(vault)
    assert find_state(vault, gone_too=True) == state
    assert {row["vault"]: row["there"] for row in all_vaults()["vaults"]} == {
        str(vault): False,
        str(other): True,
    }


def test_a_dropped_vault_is_forgotten(vault: Path) -> None:
    create_state(vault)
    drop_state(vault)
    assert known_vaults() == {}


def test_the_phones_token_outlives_a_start_and_ends_when_it_is_rotated(vault: Path) -> None:
    state = create_state(vault)
    state.rotate_phone_token()  # none was made: nothing to end
    assert not state.phone_token_path.exists()
    first = state.phone_token()
    assert len(first) == 64 and first != state.token()
    state.renew_token()
    assert state.phone_token() == first
    state.rotate_phone_token()
    assert state.phone_token() != first
