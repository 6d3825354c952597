"""`make soak`: every fault at every write, months of rounds in minutes, crowds at the door.

Prints one JSON row a fault: kind, seed or place, commit, verdict, memory, descriptors. Seeds are
fixed. With SOAK_S as the time for each part, fewer rows than asked is said at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

PARTS = ("kill", "ENOSPC", "EIO", "files", "cycles", "stopped", "load")
SEED = 22


class Soak:
    """Rows as they come, and the verdict over all."""

    def __init__(self, out: Path, limit_s: float, skip: int = 0) -> None:
        self._skip = skip
        self._out, self.limit_s, self.wrong = out.open("a"), limit_s, 0
        self.short: list[str] = []
        told = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        )
        self._commit = told.stdout.strip() or "?"
        self._me = psutil.Process()

    def row(self, kind: str, verdict: str, **more: Any) -> None:
        """One fault survived ("") or not."""
        self.wrong += bool(verdict)
        row = {
            "kind": kind,
            "seed": SEED,
            "commit": self._commit,
            **more,
            "verdict": verdict or "held",
            "rss_mb": round(self._me.memory_info().rss / 1e6, 1),
            "descriptors": self._me.num_fds(),
            "threads": self._me.num_threads(),
        }
        print(json.dumps(row), file=self._out, flush=True)
        if verdict:
            print(json.dumps(row), file=sys.stderr, flush=True)

    def size(self, disk: float) -> tuple[float, float, int, int]:
        """Bytes on the disk and in memory, descriptors, threads."""
        me = self._me
        return disk, float(me.memory_info().rss), me.num_fds(), me.num_threads()

    def each(self, kind: str, asked: list[Any], do: Callable[[Any], str], name: str) -> None:
        """`do` for each of what is asked while there is time; fewer is said."""
        end, done = time.monotonic() + self.limit_s, 0
        asked = asked[self._skip :]
        for one in asked:
            if time.monotonic() > end:
                break
            began = time.monotonic()
            verdict = do(one)
            self.row(kind, verdict, **{name: one}, seconds=round(time.monotonic() - began, 2))
            done += 1
        if done < len(asked):
            self.short.append(f"{kind}: {done} of {len(asked)}")


def faults(soak: Soak, place: Path, fault: Any) -> None:
    """A fault at each write of one life of a state, in an order drawn from the seed."""
    from tests.faults import faulty

    _, writes, _ = faulty.live(faulty.made(place / "whole"), 0, fault)
    order = list(range(1, writes + 1))
    random.Random(f"{SEED} {fault}").shuffle(order)

    def one(at: int) -> str:
        with _room(place) as room:
            vault = faulty.made(room / "v")
            done, _, odd = faulty.live(vault, at, fault)
            return "; ".join(odd) or faulty.check(vault, done)

    soak.each(fault, order, one, "write")


@contextlib.contextmanager
def _room(place: Path) -> Iterator[Path]:
    room = Path(tempfile.mkdtemp(dir=place))
    home = os.environ["VAULTGPT_HOME"]
    os.environ["VAULTGPT_HOME"] = str(room / "home")
    try:
        yield room
    finally:
        os.environ["VAULTGPT_HOME"] = home
        shutil.rmtree(room, ignore_errors=True)


def files(soak: Soak, place: Path) -> None:
    """A flipped bit at three places, a cut at three and emptiness, in every file of a state."""
    from tests.faults import faulty
    from tests.ledger.vaults import HOUR, NOW
    from vaultgpt.errors import VaultGPTError
    from vaultgpt.ledger import Ledger
    from vaultgpt.rounds.mend import repair

    first = faulty.made(place / "files")
    faulty.live(first, 0, "kill")
    kept = place / "kept"
    shutil.copytree(first.state.folder, kept)
    names = sorted(
        str(p.relative_to(kept))
        for p in kept.rglob("*")
        if p.is_file() and not p.name.endswith((".lock", "-wal", "-shm"))
    )
    asked = [f"{harm} {at} {name}" for name in names for harm in ("flip", "cut") for at in range(3)]

    def one(what: str) -> str:
        harm, _, name = what.split(" ", 2)
        shutil.rmtree(first.state.folder)
        shutil.copytree(kept, first.state.folder)
        path = first.state.folder / name
        size = path.stat().st_size
        where = random.Random(f"{SEED} {what}").randrange(max(1, size))
        if harm == "cut":
            os.truncate(path, where)
        elif size:
            data = bytearray(path.read_bytes())
            data[where] ^= 1 << (where % 8)
            path.write_bytes(data)
        try:
            with Ledger.open(first.state) as ledger:
                repair(first.state, ledger, NOW)
                first.record(ledger, NOW + HOUR)
                if ledger.paused():
                    return ""
                if "note004.md" not in {e.path for e in ledger.entries.all() if e.forgotten}:
                    return "the forgotten note is known no more, and nothing waits"
            return faulty.check(first, [])
        except VaultGPTError as error:
            return "" if error.mend else f"no mend is told: {error}"

    soak.each("files", asked, one, "harm")


def cycles(soak: Soak, place: Path, asked: int) -> None:
    """Train and swap over and over in one daemon, with faults sprinkled in: nothing may grow."""
    from tests.ledger.vaults import HOUR, NOW, Vault
    from tests.rounds.fakes import FakeTrainer
    from tests.tiny import tiny_model
    from tests.workers.test_workers import PROGRAM
    from vaultgpt.daemon.supervisor import Daemon
    from vaultgpt.rounds.run import run_round
    from vaultgpt.settings import load_settings, save_option
    from vaultgpt.wire import Prompt, Usage
    from vaultgpt.workers.mirror import MirrorProcess

    (place / "cycles").mkdir()
    vault = Vault(place / "cycles")
    vault.fill(40, paragraphs=3, words=30)
    save_option(vault.state.config, "base", str(tiny_model(place / "base")))
    settings = load_settings(vault.state.config)
    clock = [NOW]
    rng = random.Random(SEED)

    async def write(daemon: Daemon) -> str:
        async for item in daemon.generate(Prompt("I walked")):
            if isinstance(item, Usage):
                return item.generation
        return "nothing"

    async def go() -> None:
        daemon = Daemon(vault.state, settings, now=lambda: clock[0])
        daemon.writing.mirror = MirrorProcess(daemon.writing.opening, program=PROGRAM)
        end, done = time.monotonic() + soak.limit_s, 0
        sizes: list[tuple[float, float, int, int]] = []
        for number in range(asked):
            if time.monotonic() > end:
                break
            clock[0] += HOUR
            answer = await asyncio.to_thread(
                run_round,
                vault.state,
                settings,
                trainer=FakeTrainer(),
                now=lambda: clock[0],
                manual=True,
                fresh=True,
            )
            fault = rng.choice(["none"] * 6 + ["kill", "flip", "guard"])
            wanted = answer["generation"]
            if fault == "kill" and (pid := daemon.writing.mirror.pid):
                psutil.Process(pid).kill()
                daemon.writing.mirror._health.answered()
            if fault == "flip" and wanted is not None:
                await daemon.writing.mirror.stop()
                adapter = vault.state.generations / wanted / "adapter_model.safetensors"
                adapter.write_bytes(b"\0" + adapter.read_bytes()[1:])
            if fault == "guard":
                await daemon.writing.mirror.stop()
                for path in vault.state.runs.glob("n10-*.npy"):
                    os.truncate(path, 100)
            await daemon.writing.follow()
            daemon.note_emitted(f"and then it rained {number} times on the mill")
            try:
                voice = await write(daemon)
            except Exception as error:
                voice = type(error).__name__
                if fault == "kill":
                    voice = await write(daemon)
            right = voice == wanted if fault != "flip" else voice not in (wanted, "nothing")
            disk = sum(p.stat().st_size for p in vault.state.folder.rglob("*") if p.is_file())
            soak.row(
                "cycles",
                "" if right else f"{voice} wrote in place of {wanted}",
                cycle=number,
                fault=fault,
                disk_mb=round(disk / 1e6, 2),
            )
            for path in vault.state.generations.glob("damaged-*"):
                shutil.rmtree(path)
            sizes.append(soak.size(disk))
            done += 1
        if done < asked:
            soak.short.append(f"cycles: {done} of {asked}")
        verdict, told = _grown(sizes)
        soak.row("flat", verdict, **told)
        await daemon.stop()
        daemon.close()

    asyncio.run(go())


def _grown(sizes: list[tuple[float, float, int, int]]) -> tuple[str, dict[str, Any]]:
    """What a round adds once the first third has filled the caches; what of it is too much."""
    rest = sizes[len(sizes) // 3 :]
    if len(rest) < 40:  # the ledger's log is 4 MB after some 25 rounds
        return "", {}
    disk, rss, descriptors, threads = (
        (last - first) / (len(rest) - 1) for first, last in zip(rest[0], rest[-1], strict=True)
    )
    found = {"disk_kb": disk / 1e3, "rss_kb": rss / 1e3, "descriptors": descriptors}
    told = {f"{name}_a_round": round(value, 2) for name, value in found.items()}
    wrong = disk > 20e3 or rss > 100e3 or descriptors * len(rest) > 2 or threads * len(rest) > 2
    return "it grows" if wrong else "", told


def stopped(soak: Soak, place: Path) -> None:
    """8,000 files written, moved and deleted while the daemon is halted; then as a fresh scan."""
    import signal

    from vaultgpt.vault.reconcile import read_vault

    with _serving(place, "stopped") as daemon:
        daemon.scanned()
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGSTOP)
        root = daemon.state.vault
        for number in range(8000):
            folder = root / f"d{number % 40}"
            folder.mkdir(exist_ok=True)
            (folder / f"n{number}.md").write_text(f"Day {number}. It rained on the mill.\n")
        for number in range(0, 8000, 4):
            (root / f"d{number % 40}" / f"n{number}.md").unlink()
        for number in range(20):
            (root / f"d{number}").rename(root / f"moved{number}")
        daemon.process.send_signal(signal.SIGCONT)
        daemon.client.post("/v1/reload", {})
        wanted = len(read_vault(root, daemon.settings.rules, {}).read)
        end = time.monotonic() + 240
        while (notes := daemon.status()["notes"]) != wanted and time.monotonic() < end:
            time.sleep(0.5)
        verdict = "" if notes == wanted else f"{notes} notes, a fresh scan has {wanted}"
        soak.row("stopped", verdict, notes=notes, seconds=round(time.monotonic() - began, 1))


@contextlib.contextmanager
def _serving(place: Path, name: str) -> Iterator[Any]:
    from tests.daemon.conftest import age
    from tests.daemon.serving import Serving
    from tests.tiny import tiny_model, tiny_vault
    from vaultgpt.settings import load_settings, save_option
    from vaultgpt.state import create_state

    vault = place / name
    tiny_vault(vault)
    age(vault)
    state = create_state(vault)
    base = place / "base"
    if not base.exists():
        tiny_model(base)
    for key, value in (("base", str(base)), ("mirror.threads", 1), ("training.pause", True)):
        save_option(state.config, key, value)
    with Serving(state) as daemon:
        daemon.settings = load_settings(state.config)  # type: ignore[attr-defined]
        yield daemon


def load(soak: Soak, place: Path) -> None:
    """50 clients, slow readers, half-open connections, 10 MB bodies and header bombs; afterwards a
    lone user's first token takes at most 1.2 times what it took before."""
    with _serving(place, "load") as daemon:
        daemon.scanned()
        body = {"prompt": "I walked along the river and", "max_tokens": 8, "seed": 1}

        def first_token() -> float:
            times = []
            for number in range(9):
                asked = {**body, "prompt": f"{body['prompt']} {number} "}
                times.append(float(daemon.ask(**asked)["vaultgpt"]["first_token_ms"]))
            return statistics.median(times[2:])

        before, process = first_token(), psutil.Process(daemon.process.pid)
        fds, rss = process.num_fds(), process.memory_info().rss
        port, token = daemon.client.port, daemon.client.token
        counts = {"answered": 0, "refused": 0, "cut off": 0}

        def client(number: int) -> None:
            sent = _abuse(number, token)
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as opened:
                    opened.sendall(sent)
                    if number % 5 == 1:
                        time.sleep(12)  # half open, or a reader that does not read
                    said = opened.recv(64)
            except OSError:
                said = b""
            kind = "answered" if b" 200 " in said else "refused" if said else "cut off"
            counts[kind] += 1

        began = time.monotonic()
        for _ in range(3):
            threads = [threading.Thread(target=client, args=(n,)) for n in range(50)]
            for one in threads:
                one.start()
            for one in threads:
                one.join(90)
        seconds = time.monotonic() - began
        deadline = time.monotonic() + 15
        while process.num_fds() > fds + 4 and time.monotonic() < deadline:
            time.sleep(0.5)
        after = first_token()
        grown = process.num_fds() - fds
        verdict = "" if after <= 1.2 * before + 2 else f"{after:.0f} ms after {before:.0f} ms"
        verdict = verdict or ("" if grown <= 4 else f"{grown} descriptors more")
        soak.row(
            "load",
            verdict,
            clients=150,
            **counts,
            seconds=round(seconds, 1),
            first_token_ms=[round(before, 1), round(after, 1)],
            daemon_descriptors=[fds, fds + grown],
            daemon_rss_mb=[round(rss / 1e6), round(process.memory_info().rss / 1e6)],
        )


