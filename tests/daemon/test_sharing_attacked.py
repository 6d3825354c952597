"""What was never tried of the shared engine: leaving, swapping and unloading beside who writes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO, Any, cast

import psutil
import pytest

from tests.daemon.conftest import until
from tests.daemon.household import ASKED, LONG, Vault, alone
from tests.daemon.serving import wait_for
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.daemon.every import _SharedEngine
from vaultgpt.errors import VaultGPTError
from vaultgpt.mirror.attention import KV
from vaultgpt.mirror.decoding import PrefixStore
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.mirror_worker import Inbox, Worker
from vaultgpt.mirror.sequences import Sequences
from vaultgpt.mirror.sharing import _Sessions
from vaultgpt.mirror.weights import LoraFactors
from vaultgpt.settings import Mirror
from vaultgpt.wire import (
    MirrorAnswer,
    MirrorOrder,
    Piece,
    Prompt,
    Sampling,
    Usage,
    WriteOrder,
    frame_of,
    read_frame,
)
from vaultgpt.workers.mirror import SHARED, Opening

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a socket of Unix")
THREADS = Mirror(device="cpu", threads=1)


@contextlib.asynccontextmanager
async def writing(vault: Vault, wanted: str) -> AsyncIterator[list[int]]:
    """The vault writes on meanwhile; each text must be `wanted`. Yields the count so far."""
    count, over = [0], asyncio.Event()

    async def go_on() -> None:
        while not over.is_set():
            assert (await vault.write())[0] == wanted
            count[0] += 1

    task = asyncio.create_task(go_on())
    try:
        yield count
        before = count[0]
        await until(lambda: count[0] > before or task.done())
    finally:
        over.set()
        await task


def rss_mb(pid: int | None) -> float:
    return psutil.Process(pid).memory_info().rss / 2**20


async def test_a_hundred_clients_that_leave_in_the_middle_disturb_nobody_and_leave_nothing(
    two: list[Vault],
) -> None:
    """1. One vault writes on. 2. Clients of another leave: before a word, in the prompt, later.

    Result: the first one's texts; the second's next is whole; no thread, descriptor, memory more.
    """
    busy, quiet = two
    own, other = (await busy.write())[0], (await quiet.write())[0]
    engine = psutil.Process(busy.mirror.pid)
    before: tuple[int, int, float] | None = None
    async with writing(quiet, other):
        for number in range(100):
            prompt = replace(LONG, text=f"{number} " * (number % 7) + LONG.text, seed=number)
            items = cast("AsyncGenerator[Piece | Usage]", busy.mirror.generate(prompt))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.002 * (number % 5)):
                    async for _ in items:
                        pass
            await items.aclose()
            if number == 30:
                before = engine.num_fds(), engine.num_threads(), rss_mb(engine.pid)
    assert before is not None
    assert (await busy.write())[0] == own and busy.mirror.pid == engine.pid
    assert (engine.num_fds(), engine.num_threads()) == before[:2]
    assert rss_mb(engine.pid) < before[2] * 1.1 + 10


async def test_a_voice_is_swapped_while_its_vault_and_another_write(
    two: list[Vault], tiny_llama: Path, voices: list[Path]
) -> None:
    """1. Both write on. 2. One's voice changes 12 times: two generations, the base, one forgotten.

    Result: every answer is that of the generation it names; the other's are always its own.
    """
    first, second = two
    folders = {"g000001": voices[0], "g000002": voices[1]}
    texts = {g: alone(tiny_llama, folder) for g, folder in folders.items()}
    texts["base"] = alone(tiny_llama, None)
    wanted, (own, _) = texts["g000002"], await second.write()
    assert own == wanted and len(set(texts.values())) == 3
    told: list[tuple[str, str]] = []
    over = asyncio.Event()

    async def write_on() -> None:
        while not over.is_set():
            text, usage = await first.write()
            told.append((usage.generation, text))

    async with writing(second, own):
        tasks = [asyncio.create_task(write_on()) for _ in range(2)]
        for active in (*folders, None) * 4:
            kept = folders if active else {"g000002": voices[1]}  # g000001 was forgotten
            first.opening = replace(first.opening, active=active, generations=kept)
            await first.mirror.activate()
            seen = len(told)
            while len(told) < seen + 2:
                await asyncio.sleep(0.01)
            assert told[-1][0] == (active or "base")
        over.set()
        await asyncio.gather(*tasks)
    assert {generation for generation, _ in told} == set(texts)
    assert all(text == texts[generation] for generation, text in told)


async def test_a_vault_of_another_base_writes_in_the_same_engine(
    two: list[Vault], tiny_gpt2: Path
) -> None:
    first, _ = two
    own, _ = await first.write()
    stranger = Vault(Opening(tiny_gpt2, None, {}, THREADS))
    async with writing(first, own):
        assert (await stranger.write())[0] == alone(tiny_gpt2, None)
    assert stranger.mirror.pid == first.mirror.pid
    await stranger.mirror.stop()
    assert (await first.write())[0] == own


async def test_a_base_that_is_replaced_is_read_anew_by_who_opens_it_and_by_nobody_else(
    shared: _SharedEngine, tiny_llama: Path, tiny_writer: Path, tmp_path: Path
) -> None:
    """1. A vault writes on a base. 2. Other files take its place. 3. Another vault opens it.

    Result: the first writes on as before, the second what the new files write.
    """
    base = shutil.copytree(tiny_llama, tmp_path / "base")
    settings = THREADS
    first, second = (Vault(Opening(base, None, {}, settings)) for _ in range(2))
    own, _ = await first.write()
    for path in tiny_writer.iterdir():
        shutil.copyfile(path, tmp_path / "part")
        os.replace(tmp_path / "part", base / path.name)
    wanted = alone(tiny_writer, None)
    assert wanted != own
    assert (await second.write())[0] == wanted and first.mirror.pid == second.mirror.pid
    assert (await first.write())[0] == own, "it was verified with the old files"
    for vault in (first, second):
        await vault.mirror.stop()
    assert (await first.write())[0] == wanted
    await first.mirror.stop()


DAEMON = """
import asyncio, os, sys
from pathlib import Path
from vaultgpt.settings import Mirror
from vaultgpt.wire import Prompt, Sampling
from vaultgpt.workers.mirror import MirrorProcess, Opening
opening = Opening(Path(sys.argv[1]), None, {}, Mirror(device="cpu", threads=1))
async def asked(): return opening
async def main():
    mirror = MirrorProcess(asked)
    free = Sampling(guard=False)
    prompt = Prompt("It rained.", n=16, max_tokens=400, length="tokens", sampling=free)
    async for _ in mirror.generate(prompt):
        print(mirror.pid, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_daemon_that_is_killed_or_halted_while_it_writes_holds_nobody_up(
    two: list[Vault], tiny_llama: Path, number: signal.Signals
) -> None:
    """1. A vault writes. 2. Another's daemon is killed, or halted, in the middle of an answer.

    Result: the first writes on; what was killed leaves no session behind.
    """
    first, _ = two
    own, _ = await first.write()
    engine = psutil.Process(first.mirror.pid)
    before = engine.num_fds(), engine.num_threads()
    command = [sys.executable, "-c", DAEMON, str(tiny_llama)]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, SHARED: os.environ[SHARED]}
    daemon = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    assert await asyncio.to_thread(daemon.stdout.readline) == f"{engine.pid}\n"
    async with writing(first, own) as count:
        daemon.send_signal(number)
        await until(lambda: count[0] >= 5)
    daemon.kill()
    await asyncio.to_thread(daemon.wait)
    daemon.stdout.close()
    await until(lambda: (engine.num_fds(), engine.num_threads()) == before)


