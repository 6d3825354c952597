"""Every file of the state is checked when it is read, and rebuilt where it can be."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.vaults import DAY, NOW, Vault, body
from tests.rounds.fakes import FakeTrainer
from tests.workers.test_workers import PROGRAM
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.daemon.supervisor import Daemon
from vaultgpt.errors import StateError
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.run import run_round
from vaultgpt.settings import load_settings, save_option
from vaultgpt.tasks.doctor import check_vault
from vaultgpt.tasks.status import STATUS
from vaultgpt.wire import Prompt, Usage
from vaultgpt.workers.mirror import MirrorProcess


@pytest.fixture
def vault(tmp_path: Path, tiny_llama: Path) -> Vault:
    """Two generations on a tiny base, the second of which writes."""
    made = Vault(tmp_path)
    made.fill(30, paragraphs=3, words=30)
    save_option(made.state.config, "base", str(tiny_llama))
    save_option(made.state.config, "training.pause", True)
    made.settings = load_settings(made.state.config)
    for more in ("", "More text. " + "another word of it " * 12):
        if more:
            made.write("more.md", more)
        run_round(made.state, made.settings, trainer=FakeTrainer(), now=lambda: NOW, manual=True)
    return made


async def writes(daemon: Daemon) -> str:
    """The generation that a hotkey is answered by."""
    async for item in daemon.generate(Prompt("I walked")):
        if isinstance(item, Usage):
            return item.generation
    raise AssertionError("no end")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 16
    path.write_bytes(data)


def test_an_adapter_that_rots_while_the_daemon_runs_gives_way_to_the_newest_sound_one(
    vault: Vault,
) -> None:
    """1. A daemon runs, its mirror has left. 2. A bit of the active adapter flips. 3. A hotkey. 4.
    Another. Result: both are answered by the generation before, `problems` says so, nothing is
    lost; once another generation writes the problem is gone.
    """

    async def go(daemon: Daemon) -> None:
        assert await writes(daemon) == "g000002"
        await daemon.writing.mirror.stop()
        flip(vault.state.generations / "g000002" / "adapter_model.safetensors", 3)
        assert [await writes(daemon), await writes(daemon)] == ["g000001"] * 2
        (said,) = (await daemon.ask(STATUS, None))["problems"]
        assert "g000002 is damaged and set aside. g000001 is active instead" in said
        assert (vault.state.generations / "damaged-g000002").is_dir()
        await asyncio.to_thread(
            run_round,
            vault.state,
            vault.settings,
            trainer=FakeTrainer(),
            now=lambda: NOW + DAY,
            manual=True,
            fresh=True,
        )
        await daemon.writing.follow()
        assert await writes(daemon) == "g000003"
        assert not (await daemon.ask(STATUS, None))["problems"]

    run(vault, go)


def run(vault: Vault, go: Callable[[Daemon], object]) -> None:
    """`go` with a daemon of the vault."""

    async def all_of_it() -> None:
        daemon = Daemon(vault.state, vault.settings, now=lambda: NOW + DAY)
        daemon.writing.mirror = MirrorProcess(daemon.writing.opening, program=PROGRAM)
        try:
            await go(daemon)  # type: ignore[misc]
        finally:
            await daemon.stop()
            daemon.close()

    asyncio.run(all_of_it())


HARMS: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "flipped": lambda path: flip(path, path.stat().st_size - 5),
    "header flipped": lambda path: flip(path, 8),
    "random": lambda path: path.write_bytes(random.Random(1).randbytes(path.stat().st_size)),
    "zeros": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_guard_s_index_is_made_anew_before_a_word_is_written(
    vault: Vault, harm: str
) -> None:
    """1. The index of the copy guard is cut, lost or filled with noise. 2. A hotkey. Result: it is
    answered, and the index holds every run of the vault again.
    """
    before = runs_of(vault)
    for path in vault.state.runs.glob("n10-*.npy"):
        HARMS[harm](path)

    async def go(daemon: Daemon) -> None:
        assert await writes(daemon) == "g000002"

    run(vault, go)
    assert RunIndex(vault.state.runs, b"").load().contains(before).all()
    assert not list(vault.state.runs.glob("damaged-*"))


def runs_of(vault: Vault) -> np.ndarray:
    """Every run of 10 words that the index must hold."""
    index = RunIndex(vault.state.runs, b"").load()
    return np.concatenate(list(index._segments.values()))


def test_text_that_is_no_longer_in_the_vault_stays_guarded_where_a_bit_flips(vault: Vault) -> None:
    """1. A paragraph is learned and then rewritten. 2. A bit of the index flips. 3. It is mended.
    Result: of the runs that no entry holds any more at most one is missing.
    """
    old = runs_of(vault)
    vault.write("note003.md", body("wholly new"))
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW + DAY)
        for path in vault.state.runs.glob("n10-*.npy"):
            flip(path, path.stat().st_size // 2)
        with pytest.raises(StateError, match="index is damaged"):
            RunIndex(vault.state.runs, b"").load()
        assert ledger.guard.mend() and not ledger.guard.mend()
    kept = RunIndex(vault.state.runs, b"").load().contains(old)
    assert (~kept).sum() <= len(list(vault.state.runs.glob("n10-*.npy")))


def test_the_guard_s_index_is_read_once_however_often_it_is_mended(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Mended twice. 2. A note comes. 3. A segment is harmed. Result: what did not change is not
    read again, and the harm is found."""
    read: list[str] = []
    sound = RunIndex.sound

    def heard(index: RunIndex, name: str) -> bool:
        read.append(name)
        return sound(index, name)

    monkeypatch.setattr(RunIndex, "sound", heard)
    with Ledger.open(vault.state) as ledger:
        for _ in range(2):
            assert not ledger.guard.mend()
        before = sorted(p.name for p in vault.state.runs.glob("n10-*.npy"))
        assert sorted(read) == before
        vault.write("more.md", body("more", 1))
        vault.record(ledger, NOW + DAY)
        assert not ledger.guard.mend()
        now = sorted(p.name for p in vault.state.runs.glob("n10-*.npy"))
        assert sorted(read) == sorted([*before, *(set(now) - set(before))]) != before
        flip(vault.state.runs / now[0], 200)
        assert ledger.guard.mend() and not ledger.guard.mend()