def _abuse(number: int, token: str) -> bytes:
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\n"
    )
    ask = json.dumps({"prompt": f"I walked {number}", "max_tokens": 6, "stream": number % 2 == 0})
    whole = f"{head}Content-Length: {len(ask)}\r\n\r\n{ask}".encode()
    return [
        whole,
        f"{head}Content-Length: 50\r\n".encode(),  # half a head
        f"{head}Content-Length: {10 << 20}\r\n\r\n".encode() + b"x" * (10 << 20),
        head.encode() + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"".join([head.encode(), *(b"X-%d: y\r\n" % n for n in range(5000)), b"\r\n"]),
    ][number % 5]


def main() -> int:
    """The exit status: 1 when anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help=f"of {', '.join(PARTS)}; else all")
    parser.add_argument("--out", type=Path, default=Path("build/soak.jsonl"))
    parser.add_argument("--limit-s", type=float, default=3600.0, help="for each part")
    parser.add_argument("--cycles", type=int, default=300)
    parser.add_argument("--skip", type=int, default=0, help="rows of a part done before")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    soak = Soak(asked.out, asked.limit_s, asked.skip)
    with tempfile.TemporaryDirectory() as place:
        os.environ["VAULTGPT_HOME"] = str(Path(place) / "home")
        for part in asked.parts or PARTS:
            room = Path(place) / part
            room.mkdir()
            if part in ("kill", "ENOSPC", "EIO"):
                faults(soak, room, part)
            elif part == "cycles":
                cycles(soak, room, asked.cycles)
            else:
                {"files": files, "stopped": stopped, "load": load}[part](soak, room)
    for said in soak.short:
        print(f"fewer rows than asked: {said}")
    print(f"{'all held' if not soak.wrong else f'{soak.wrong} did not hold'}; rows: {asked.out}")
    return bool(soak.wrong)


if __name__ == "__main__":
    raise SystemExit(main())
