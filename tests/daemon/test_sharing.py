"""The engine that the vaults of `serve --all` share: what each has for itself, turns, ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from tests.daemon.conftest import until
from tests.daemon.household import ASKED, LONG, Vault, alone
from tests.mirror.conftest import write
from vaultgpt import __version__
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.daemon.every import _Pulse, _SharedEngine
from vaultgpt.errors import NotFound, WorkerDied
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.families import Commons
from vaultgpt.mirror.sharing import _Pen, _Session, _Sessions, _Turn
from vaultgpt.settings import Mirror
from vaultgpt.wire import frame_of
from vaultgpt.workers.mirror import SHARED, Opening
from vaultgpt.workers.pipe import WorkerPipe

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a socket of Unix")


async def test_two_vaults_write_in_one_process_each_as_if_it_were_alone(
    two: list[Vault], tiny_llama: Path, voices: list[Path]
) -> None:
    """1. Both write the same prompt. 2. One asks for what only the other has. 3. One guards the
    other's text. 4. One takes another voice. 5. One leaves.

    Result: one process; each its own text, cache, generations and guard; the other stays.
    """
    first, second = two
    own = [alone(tiny_llama, voice) for voice in voices]
    assert own[0] != own[1]
    told = [await vault.write() for vault in two]
    assert [text for text, _ in told] == own
    assert first.mirror.pid == second.mirror.pid
    assert [usage.cached_tokens for _, usage in told] == [0, 0], "no vault's cache is another's"

    with pytest.raises(NotFound):
        await second.write(replace(ASKED, model="g000002"))

    runs, secret = first.opening.runs, first.opening.secret
    assert runs is not None
    RunIndex(runs, secret).add([f"{ASKED.text} {own[0]}", f"{ASKED.text} {own[1]}"])
    await first.mirror.reload_runs()
    await second.mirror.reload_runs()
    assert (await first.write())[0] != own[0], "its guard forbids it now"
    assert (await second.write())[0] == own[1], "and the other's text is none of its business"

    first.opening = replace(first.opening, active=None)
    await first.mirror.activate()
    assert (await first.write())[1].generation == "base"
    assert (await second.write())[0] == own[1]

    await first.mirror.stop()
    assert second.mirror.running and (await second.write())[0] == own[1]


def test_who_is_alone_on_a_base_merges_its_voice_and_shares_once_another_comes(
    tiny_llama: Path, tiny_gpt2: Path, voices: list[Path]
) -> None:
    """1. A vault opens. 2. One of another base. 3. One of the same base. 4. That one leaves.

    Result: merged weights as in a process of its own, until the third comes; the text stays.
    """
    commons, calls = Commons(), list[str]()

    def opened(name: str, base: Path, voice: Path | None) -> Engine:
        engine = Engine(Mirror(device="cpu"))
        engine.commons, engine.company = commons, lambda: calls.append(name)
        engine.load(base)
        engine.activate("g000001" if voice else None, voice)
        return engine

    def whole(engine: Engine) -> object:
        return getattr(engine._model(engine.active), "whole", None)

    first = opened("first", tiny_llama, voices[0])
    text = write(first, ASKED)[0]
    stranger = opened("stranger", tiny_gpt2, None)
    assert commons.alone(first) and commons.alone(stranger) and not calls
    assert whole(first) is None
    third = opened("third", tiny_llama, voices[1])
    assert calls == ["first"] and not commons.alone(first) and not commons.alone(third)
    first.regroup()
    assert whole(first) is whole(third) is not None
    assert not len(first.prefixes), "nothing computed with other weights is kept"
    assert write(first, ASKED)[0] == text
    del third
    gc.collect()
    assert commons.alone(first)


async def test_the_first_vault_shares_its_weights_when_a_second_opens(two: list[Vault]) -> None:
    """1. One vault writes alone. 2. Another comes. 3. The first swaps, and fails to.

    Result: the same texts; what nobody asked for is answered to nobody.
    """
    first, second = two
    wanted = [await first.write(replace(ASKED, seed=seed)) for seed in (1, 2)]
    await second.write()
    again = [await first.write(replace(ASKED, seed=seed)) for seed in (1, 2)]
    assert [text for text, _ in again] == [text for text, _ in wanted]
    first.opening = replace(first.opening, active=None)
    await first.mirror.activate()
    assert first.mirror.ready.dtype == "float32" and first.mirror.active is None


async def test_a_vault_that_asks_without_a_pause_does_not_starve_another(
    two: list[Vault],
) -> None:
    """1. One vault asks for four long answers. 2. Another asks twice while the first is under way.

    Result: it has its texts before the first of those ends.
    """
    busy, quiet = two
    alone, _ = await quiet.write()
    began = asyncio.Event()

    async def flood() -> None:
        async for _ in busy.mirror.generate(LONG):
            began.set()

    tasks = [asyncio.create_task(flood()) for _ in range(4)]
    await began.wait()
    assert (await quiet.write())[0] == alone
    assert (await quiet.write(replace(ASKED, seed=6)))[1].tokens
    assert not any(task.done() for task in tasks), "the first of them is still under way"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_death_of_the_engine_is_survived_by_all_who_use_it(
    two: list[Vault], shared: _SharedEngine
) -> None:
    """1. Both are served. 2. The engine is killed. 3. Both ask again. 4. Both leave.

    Result: another process serves both; with nobody left it goes too.
    """
    before = [(await vault.write())[0] for vault in two]
    pid = shared.pid
    assert pid is not None and two[0].mirror.pid == pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not any(vault.mirror.running for vault in two))
    assert [(await vault.write())[0] for vault in two] == before
    again = shared.pid
    assert again not in (None, pid) and {vault.mirror.pid for vault in two} == {again}
    for vault in two:
        await vault.mirror.stop()
    await until(lambda: shared.pid is None)


async def test_with_the_engine_away_or_not_wished_for_a_vault_has_a_process_of_its_own(
    two: list[Vault], shared: _SharedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, shy = two
    shy.opening = replace(shy.opening, settings=replace(shy.opening.settings, shared=False))
    await shy.mirror.open()
    assert shared.pid is None and psutil.Process(shy.mirror.pid).ppid() == os.getpid()
    monkeypatch.setenv(SHARED, shared.place + "-gone")
    await alone.write()
    assert alone.mirror.pid != shy.mirror.pid and shared.pid is None


async def test_a_socket_that_is_deaf_or_may_be_another_user_s_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Something takes the call and says nothing. 2. Others may write into the socket's folder.

    Result: both count as away; the first call is ended, and a second does not come.
    """
    monkeypatch.setattr("vaultgpt.workers.pipe._HELLO_S", 0.2)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())
        writer.close()

    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    tmp_path.chmod(0o700)
    async with await asyncio.start_unix_server(deaf, "s"):
        with pytest.raises(WorkerDied, match="TimeoutError"):
            await WorkerPipe.connect(Path("s"))
        assert await asyncio.wait_for(heard.get(), 10) == b"", "no session is left open"
        tmp_path.chmod(0o755)
        with pytest.raises(WorkerDied, match="PermissionError"):
            await WorkerPipe.connect(Path("s"))
        assert heard.empty()


