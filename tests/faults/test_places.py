"""The state folder as a whole: its list of vaults, its place, its owner, its modes, its token."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.serving import Serving
from vaultgpt import files
from vaultgpt.errors import StateError
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState, create_state, find_state, known_vaults, state_root

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "vault"
    made.mkdir()
    return made


@pytest.mark.parametrize("harm", ["removed", "emptied", "cut", "flipped", "random", "nested"])
def test_the_list_of_vaults_is_made_anew_from_the_state_folders(tmp_path: Path, harm: str) -> None:
    """1. Two vaults are set up. 2. vaults.json is lost or damaged. 3. A vault is looked for, a
    third one is set up. Result: the first two are found with their old state; then all three.
    """
    states = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        states.append(create_state(tmp_path / name))
    path = state_root() / "vaults.json"
    body = path.read_bytes()
    harmed = {
        "emptied": b"",
        "cut": body[: len(body) // 2],
        "flipped": body.replace(b"{", b"\x7b\x80", 1),
        "random": os.urandom(len(body)),
        "nested": b"[" * 100_000,
    }
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(harmed[harm])
    assert [find_state(s.vault) for s in states] == states
    (tmp_path / "c").mkdir()
    third = create_state(tmp_path / "c")
    assert known_vaults() == {s.vault: s.folder for s in (*states, third)}
    assert len(json.loads(path.read_text())["vaults"]) == 3


def test_an_older_state_that_does_not_say_whose_it_is_is_told_in_a_sentence(folder: Path) -> None:
    """1. A state without vault.json; vaults.json is lost. 2. The vault is looked for. Result: an
    error that says what to write where; nothing is set up beside it.
    """
    state = create_state(folder)
    Ledger.open(state).close()
    (state.folder / "vault.json").unlink()
    (state_root() / "vaults.json").unlink()
    with pytest.raises(StateError, match=r"vault\.json"):
        find_state(folder)
    (state.folder / "vault.json").write_text(json.dumps({"vault": str(folder)}))
    assert find_state(folder) == state


def _init(place: str) -> None:
    create_state(Path(place))


def test_five_inits_at_once_lose_no_vault(tmp_path: Path) -> None:
    """1. Five processes set up five vaults at once, four times. Result: all are known."""
    places = [tmp_path / f"v{i}" for i in range(5)]
    for place in places:
        place.mkdir()
    for _ in range(4):
        (state_root() / "vaults.json").unlink(missing_ok=True)
        inits = [
            multiprocessing.get_context("fork").Process(target=_init, args=(str(p),))
            for p in places
        ]
        for one in inits:
            one.start()
        for one in inits:
            one.join(30)
        assert set(known_vaults()) == set(places)


@posix
def test_a_state_inside_the_vault_through_a_link_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. VAULTGPT_HOME is a link into the vault; 2. or a folder of the state becomes one later.
    Result: a sentence, and nothing is written there.
    """
    (folder / "hidden").mkdir()
    (tmp_path / "link").symlink_to(folder / "hidden")
    with monkeypatch.context() as patch:
        patch.setenv("VAULTGPT_HOME", str(tmp_path / "link"))
        with pytest.raises(StateError, match="inside the vault"):
            create_state(folder)
        assert not list((folder / "hidden").iterdir())
    state = create_state(folder)
    (state.folder / "generations").rmdir()
    (state.folder / "generations").symlink_to(folder / "hidden")
    with pytest.raises(StateError, match="inside the vault"):
        find_state(folder)


@posix
def test_a_state_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. The state folder belongs to another user. Result: a sentence; nothing is changed."""
    state = create_state(folder)
    if os.geteuid() == 0:
        os.chown(state.folder, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: state.folder.stat().st_uid + 1)
    with pytest.raises(StateError, match="another user"):
        find_state(folder)


def _loose(place: Path) -> Iterator[Path]:
    for path in [place, *place.rglob("*")]:
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield path


@posix
def test_nothing_is_open_to_others_under_umask_0(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. umask is 0, the state's parents are missing. 2. A state is made and used. Result: parents,
    folders and files are their owner's alone.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "share" / "deep" / "vaultgpt"))
    before = os.umask(0)
    try:
        state = create_state(folder)
        state.secret(), state.token(), state.rotate_token()
        with Ledger.open(state) as ledger:
            ledger.emitted.accepted("and then it rained for three days " * 3, 1.0)
    finally:
        os.umask(before)
    assert not list(_loose(tmp_path / "share"))


@posix
def test_what_a_backup_loosened_is_closed_at_the_next_start(state: VaultState) -> None:
    """1. A backup brings the state back open to all. 2. The vault is looked for; the daemon starts.
    Result: the folder is closed at once, and every file in it at the start. What killed writers and
    a killed round left (it holds prose) is gone by then.
    """
    state.secret()
    job = state.staging / "r000001" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text("My own words.")
    half = state.folder / f".config.toml.1{files._UNFINISHED}"
    half.write_text("half")
    os.utime(half, (0, 0))
    for path in [*state.folder.rglob("*"), state.folder]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    assert find_state(state.vault) == state and stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    with Serving(state):
        assert not list(_loose(state.folder)) and not half.exists()
        until = time.monotonic() + 60
        while job.exists():
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_start_makes_a_new_token_unless_one_was_set_by_hand(state: VaultState) -> None:
    """1. A daemon is killed with -9. 2. It starts again. 3. The author writes a token of their own,
    of the same form. 4. Another start. Result: the first token no longer opens; the author's does.
    """
    with Serving(state) as first:
        old = first.client.token
        assert first.status()
    with Serving(state) as second:
        assert second.client.token != old and second.status()
        second.client.token = old
        with pytest.raises(Exception, match="token"):
            second.client._send("GET", "/v1/status", None)
    mine = "ab" * 32
    state.token_path.write_text(mine + "\n")
    with Serving(state) as third:
        assert third.client.token == mine and third.status()
    state.token_path.write_text("")
    with Serving(state) as fourth:
        assert len(fourth.client.token) == 64 and fourth.status()
