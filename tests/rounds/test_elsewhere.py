"""Rounds that another machine learns: over a stand-in for ssh with a home of its own, and sshd."""

from __future__ import annotations

import base64
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import tiny
from vaultgpt.errors import BaseModelError, TrainingError, UsageError
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round
from vaultgpt.settings import Settings, Training
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.generations import GENERATIONS
from vaultgpt.tasks.vault_service import Here
from vaultgpt.workers import elsewhere
from vaultgpt.workers.elsewhere import Lender

pytest.importorskip("cryptography", reason="the extra `machines` is not installed")
STAND_IN = Path(__file__).with_name("ssh_stand_in.py")
VAULTGPT = f"{sys.executable} -m vaultgpt"
CANARY = "marzipanorchard"


class Home:
    """A vault, and another machine whose files lie in `there`."""

    def __init__(self, place: Path, base: Path) -> None:
        self.there = place / "there"
        self.there.mkdir()
        notes = tiny.tiny_vault(place / "vault", notes=40, words=9000)
        for note in notes:
            note.write_text(note.read_text() + f"\nI saw the {CANARY} again.\n")
        self.state: VaultState = create_state(place / "vault")
        learning = Training(device="cpu", dtype="float32", threads=1, epochs=3.0, rank=4)
        self.settings = Settings(base=str(base), training=learning)

    def learn(
        self, program: str = VAULTGPT, hear: Callable[[Any], None] = lambda event: None
    ) -> RoundAnswer:
        return run_round(
            self.state,
            self.settings,
            manual=True,
            now=time.time,
            on_progress=hear,
            machine=Lender("box", program),
        )

    def files_there(self) -> dict[Path, bytes]:
        """All that was ever lent to that machine and is still there."""
        lent = self.there / "home" / "vaultgpt" / "lent"
        return {p: p.read_bytes() for p in lent.rglob("*") if p.is_file()}

    def active(self) -> str | None:
        with Ledger.open(self.state) as ledger:
            return ledger.generations.active()