async def test_an_idle_vault_gives_its_memory_back_and_the_next_hotkey_works(
    shared: _SharedEngine, tiny_llama: Path, tmp_path: Path
) -> None:
    """1. Six vaults with a guard of 4 MB each write. 2. All but one rest. 3. They write again.

    Result: the engine gives their part back; the same texts come again, from the same process.
    """
    vaults = []
    for number in range(6):
        folder = tmp_path / f"runs{number}"
        vaults.append(Vault(Opening(tiny_llama, None, {}, THREADS, folder, os.urandom(32))))
    texts = [(await vault.write())[0] for vault in vaults]
    engine = psutil.Process(shared.pid)
    full = engine.num_threads(), rss_mb(engine.pid)
    for vault in vaults[1:]:
        vault.mirror._go()
    await until(lambda: engine.num_threads() <= full[0] - 10)
    assert rss_mb(engine.pid) <= full[1] + 1
    assert not any(vault.mirror.running for vault in vaults[1:])
    assert [(await vault.write())[0] for vault in vaults] == texts
    assert {vault.mirror.pid for vault in vaults} == {engine.pid}
    for vault in vaults:
        await vault.mirror.stop()


@pytest.mark.parametrize("apart", [False, True])
async def test_a_request_that_comes_as_an_idle_mirror_leaves_is_answered(
    two: list[Vault], apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A mirror's time is over. 2. At that moment a request comes, then one a step later, ...

    Result: each is answered, by a session or a process of its own alike; no death is told of.
    """
    if apart:
        monkeypatch.delenv(SHARED)
    first, _ = two
    wanted, _ = await first.write()
    for steps in range(6):
        first.mirror._go()
        for _ in range(steps):
            await asyncio.sleep(0)
        assert (await first.write())[0] == wanted, steps
        assert not first.mirror.problem
    first.mirror._go()
    await first.mirror.stop()


async def test_three_hundred_requests_of_five_vaults_leave_the_memory_flat(
    shared: _SharedEngine, tiny_llama: Path, voices: list[Path], tmp_path: Path
) -> None:
    """Warm, generate, several alternatives and swaps; the memory after 100 holds for all 300."""
    vaults = []
    for number in range(5):
        known = {f"g{n:06d}": voice for n, voice in enumerate(voices, 1)}
        folder, secret = tmp_path / f"runs{number}", os.urandom(32)
        vaults.append(Vault(Opening(tiny_llama, "g000001", known, THREADS, folder, secret)))
    figures: list[tuple[float, int, int]] = []
    for number in range(300):
        vault = vaults[number % 5]
        text = " ".join(f"day {number} of {number % 31}" for _ in range(8))
        prompt = replace(ASKED, text=text, seed=number, n=1 + number % 3, max_tokens=16)
        if number % 4 == 3:
            await vault.mirror.warm(prompt)
        await vault.write(prompt)
        if number % 25 == 24:
            other = "g000002" if vault.opening.active == "g000001" else "g000001"
            vault.opening = replace(vault.opening, active=other)
            await vault.mirror.activate()
        if number in (99, 299):
            engine = psutil.Process(shared.pid)
            figures.append((rss_mb(engine.pid), engine.num_fds(), engine.num_threads()))
    assert len({vault.mirror.pid for vault in vaults}) == 1
    assert figures[1][1:] == figures[0][1:]
    assert figures[1][0] < figures[0][0] + 8, figures
    for vault in vaults:
        await vault.mirror.stop()


# What another vault does must change nothing of one's own answers ---------------------------------


def moves(number: int, secret: str) -> list[tuple[str, Any]]:
    """What a vault asks, of all kinds; the secret is in its prompts, titles and tags."""
    chance, found = random.Random(number), list[tuple[str, Any]]()
    for step in range(24):
        text = f"The old dog waited for {secret} on day {chance.randrange(9)}."
        prompt = Prompt(
            text * chance.choice((1, 1, 4)),
            seed=chance.randrange(1000),
            max_tokens=chance.choice((8, 40)),
            n=chance.choice((1, 1, 3)),
            length=chance.choice(("tokens", "sentence")),
            tags=(secret,) if chance.random() < 0.3 else (),
            title=secret if chance.random() < 0.3 else None,
            model=chance.choice(("mirror", "mirror", "base")),
            sampling=Sampling(
                temperature=chance.choice((0.0, 0.8)),
                tag_strength=chance.choice((1.0, 1.5)),
                voice=chance.choice((0.0, 0.0, 0.4)),
            ),
        )
        kind = chance.choice(
            ("write", "write", "write", "warm", "leave", "swap", "learn", "nobody")
        )
        found.append((kind, prompt))
        found.append(("write", prompt)) if step % 6 == 5 else None
    return found


async def play(vault: Vault, number: int, secret: str) -> list[object]:
    """Do them; all that was answered but how long it took."""
    heard: list[object] = []
    runs = vault.opening.runs
    assert runs is not None
    for kind, prompt in moves(number, secret):
        try:
            if kind == "write":
                said = [item async for item in vault.mirror.generate(prompt)]
                for item in said:
                    if isinstance(item, Usage):
                        item = replace(item, first_token_ms=0.0, tokens_per_s=None)
                    heard.append(item)
            elif kind == "warm":
                heard.append(await vault.mirror.warm(prompt))
            elif kind == "leave":
                page = replace(prompt, n=8, max_tokens=200)
                items = cast("AsyncGenerator[Piece | Usage]", vault.mirror.generate(page))
                heard.append(isinstance(await anext(items), Piece))
                await items.aclose()
            elif kind == "swap":
                active = None if vault.opening.active else "g000001"
                vault.opening = replace(vault.opening, active=active)
                await vault.mirror.activate()
                heard.append(vault.mirror.active)
            elif kind == "learn":
                index = RunIndex(runs, vault.opening.secret).load()
                words = " ".join(random.Random(number).choices(prompt.text.split(), k=30))
                index.add([words])
                await vault.mirror.reload_runs()
            else:
                await vault.write(replace(prompt, model="g000009"))
        except VaultGPTError as error:
            heard.append((error.code, str(error)))
    heard += [vault.mirror.problem, vault.mirror.ready.dtype, vault.mirror.active]
    return heard


async def test_nothing_that_one_vault_does_changes_a_word_of_what_another_hears(
    shared: _SharedEngine, tiny_llama: Path, voices: list[Path], tmp_path: Path
) -> None:
    """1. A vault asks 28 things of all kinds: texts, caches, refusals, swaps, its guard. 2. Again,
    while another does the like with its own voice and secret. 3. And again with another secret.

    Result: the same in all three worlds, piece by piece, what was cached too; no secret in it.
    """
    worlds: list[list[object]] = []
    silent = Vault(Opening(tiny_llama, None, {}, THREADS))  # so that weights are shared in each
    await silent.write()
    for world, secret in enumerate(("", "marzipanorchard", "quincejelly")):
        made = []
        for number, voice in enumerate(voices):
            folder = tmp_path / f"runs{world}{number}"
            opening = Opening(tiny_llama, "g000001", {"g000001": voice}, THREADS, folder, b"k" * 32)
            made.append(Vault(opening))
        one, other = made
        stop = asyncio.Event()

        async def trouble(other: Vault = other, secret: str = secret, stop: Any = stop) -> None:
            number = 100
            while secret and not stop.is_set():
                await play(other, number, secret)
                number += 1

        task = asyncio.create_task(trouble())
        worlds.append(await play(one, 7, "the ferry"))
        stop.set()
        await task
        for vault in made:
            await vault.mirror.stop()
    await silent.mirror.stop()
    assert len(worlds[0]) > 60
    assert worlds[0] == worlds[1] == worlds[2]
    assert not any(s in str(worlds) for s in ("marzipanorchard", "quincejelly"))


def ask(
    line: socket.socket, stream: IO[bytes], order: MirrorOrder, last: str
) -> list[MirrorAnswer]:
    """Send an order; all that is answered, up to the event `last`."""
    line.sendall(frame_of(order))
    heard: list[MirrorAnswer] = []
    while not heard or heard[-1]["event"] != last:
        found: MirrorAnswer | None = read_frame(stream)
        assert found is not None and found["event"] != "error", found
        heard.append(found)
    return heard


def holds(words: Sequence[str]) -> list[str]:
    """The kinds of objects here that hold a text with one of these words in it."""

    def text(held: object) -> str:
        if type(held) is bytes:
            return held.decode("latin-1")
        return held if type(held) is str else ""

    return [
        type(holder).__name__
        for holder in gc.get_objects()
        if holder is not words and type(holder) is not FrameType
        for held in gc.get_referents(holder)
        if (found := text(held)) and any(word in found for word in words)
    ]


def test_nothing_of_a_session_that_has_left_is_held_by_anything(
    tiny_llama: Path, voices: list[Path], tmp_path: Path
) -> None:
    """1. Two sessions write, one of them with words of its own; it leaves. 2. Every living object
    is looked at, from within.

    Result: no engine, cache, guard or session more than before it came, and none of its words.
    """
    words = ["fenugreek" + "causeway", "saxifrage" + "turnstile"]  # that no other test holds
    prompt = f"I saw the {words[0]} and"
    kinds = (Engine, PrefixStore, KV, RunIndex, Inbox, Worker, Sequences, LoraFactors)

    def count() -> list[int]:
        gc.collect()
        found = [type(each) for each in gc.get_objects()]
        return [sum(issubclass(each, kind) for each in found) for kind in kinds]

    def session(voice: Path, number: int) -> tuple[socket.socket, IO[bytes]]:
        line = socket.socket(socket.AF_UNIX)
        line.connect("s")
        stream = cast("IO[bytes]", line.makefile("rb"))
        assert (read_frame(stream) or {})["event"] == "hello"
        runs, secret = tmp_path / f"runs{number}", b"k" * 32
        opening = Opening(tiny_llama, "g000001", {"g000001": voice}, THREADS, runs, secret)
        ask(line, stream, opening.order(1), "ready")
        return line, stream

    def write(of: tuple[socket.socket, IO[bytes]], text: str) -> None:
        for n in (1, 3):
            asked = replace(ASKED, text=text, title=text, tags=(words[1],), n=n, max_tokens=12)
            order: WriteOrder = {"op": "generate", "id": n, "prompt": asked.to_json()}
            ask(*of, order, "usage")

    with contextlib.chdir(tmp_path), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        listener.listen(4)
        sessions = _Sessions()
        serving = threading.Thread(target=sessions.serve, args=(listener,), daemon=True)
        serving.start()
        stays = session(voices[0], 0)
        ask(*stays, {"op": "warm", "id": 1, "prompt": replace(ASKED).to_json()}, "warmed")
        before, threads = count(), threading.active_count()
        goes = session(voices[1], 1)
        write(goes, prompt)
        assert count() != before and holds(words), "it is found while it is there"
        for end in goes:
            end.close()
        del goes
        wait_for(lambda: threading.active_count() == threads)
        ask(*stays, {"op": "warm", "id": 2, "prompt": replace(ASKED).to_json()}, "warmed")
        wait_for(lambda: count() == before)
        del prompt
        assert not holds(words)
        for end in stays:
            end.close()
        serving.join(10)
        assert not serving.is_alive()
