"""The secret that keys every hash of the author's text: lost, changed, damaged, made twice."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.ledger.vaults import DAY, NOW, Vault, prose
from tests.rounds.fakes import train
from vaultgpt.errors import StateError
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Settings
from vaultgpt.state import create_state
from vaultgpt.workers.mirror import mirror_opening

OTHER = "a7" * 32


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(40)
    return made


def forget_one(vault: Vault) -> str:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
        ledger.forgotten.add(path, NOW)
    return path


HARMS = {
    "lost": lambda path: path.unlink(),
    "another": lambda path: path.write_text(OTHER),
    "short": lambda path: path.write_text("5a" * 31),
    "empty": lambda path: path.write_text(""),
    "no hex": lambda path: path.write_text("zz" * 32),
    "no text": lambda path: path.write_bytes(b"\xff" * 64),
}


@pytest.mark.parametrize("harm", HARMS)
def test_without_the_right_secret_nothing_is_learned_and_none_is_made(
    vault: Vault, harm: str
) -> None:
    """1. A note is forgotten. 2. The secret is lost, changed or damaged. 3. The note is touched,
    a scan is recorded, a round is asked for. 4. The secret comes back.
    Result: learning pauses and says which file to put back; no new secret is made; nothing is
    written; with the secret back the note is forgotten as before and the pause is over.
    """
    path = forget_one(vault)
    with Ledger.open(vault.state) as ledger:
        before = {e.id: (e.path, e.held_out, e.forgotten) for e in ledger.entries.all()}
    good = vault.state.secret_path.read_text()
    HARMS[harm](vault.state.secret_path)
    harmed = vault.state.secret_path.read_bytes() if vault.state.secret_path.exists() else None
    vault.write(path, (vault.root / path).read_text() + "\nOne more line of it.\n", age_s=0)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW + DAY)
        assert "secret" in str(ledger.paused()) and "backup" in str(ledger.paused())
        with pytest.raises(StateError):
            ledger.emitted.accepted(prose("own", 20), NOW)
        with pytest.raises(StateError):
            mirror_opening(vault.state, Settings(), ledger)  # its copy guard would be blind
    assert train(vault, NOW + DAY)["kind"] == "none"
    now = vault.state.secret_path.read_bytes() if vault.state.secret_path.exists() else None
    assert now == harmed
    vault.state.secret_path.write_text(good)
    with Ledger.open(vault.state) as ledger:
        assert ledger.paused() is None
        vault.record(ledger, NOW + DAY)
        after = {e.id: (e.path, e.held_out, e.forgotten) for e in ledger.entries.all()}
        assert after == before and after[next(i for i in after if after[i][0] == path)][2]
        assert not set(ledger.pending(NOW + 2 * DAY, 0).entries) & {i for i in after if after[i][2]}


def test_a_lost_ledger_is_not_rebuilt_under_another_secret(vault: Vault) -> None:
    """1. A note is forgotten. 2. The database is lost and the secret is another one. 3. A scan.
    Result: memory.jsonl names the secret it was made with, so learning pauses.
    """
    forget_one(vault)
    for file in vault.state.folder.glob("ledger.sqlite3*"):
        file.unlink()
    vault.state.secret_path.write_text(OTHER)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW + DAY)
        assert "secret" in str(ledger.paused()) and not ledger.pending(NOW + DAY, 0).words


def test_a_daemon_s_ledger_notices_the_secret_that_another_process_made(vault: Vault) -> None:
    """1. A daemon holds the ledger open; the secret is lost for good. 2. The author says `train
    --fresh` in another process. Result: what was is set aside, a new secret is made and learning
    begins anew; the daemon's ledger goes on with the new secret.
    """
    forget_one(vault)
    with Ledger.open(vault.state) as daemon:
        old = daemon.key
        vault.state.secret_path.unlink()
        assert train(vault, NOW + DAY, fresh=True)["kind"] == "fresh"
        assert daemon.key == vault.state.secret() != old
        daemon.emitted.accepted(prose("own", 20), NOW + DAY)
        assert daemon.paused() is None and daemon.generations.active() == "g000001"
    assert list(vault.state.folder.glob("ledger.sqlite3.other-secret-*"))
    assert list(vault.state.folder.glob("memory.jsonl.other-secret-*"))


def test_an_older_ledger_is_tied_to_the_secret_that_fits_it_only(vault: Vault) -> None:
    """1. A ledger of before knows no check of its secret. 2. The secret is another one; then it
    is the right one. Result: paused until it is right, and tied to it from then on.
    """
    forget_one(vault)
    good = vault.state.secret_path.read_text()
    with Ledger.open(vault.state) as ledger:
        ledger.set_meta("key_check", None)
    vault.state.secret_path.write_text(OTHER)
    with Ledger.open(vault.state) as ledger:
        assert "secret" in str(ledger.paused())
    vault.state.secret_path.write_text(good)
    with Ledger.open(vault.state) as ledger:
        assert ledger.paused() is None and ledger.meta("key_check")


def test_many_threads_make_one_secret_and_one_token(tmp_path: Path) -> None:
    """1. Sixteen threads ask a new state for its secret and token at once. Result: one of each."""
    (tmp_path / "vault").mkdir()
    state = create_state(tmp_path / "vault")
    start, seen = threading.Barrier(16), set()

    def ask() -> None:
        start.wait()
        seen.add((state.secret(), state.token()))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


@pytest.mark.parametrize("left", [b"", b"\n", b"\xff\xfe"])
def test_an_empty_token_file_is_replaced(tmp_path: Path, left: bytes) -> None:
    """1. A full disk left the token's file empty. 2. It is asked for. Result: a new token."""
    (tmp_path / "vault").mkdir()
    state = create_state(tmp_path / "vault")
    state.token_path.write_bytes(left)
    assert len(state.token()) == 64 and state.token() == state.token()


def test_an_empty_secret_of_a_state_without_hashes_is_replaced(tmp_path: Path) -> None:
    """1. A crash left the secret's file empty before anything was hashed. Result: it is made."""
    (tmp_path / "vault").mkdir()
    state = create_state(tmp_path / "vault")
    state.secret_path.write_text("")
    assert len(state.secret()) == 32
