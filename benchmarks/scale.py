"""What N notes cost: a first scan, nothing changed, one note changed, an idle daemon, a plan.

The notes are made of the example vault's own words, cut into pieces of a few words and put together
anew, so that no two paragraphs are alike. python -m benchmarks.scale [--sizes 1000 10000 100000]
Every step runs in a process of its own, whose processor time and peak memory are told. The daemons
of all sizes idle at the same time, and meanwhile swap.py takes voices up (`--voices BASE ...`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

NEW_WORDS = 1_500  # that a round is planned for
TAGS = ("journal", "dream", "poetry", "reading", "work", "")


def pieces(vault: Path) -> list[list[str]]:
    """The example's prose as runs of three to seven words."""
    rng = random.Random(1)
    out = []
    for path in sorted(vault.rglob("*.md")):
        text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text("utf-8", "replace"), flags=re.S)
        for paragraph in re.split(r"\n\s*\n", text):
            words = re.findall(r"[^\W\d_][^\s#*\[\]|]*", paragraph)
            at = 0
            while len(words) - at >= 3:
                size = rng.randint(3, 7)
                out.append(words[at : at + size])
                at += size
    return out


def paragraph(rng: random.Random, parts: list[list[str]]) -> str:
    """Some forty words in three sentences."""
    said = []
    for _ in range(3):
        words = [w for _ in range(rng.choice((2, 3, 3, 3))) for w in rng.choice(parts)]
        said.append(" ".join(words).rstrip(".,;:") + ".")
    return " ".join(said)


def note(rng: random.Random, parts: list[list[str]], number: int) -> str:
    """Some 105 words under front matter: two to three paragraphs."""
    body = "\n\n".join(paragraph(rng, parts) for _ in range(rng.choice((2, 3))))
    tag = TAGS[number % len(TAGS)]
    date = f"{2005 + number % 20}-{1 + number % 12:02d}-{1 + number % 28:02d}"
    head = f"date: {date}\n" + (f"tags: [{tag}]\n" if tag else "")
    return f"---\n{head}---\n{body}\n"


def make_vault(folder: Path, notes: int, seed: int = 1) -> dict[str, int]:
    """`notes` files in folders of a hundred; their bytes in all and those of prose."""
    rng, parts = random.Random(seed), pieces(ROOT / "examples" / "vault")
    old, size = time.time() - 10 * 86_400, 0
    for number in range(notes):
        place = folder / f"{2005 + number % 20}" / f"{number // 100:04d}" / f"note {number:06d}.md"
        if number % 100 < 20:
            place.parent.mkdir(parents=True, exist_ok=True)
        text = note(rng, parts, number)
        size += len(text.split("---\n", 2)[2])
        place.write_text(text, encoding="utf-8")
        os.utime(place, (old, old))
    return {"notes": notes, "prose_bytes": size}


# What is measured, each by `python scale.py --step NAME VAULT` -----------------------------------


def _settle(state: Any, settings: Any) -> dict[str, Any]:
    """Bring the ledger in step with the folder, as the daemon and the command line do."""
    from vaultgpt.ledger import Ledger

    with Ledger.open(state) as ledger:
        return {"read": ledger.follow(settings.rules, time.time()).read}


def _again(state: Any, settings: Any) -> dict[str, Any]:
    """What the daemon does when nothing has changed: its comparison alone, without a start."""
    from vaultgpt.ledger import Ledger

    with Ledger.open(state) as ledger:
        ledger.follow(settings.rules, time.time())
        began, spent = time.perf_counter(), time.process_time()
        found = ledger.follow(settings.rules, time.time())
        return {
            "compare_s": round(time.perf_counter() - began, 3),
            "compare_cpu_s": round(time.process_time() - spent, 3),
            "read": found.read,
        }


def _due(state: Any, settings: Any) -> dict[str, Any]:
    """What the daemon asks once a minute: is a round due, now or at night?"""
    from vaultgpt.ledger import Ledger
    from vaultgpt.rounds.run import what_is_due
    from vaultgpt.training.round import Asked

    with Ledger.open(state) as ledger:
        for _ in range(2):  # the first one counts what is new
            began, spent = time.perf_counter(), time.process_time()
            what_is_due(state, settings, ledger, time.time())
            what_is_due(state, settings, ledger, time.time(), Asked(nightly=True))
        return {
            "due_s": round(time.perf_counter() - began, 3),
            "due_cpu_s": round(time.process_time() - spent, 3),
        }