def test_a_guard_s_index_that_is_being_written_is_not_made_anew(vault: Vault) -> None:
    """1. A scan has merged segments and not ended yet. 2. A voice is swapped. Result: it waits for
    the scan, and adds nothing."""
    found: list[bool] = []

    def mend() -> None:
        with Ledger.open(vault.state) as other:
            found.append(other.guard.mend())

    swapping = threading.Thread(target=mend)
    with Ledger.open(vault.state) as ledger:
        with ledger._db.write():
            runs = np.arange(1, 2 + len(runs_of(vault)), dtype=np.uint64) << np.uint64(40)
            before = {p.name for p in vault.state.runs.glob("n10-*.npy")}
            ledger.guard.add(runs)
            left = {p.name for p in vault.state.runs.glob("n10-*.npy")}
            assert before - left, "nothing was merged"
            swapping.start()
            swapping.join(0.3)
            assert swapping.is_alive()
        swapping.join(10)
    assert found == [False] and left == {p.name for p in vault.state.runs.glob("n10-*.npy")}


def test_doctor_mends_the_guard_s_index(vault: Vault) -> None:
    """1. The index is cut. 2. doctor. Result: it says so and mends it; then it is whole."""
    for path in vault.state.runs.glob("n10-*.npy"):
        os.truncate(path, 200)
    told = [f.message for _ in range(2) for f in check_vault(vault.state) if f.name == "copy guard"]
    assert told == [
        "Its index was damaged, and has been made anew from the ledger.",
        "Its index is whole.",
    ]