def test_who_waits_to_tell_a_vault_that_does_not_read_leaves_its_turn() -> None:
    turn = _Turn()
    pen, took = _Pen(turn), threading.Event()

    def tell() -> None:
        turn.take()
        took.set()
        with pen:
            turn.leave()

    with pen:  # a ping is answered into a full socket
        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        assert took.wait(10)
        other = threading.Thread(target=turn.take, daemon=True)
        other.start()
        other.join(10)
        assert not other.is_alive(), "another vault has its turn"
    turn.leave()
    thread.join(10)
    assert not thread.is_alive()


def test_turns_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultgpt.mirror.sharing._SLICE_S", 0.0)
    turn, had = _Turn(), list[str]()

    def work(name: str, steps: int) -> None:
        turn.take()
        for _ in range(steps):
            had.append(name)
            turn.give_way()
        turn.leave()

    turn.take()
    threads = []
    for name, steps in (("a", 6), ("b", 3), ("c", 3)):
        threads.append(threading.Thread(target=work, args=(name, steps)))
        threads[-1].start()
        wait_for_waiting(turn, len(threads))
    turn.leave()
    for thread in threads:
        thread.join(10)
    assert "".join(had) == "abcabcabcaaa"


def wait_for_waiting(turn: _Turn, count: int, limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while len(turn._waiting) < count:
        assert time.monotonic() < end
        time.sleep(0.001)


async def test_a_halted_engine_is_replaced_within_ten_seconds_for_who_has_a_session_and_who_comes(
    two: list[Vault], shared: _SharedEngine
) -> None:
    """1. One vault has a session. 2. SIGSTOP. 3. One that has none asks. 4. The first asks.

    Result: both are answered by another process within 10 s; the halted one is gone.
    """
    first, second = two
    wanted, _ = await first.write()
    halted = first.mirror.pid
    assert halted is not None and halted == shared.pid
    os.kill(halted, signal.SIGSTOP)
    async with asyncio.timeout(10):
        await second.write()
        assert (await first.write())[0] == wanted
    assert shared.pid not in (None, halted)
    assert {vault.mirror.pid for vault in two} == {shared.pid}
    with pytest.raises(ProcessLookupError):
        os.kill(halted, 0)


async def test_an_engine_that_is_halted_for_a_moment_or_busy_lives(
    two: list[Vault], shared: _SharedEngine
) -> None:
    first, _ = two
    wanted, _ = await first.write()
    pid = shared.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(0.7)
    os.kill(pid, signal.SIGCONT)
    assert (await first.write())[0] == wanted and shared.pid == pid


def test_one_that_takes_nobody_up_and_does_nothing_is_ended_one_that_works_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1. Somebody calls an engine that sleeps. 2. And one that computes. 3. Nobody calls."""
    with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(f"{folder}/s")
        listener.listen(8)
        for work, ended in (("time.sleep(60)", True), ("\nwhile True: pass", False)):
            code = f"import time; print(flush=True); {work}"
            pulse, found = _Pulse(listener), []
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            assert child.stdout is not None and child.stdout.readline()
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(f"{folder}/s")
                for moment in range(6):  # of its clock, four seconds apart
                    found.append(pulse.stopped(child.pid, moment * 4.0))
                    time.sleep(0.2)
                listener.accept()[0].close()
            assert found[-1] is ended, work
            assert not pulse.stopped(child.pid, 100.0), "nobody calls any more"
            child.kill()
            child.communicate()


def test_what_a_killed_supervisor_left_is_removed_by_the_next_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A supervisor is killed. 2. One lives. 3. Another user's links and folders have such names.
    4. The next one starts and ends.

    Result: the first one's folder is gone, all else is there, and the links' targets too.
    """
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    hold = (
        "import sys; from vaultgpt.daemon.every import _SharedEngine; e = _SharedEngine(); "
        "print(e.place, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    killed, lives = (
        subprocess.Popen([sys.executable, "-c", hold], stdin=pipe, stdout=pipe, text=True)
        for _ in range(2)
    )
    places = [Path(process.stdout.readline().strip()) for process in (killed, lives)]  # type: ignore[union-attr]
    killed.kill()
    killed.wait()
    assert all(place.is_socket() and place.parent.parent == tmp_path for place in places)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "engine").write_text("a diary")
    (tmp_path / "vaultgpt-engine-link").symlink_to(precious)
    (tmp_path / "vaultgpt-engine-file").write_text("x")
    os.mkfifo(tmp_path / "vaultgpt-engine-fifo")
    full = tmp_path / "vaultgpt-engine-full"
    full.mkdir()
    (full / "a.md").write_text("x")
    theirs = tmp_path / "vaultgpt-engine-theirs"
    theirs.mkdir()
    if os.getuid() == 0:
        os.chown(theirs, 65534, 65534)
        theirs.chmod(0o777)
    engine = _SharedEngine()
    assert not places[0].parent.exists()
    assert places[1].is_socket() and lives.poll() is None
    assert (precious / "engine").read_text() == "a diary" and (full / "a.md").exists()
    assert theirs.exists() or os.getuid() != 0
    engine.stop()
    assert not Path(engine.place).parent.exists()
    lives.kill()
    lives.communicate()


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_runtime_folder_that_others_may_enter_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(mode)
    engine = _SharedEngine()
    place = Path(engine.place)
    assert place.parent.parent == Path(tempfile.gettempdir())
    assert place.parent.stat().st_mode & 0o777 == 0o700
    engine.stop()