def _plan(state: Any, settings: Any) -> dict[str, Any]:
    """The next round's plan with 1,500 new words, all else being learned."""
    from vaultgpt.bases.names import resolve
    from vaultgpt.ledger import Ledger
    from vaultgpt.training.plan import plan
    from vaultgpt.training.round import Asked

    base = resolve("pebble", state)
    with Ledger.open(state) as ledger:
        began, spent = time.perf_counter(), time.process_time()
        found = plan(ledger, settings, base, time.time(), Asked(manual=True))
        return {
            "plan_s": round(time.perf_counter() - began, 2),
            "plan_cpu_s": round(time.process_time() - spent, 2),
            "kind": found.kind,
            "entries": len(found.entry_ids),
        }


def _job(state: Any, settings: Any) -> dict[str, Any]:
    """What a round with these 1,500 new words learns from and is judged by, read from the vault."""
    from vaultgpt.bases.names import resolve
    from vaultgpt.ledger import Ledger
    from vaultgpt.training.assemble import Places, build_job, reader
    from vaultgpt.training.plan import plan
    from vaultgpt.training.round import Asked

    base, now, opened = resolve("pebble", state), time.time(), 0
    read = reader(state.vault, settings.rules)

    def counted(paths: Any) -> Any:
        nonlocal opened
        for scanned in read(paths):
            opened += 1
            yield scanned

    places = Places(state.staging / "out", None, None, {}, None, None)
    with Ledger.open(state) as ledger:
        found = plan(ledger, settings, base, now, Asked(manual=True))
        began, spent = time.perf_counter(), time.process_time()
        made = build_job(
            ledger, settings, base, found, now, read=counted, places=places, manual=True
        )
        return {
            "job_s": round(time.perf_counter() - began, 2),
            "job_cpu_s": round(time.process_time() - spent, 2),
            "opened": opened,
            "items": len(made.job.items),
        }


def _learn(state: Any, settings: Any) -> dict[str, Any]:
    """Enter a generation that learned all that is there, as a promoted round would."""
    from vaultgpt.bases.names import resolve
    from vaultgpt.ledger import GenerationRow, Ledger

    base, now = resolve("pebble", state), time.time()
    with Ledger.open(state) as ledger:
        rows = [
            (entry, p.digest, p.words)
            for entry, found in ledger.entries.paragraphs().items()
            for p in found
        ]
        row = GenerationRow(
            "g000001",
            1,
            "fresh",
            None,
            base.name,
            base.sha256,
            now,
            True,
            "kept",
            settings.training.rank,
            settings.training.embedding,
            sum(words for _, _, words in rows),
        )
        ledger.generations.add(row, rows)
        ledger.generations.activate("g000001", now)
    return {"learned": len(rows)}


STEPS = {
    "settle": _settle,
    "again": _again,
    "due": _due,
    "plan": _plan,
    "job": _job,
    "learn": _learn,
}


def step(name: str, vault: Path) -> None:
    """Do one of STEPS and print what it says as JSON."""
    from vaultgpt.settings import load_settings
    from vaultgpt.state import find_state

    state = find_state(vault)
    began = time.perf_counter()
    said = STEPS[name](state, load_settings(state.config))
    said["inside_s"] = time.perf_counter() - began
    print(json.dumps(said))