@pytest.fixture
def home(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(elsewhere, "_CHUNK", 8_000)
    monkeypatch.setattr(elsewhere, "_PAUSE_S", 0.05)
    made = Home(tmp_path, tiny_llama)
    monkeypatch.setenv("VAULTGPT_SSH", f"{sys.executable} {STAND_IN} {made.there}")
    return made


def kill(*names: str) -> None:
    """End those of our descendants that run these modules, as a machine that goes down does."""
    for process in psutil.Process().children(recursive=True):
        line = " ".join(process.cmdline())
        if any(name in line for name in names) and "ssh_stand_in" not in line:
            process.kill()


def test_a_round_is_learned_elsewhere_through_cut_lines_and_failures(home: Home) -> None:
    """1. Its trainer is killed there. 2. That machine goes down while it learns. 3. The line is cut
    on the way there and on the way back.

    Result: 1 and 2 fail in a sentence, leave home as it was and nothing there; 3 goes on where it
    was cut, is judged and published here, and says where it learned. No word of a note, no key and
    no token is readable there at any time, and nothing is left.
    """
    seen: list[bytes] = []

    def then(*names: str) -> Callable[[Any], None]:
        def hear(event: Any) -> None:
            if event["phase"] == "train" and event.get("step") == 2:
                seen.extend(home.files_there().values())
                kill(*names)

        return hear

    with pytest.raises(TrainingError, match=r"On box: The trainer died: it was killed.* here"):
        home.learn(hear=then("vaultgpt.training.trainer_worker"))
    assert home.active() is None and not home.files_there()
    with pytest.raises(TrainingError, match=r"The line to box ended while it learned.* here"):
        home.learn(hear=then("vaultgpt.training.trainer_worker", "vaultgpt lend"))
    assert home.active() is None and not home.files_there()
    staged = next(home.state.staging.glob("r*"))
    (home.there / "cut.json").write_text(json.dumps({"up": 30_000, "down": 40_000}))
    (home.there / "calls").unlink()
    told: list[Any] = []
    keys: set[str] = set()

    def look(event: Any) -> None:
        told.append(event)
        seen.extend(home.files_there().values())
        if (errand := staged / "errand.json").exists():
            keys.add(json.loads(errand.read_text())["key"])

    answer = home.learn(hear=look)
    assert answer["verdict"]["promoted"], answer["verdict"]
    assert home.active() == answer["generation"] == "g000001"
    assert json.loads((home.there / "cut.json").read_text()) == {}
    assert len((home.there / "calls").read_text().splitlines()) == 4  # to look, and two cuts
    for phase in ("send", "fetch"):
        shares = [e["fraction"] for e in told if e["phase"] == phase]
        assert shares == sorted(set(shares)) and shares[-1] == 1.0 and len(shares) > 3
    assert not home.files_there() and not (home.there / "home" / "vaultgpt" / "lent").exists()
    assert not list(home.state.staging.glob("r*"))
    _unreadable(seen, keys)
    assert answer["report"] is not None
    assert answer["report"]["learning"]["machine"] == "box"
    (voice,) = Here(home.state).ask(GENERATIONS, None)["generations"]
    assert voice["machine"] == "box"


def _unreadable(files: list[bytes], keys: set[str]) -> None:
    """Words of six characters at least: of three, sealed bytes hold any by chance."""
    assert sum(map(len, files)) > 100_000 and len(keys) == 1
    for body in files:
        clear = base64.urlsafe_b64decode(body[: len(body) // 4 * 4]) if body else b""
        for word in (CANARY, "kitchen", "journal", "2019-0", "2019-1", "vault/", *keys):
            assert word.encode() not in body and word.encode() not in clear
        assert clear[25:27] != b"\x78\x01"  # zlib, as it is before it is sealed


def test_another_version_a_missing_program_and_a_bad_name_are_told(home: Home) -> None:
    """Before anything is measured, in a sentence each."""
    other = home.there / "other.py"
    other.write_text(
        "import sys\nfrom vaultgpt.workers import lending\nlending.__version__ = '0.0.1'\n"
        "lending.lend(sys.stdin.buffer, sys.stdout.buffer)\n"
    )
    told: list[Any] = []
    with pytest.raises(TrainingError, match=r"box has vaultgpt 0\.0\.1, and here is"):
        home.learn(f"{sys.executable} {other}", told.append)
    with pytest.raises(TrainingError, match="There is no `vaultgpt-of-nowhere` on box"):
        home.learn("vaultgpt-of-nowhere", told.append)
    with pytest.raises(TrainingError, match="could not be had or kept"):
        home.learn("exit 255;", told.append)
    for name in ("-oProxyCommand=x", "a b", "", "a;b"):
        with pytest.raises(UsageError, match="no machine's name"):
            Lender(name)
    assert not told and not home.files_there() and home.active() is None


def test_a_base_that_is_not_there_is_told(home: Home, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(home.settings.base, moved)
    home.settings = Settings(base=str(moved), training=home.settings.training)
    gone = f"mv {moved} {moved}.away; {VAULTGPT} lend; mv {moved}.away {moved}; exit;"
    with pytest.raises(BaseModelError, match="does not have this vault's base"):
        home.learn(gone)
    assert not home.files_there()


def test_what_nobody_came_back_for_goes_after_a_day(home: Home) -> None:
    from vaultgpt.workers.lending import _sweep

    lent = Path(os.environ["VAULTGPT_HOME"]) / "lent"
    for name, age_h in (("a" * 32, 25), ("b" * 32, 1)):
        (lent / name).mkdir(parents=True)
        (lent / name / "lesson.sealed").write_bytes(b"x")
        for path in (lent / name / "lesson.sealed", lent / name):
            os.utime(path, (time.time() - age_h * 3600,) * 2)
    _sweep(time.time())
    assert [p.name for p in lent.iterdir()] == ["b" * 32]


# Over a real sshd on localhost ------------------------------------------------------------------


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[list[str]]:
    """A real sshd for this very user; the command and options that reach it."""
    server = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if server is None or shutil.which("ssh") is None or os.name != "posix":
        pytest.skip("no sshd is installed (Debian: apt-get install openssh-server)")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
        subprocess.run(make, check=True)
    shutil.copy(keys / "user.pub", keys / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = keys / "config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {keys}/authorized\nStrictModes no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\n"
    )
    process = subprocess.Popen([server, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE)
    ssh = ["ssh", "-F", "none", "-p", str(port), "-i", str(keys / "user")]
    ssh += ["-oStrictHostKeyChecking=no", f"-oUserKnownHostsFile={keys}/known", "-oLogLevel=ERROR"]
    try:
        for _ in range(50):
            probe = subprocess.run([*ssh, "127.0.0.1", "true"], capture_output=True)
            if probe.returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.skip(f"sshd does not let {getpass.getuser()} in: {probe.stderr!r}")
        yield ssh
    finally:
        process.terminate()
        process.communicate()


def test_over_a_real_sshd_a_round_is_learned_and_nothing_is_left(
    home: Home, sshd: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTGPT_SSH", " ".join(sshd))
    there = home.there / "home" / "vaultgpt"
    there.mkdir(parents=True)
    seen: list[bytes] = []
    answer = run_round(
        home.state,
        home.settings,
        manual=True,
        now=time.time,
        on_progress=lambda _: seen.extend(home.files_there().values()),
        machine=Lender("127.0.0.1", f"env VAULTGPT_HOME={there} {VAULTGPT}"),
        stop=threading.Event(),
    )
    assert answer["verdict"]["promoted"] and home.active() == answer["generation"]
    assert answer["report"] is not None
    assert answer["report"]["learning"]["machine"] == "127.0.0.1"
    assert seen and not home.files_there() and not (there / "lent").exists()
    assert not any(CANARY.encode() in body for body in seen)