async def test_an_engine_of_another_version_is_refused_and_told_of(
    tiny_llama: Path, voices: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. An upgrade has left an engine that runs. 2. A daemon of today connects. 3. Once more.
    4. `mirror.shared` is turned off.

    Result: one sentence, and the text from a process of its own; the old one is told no secret.
    With 4 the sentence goes.
    """
    heard = asyncio.Queue[bytes]()
    hellos: list[dict[str, object]] = [
        {"event": "hello", "pid": 1, "version": "0.0.9"},
        {"event": "hello", "pid": 1},
    ]

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame_of(hellos.pop(0)))
        heard.put_nowait(await reader.read())
        writer.close()

    settings = Mirror(device="cpu", threads=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SHARED, "s")
    tmp_path.chmod(0o700)
    async with await asyncio.start_unix_server(old, "s"):
        for version in ("0.0.9", "an older version"):
            vault = Vault(Opening(tiny_llama, "g000001", {"g000001": voices[0]}, settings))
            text, _ = await vault.write()
            assert text == alone(tiny_llama, voices[0])
            assert psutil.Process(vault.mirror.pid).ppid() == os.getpid()
            said = vault.mirror.problem
            assert version in said and __version__ in said and "serve --all" in said
            assert await asyncio.wait_for(heard.get(), 10) == b""
            await vault.mirror.stop()
            vault.opening = replace(vault.opening, settings=replace(settings, shared=False))
            await vault.mirror.open()
            assert not vault.mirror.problem, "it no longer asks for the shared one"
            await vault.mirror.stop()


def test_of_vaults_that_come_at_once_the_first_sets_the_threads() -> None:
    sessions = _Sessions()
    sessions._open = 2  # both are taken up before either has said what it wants
    assert [sessions._count_threads(wanted) for wanted in (4, 1, 2)] == [4, 4, 4]
    sessions._open = 1
    assert sessions._count_threads(2) == 2


def test_a_session_that_begins_while_another_packs_has_the_threads_of_all() -> None:
    """1. Who packs layers has left torch at one thread. 2. A session begins, in a thread of its
    own. Result: it has as many as the others; it would keep that one for as long as it lives."""
    found: list[int] = []
    ours, theirs = socket.socketpair()

    def begin() -> None:
        found.append(torch.get_num_threads())
        _Session(ours, _Turn(), lambda: 1.0, Commons, lambda wanted: 3)._own(Mirror())
        found.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
        ours.close()
        theirs.close()
    assert found == [1, 3]