def measured(command: list[str], *, keep: bool = False) -> dict[str, Any]:
    """A process's seconds of the clock and of processors (its children's too), its peak in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE if keep else subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    said = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command[:4])} ended with {status}")
    found = {
        "s": round(wall, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }
    return found | (json.loads(said) if keep else {})


def ours(*arguments: str) -> list[str]:
    """A vaultgpt command."""
    return [sys.executable, "-m", "vaultgpt", *arguments]


def alone(name: str, vault: Path) -> dict[str, Any]:
    """One of STEPS in a process of its own."""
    return measured([sys.executable, __file__, "--step", name, str(vault)], keep=True)


def best(command: list[str], times: int) -> dict[str, Any]:
    """The fastest of some runs: others use this machine too."""
    return min((measured(command) for _ in range(times)), key=lambda row: row["s"])


class Daemon:
    """A vault's daemon, from its start until it rests."""

    def __init__(self, vault: Path, state: Any) -> None:
        self.vault, self.state = vault, state
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            ours("serve", str(vault), "--port", "0"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.own = psutil.Process(self._process.pid)

    def started(self) -> dict[str, Any]:
        """Seconds to its first answer and to its rest, and what it takes then."""
        from vaultgpt.tasks.client import find_daemon

        while (client := find_daemon(self.state)) is None:
            if time.perf_counter() - self._began > 120:
                raise SystemExit("The daemon did not start.")
            time.sleep(0.02)
        listening_s = time.perf_counter() - self._began
        client.get("/v1/status")
        answer_s = time.perf_counter() - self._began
        settled_s = _quiet(self.own, self._began)
        return {
            "listening_s": round(listening_s, 2),
            "first_status_s": round(answer_s, 2),
            "settled_s": round(settled_s, 1),
            "start_cpu_s": round(sum(self.own.cpu_times()[:2]), 2),
            "start_peak_mb": _peak(self.own.pid),
            "rss_mb": self.rss_mb(),
            "asked": best(ours("status", str(self.vault), "--json"), 3),
        }

    def changed(self) -> dict[str, Any]:
        """What one changed note costs it."""
        from vaultgpt.tasks.client import find_daemon

        found = _changed(find_daemon(self.state), self.own, self.vault)
        return {**found, "rss_after_change_mb": self.rss_mb()}

    def rss_mb(self) -> float:
        """Its memory now, in MB."""
        return round(self.own.memory_info().rss / 2**20, 1)

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)


def _quiet(own: psutil.Process, began: float) -> float:
    """Seconds from the start until a whole second passed with under 2 % of a core."""
    while True:
        before = sum(own.cpu_times()[:2])
        time.sleep(1.0)
        if sum(own.cpu_times()[:2]) - before < 0.02:
            return time.perf_counter() - began


def _peak(pid: int) -> float | None:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    return round(int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) / 1024, 1)


def _switches(own: psutil.Process) -> int:
    """Wake-ups of all its threads so far."""
    tasks = Path(f"/proc/{own.pid}/task")
    if not tasks.exists():
        return 0
    texts = [(p / "status").read_text() for p in tasks.iterdir()]
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", t, re.M)[0]) for t in texts)


def idle(
    daemons: dict[int, Daemon], idle_s: float, meanwhile: Callable[[], None]
) -> dict[int, dict[str, Any]]:
    """What each of them did while none had anything to do, another process may have."""

    def spent() -> dict[int, tuple[float, int]]:
        return {n: (sum(d.own.cpu_times()[:2]), _switches(d.own)) for n, d in daemons.items()}

    before, began = spent(), time.monotonic()
    meanwhile()
    time.sleep(max(0.0, began + idle_s - time.monotonic()))
    after, idle_s = spent(), time.monotonic() - began
    return {
        n: {
            "idle_percent": round(100 * (after[n][0] - before[n][0]) / idle_s, 3),
            "idle_wakes_per_minute": round(60 * (after[n][1] - before[n][1]) / idle_s, 1),
        }
        for n in daemons
    }


def _changed(client: Any, own: psutil.Process, vault: Path) -> dict[str, Any]:
    """Processor time of the daemon and its reader until a changed note is told of."""
    before = sum(own.cpu_times()[:2])
    events, began = client.stream("/v1/events"), time.perf_counter()
    change(vault, "changed under the daemon")
    for name, _ in events:
        if name == "scan":
            break
    return {
        "changed_known_after_s": round(time.perf_counter() - began, 2),
        "changed_cpu_s": round(sum(own.cpu_times()[:2]) - before, 2),
    }


def change(vault: Path, mark: str, words: int = 30) -> None:
    """Add a paragraph to one note."""
    rng = random.Random(mark)
    parts = pieces(ROOT / "examples" / "vault")
    said: list[str] = []
    while len(said) < words:
        said += rng.choice(parts)
    place = sorted(vault.rglob("*.md"))[0]
    place.write_text(place.read_text("utf-8") + "\n" + " ".join(said) + ".\n", encoding="utf-8")


def sizes_of(state: Any) -> dict[str, float]:
    """MB of the ledger and of the guard's index."""
    ledger = sum(p.stat().st_size for p in state.folder.glob("ledger*") if p.is_file())
    runs = sum(p.stat().st_size for p in state.runs.glob("*")) if state.runs.exists() else 0
    return {"ledger_mb": round(ledger / 1e6, 3), "guard_mb": round(runs / 1e6, 1)}


def told(size: int, what: str) -> None:
    """Say on the terminal what comes next."""
    print(f"{time.strftime('%H:%M:%S')} {size:,} notes: {what}", file=sys.stderr, flush=True)


class Size:
    """A vault of so many notes with a state of its own, and what was found of it."""

    def __init__(self, home: Path, notes: int) -> None:
        from vaultgpt.state import create_state

        self.home, self.notes = home, notes
        self.vault = home / "vault"
        self.vault.mkdir(parents=True)
        told(notes, "making them")
        self.found: dict[str, Any] = make_vault(self.vault, notes)
        self.enter()
        self.state = create_state(self.vault)

    def enter(self) -> None:
        """Have the processes that are started from now on find its state."""
        os.environ["VAULTGPT_HOME"] = str(self.home / "state")

    def pause(self, paused: bool) -> None:
        """Whether the daemon starts rounds by itself."""
        from vaultgpt.settings import save_option

        save_option(self.state.config, "training.pause", paused)

    def read(self) -> None:
        """A first scan, and what is told when nothing has changed."""
        self.enter()
        told(self.notes, "the first scan")
        found = self.found
        found["first"] = alone("settle", self.vault)
        found |= sizes_of(self.state)
        found["ledger_share"] = round(found["ledger_mb"] * 1e6 / found["prose_bytes"], 2)
        told(self.notes, "nothing changed")
        found["again"] = alone("settle", self.vault)
        found["compare"] = alone("again", self.vault)
        found["due"] = alone("due", self.vault)
        found["scan_first"] = measured(ours("scan", str(self.vault), "--json"))  # the language too
        found["scan_again"] = best(ours("scan", str(self.vault), "--json"), 2)
        found["status"] = best(ours("status", str(self.vault), "--json"), 3)

    def daemon(self) -> Daemon:
        """Its daemon, at rest."""
        self.enter()
        told(self.notes, "the daemon's start")
        self.pause(True)
        daemon = Daemon(self.vault, self.state)
        self.found["daemon"] = daemon.started()
        return daemon

    def plan(self) -> None:
        """The plan of a round that learns a little where all else is learned."""
        self.enter()
        told(self.notes, "a round's plan")
        self.pause(False)
        found = self.found
        alone("learn", self.vault)
        found["plan_after"] = alone("plan", self.vault)
        change(self.vault, "one changed note")
        found["one_changed"] = alone("settle", self.vault)
        change(self.vault, "words for a round", NEW_WORDS)
        alone("settle", self.vault)
        found["plan"] = alone("plan", self.vault)
        found["job"] = alone("job", self.vault)


def voices(bases: list[str]) -> dict[str, Any]:
    """What swap.py prints, and its rows."""
    command = [sys.executable, "-m", "benchmarks.swap", *bases, "--swaps", "4"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    table, _, rows = done.stdout.strip().rpartition("\n")
    return (
        {"table": table, "rows": json.loads(rows)} if not done.returncode else {"table": "failed"}
    )


def every(sizes: list[Size], idle_s: float, meanwhile: Callable[[], None]) -> None:
    """All figures of all sizes."""
    for size in sizes:
        size.read()
    daemons: dict[int, Daemon] = {}
    try:
        for size in sizes:
            daemons[size.notes] = size.daemon()
        told(max(daemons), f"all daemons idle for {idle_s:.0f} s")
        idled = idle(daemons, idle_s, meanwhile)
        for size in sizes:
            told(size.notes, "one note changed")
            size.found["daemon"] |= idled[size.notes] | daemons[size.notes].changed()
    finally:
        for daemon in daemons.values():
            daemon.stop()
    for size in sizes:
        size.plan()


ROWS = (  # title, keys (of seconds those of a processor too, where they are known), unit, bound
    ("first scan and record", ("first", "s"), "s", "75 at 100,000"),
    ("its peak memory", ("first", "peak_mb"), "MB", "250"),
    ("ledger / prose", ("ledger_share",), "", "2"),
    ("the guard's index", ("guard_mb",), "MB", ""),
    ("nothing changed, the comparison", ("compare", "compare_s"), "s", "2 % of the first"),
    ("with a start of the program", ("again", "s"), "s", ""),
    ("is a round due, asked twice", ("due", "due_s"), "s", ""),
    ("`scan` again", ("scan_again", "s"), "s", "2 % of the first"),
    ("`status` of the ledger", ("status", "s"), "s", "0.5"),
    ("its peak memory", ("status", "peak_mb"), "MB", ""),
    ("one changed note, in all", ("one_changed", "s"), "s", "1"),
    ("`status` of a daemon", ("daemon", "asked", "s"), "s", "0.3"),
    ("plan after a fresh voice", ("plan_after", "plan_s"), "s", ""),
    ("plan for 1,500 new words", ("plan", "plan_s"), "s", "2"),
    ("its peak memory", ("plan", "peak_mb"), "MB", "flat"),
    ("its job, read from the notes", ("job", "job_s"), "s", ""),
    ("its peak memory", ("job", "peak_mb"), "MB", "flat"),
    ("notes opened for it", ("job", "opened"), "", ""),
    ("daemon answers after", ("daemon", "first_status_s"), "s", "2"),
    ("daemon settled after", ("daemon", "settled_s"), "s", ""),
    ("its processor until then", ("daemon", "start_cpu_s"), "s", ""),
    ("daemon at rest", ("daemon", "rss_mb"), "MB", "70 at 1,000, 100 at 100,000"),
    ("once a note was recorded", ("daemon", "rss_after_change_mb"), "MB", ""),
    ("idle, of a core", ("daemon", "idle_percent"), "%", "0.5"),
    ("idle wake-ups a minute", ("daemon", "idle_wakes_per_minute"), "", ""),
    ("a changed note, daemon's time", ("daemon", "changed_cpu_s"), "s", "1"),
)


def show(found: dict[str, Any]) -> None:
    """A row a figure, a column a size; seconds of the clock, those of a processor in brackets."""
    sizes = found["sizes"]
    print(f"{'':30}" + "".join(f"{int(n):>18,}" for n in sizes) + "   bound")
    for title, keys, unit, bound in ROWS:
        cells = [_cell(row, keys, unit) for row in sizes.values()]
        print(f"{title:30}" + "".join(f"{c:>18}" for c in cells) + f"   {bound}")
    print(f"--help {found['help']['s']} s ({found['help']['cpu_s']}), bound 0.3")
    print(f"\n{found['voices']['table']}\n" if "voices" in found else "")
    loads = [f"{n:.1f}" for n in found["loads"]]
    print(f"{os.cpu_count()} cores, load {' to '.join(loads)}, {found['minutes']} minutes")


def _cell(row: dict[str, Any], keys: tuple[str, ...], unit: str) -> str:
    for key in keys[:-1]:
        row = row.get(key) or {}
    value, spent = row.get(keys[-1]), row.get(keys[-1][:-1] + "cpu_s")
    if value is None:
        return "-"
    told = f"{value:,.2f} {unit}".strip()
    return told if unit != "s" or spent is None else f"{told} ({spent:,.2f})"


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--idle", type=float, default=30.0, help="seconds; 600 for the record")
    parser.add_argument(
        "--voices", nargs="*", default=["pebble"], help="bases to take voices up on"
    )
    parser.add_argument("--out", type=Path, help="where the JSON goes too")
    parser.add_argument("--at", type=Path, help="a folder for the vaults; a temporary one")
    parser.add_argument("--step", nargs=2, metavar=("NAME", "VAULT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        return step(args.step[0], Path(args.step[1]))
    load, began = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory(dir=args.at) as folder:
        sizes = [Size(Path(folder) / str(notes), notes) for notes in args.sizes]
        found: dict[str, Any] = {
            "help": best(ours("--help"), 5),
            "sizes": {str(size.notes): size.found for size in sizes},
        }

        def meanwhile() -> None:
            if args.voices:
                found["voices"] = voices(args.voices)

        try:
            every(sizes, args.idle, meanwhile)
        finally:  # of what fails on its way the rest is told
            found["loads"] = [load, os.getloadavg()[0]]
            found["minutes"] = round((time.perf_counter() - began) / 60, 1)
            if args.out:
                args.out.write_text(json.dumps(found, indent=1) + "\n")
            show(found)
            print(json.dumps(found))


if __name__ == "__main__":
    main()
