"""What N notes cost: a first scan, nothing changed, one note changed, an idle daemon, a plan.

    python -m benchmarks.scale [--sizes 1000 10000 100000] [--idle 600] [--voices BASE ...]

The notes are the example vault's own words, cut into pieces of a few words and put together anew,
so that no two paragraphs are alike. Each step runs in a process of its own, whose processor time
and peak memory are told. The daemons of all sizes idle at the same time; meanwhile swap.py
takes voices up.
"""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import EXAMPLE, ROOT, arguments, home, keep, markdown, ours, prose, serving
from vaultgpt.settings import save_option
from vaultgpt.state import create_state
from vaultgpt.tasks.vault_service import find_daemon

NEW_WORDS = 1_500  # that a round is planned for
TAGS = ("journal", "dream", "poetry", "reading", "work", "")
Found = dict[str, Any]


def pieces(vault: Path) -> list[list[str]]:
    """The example's prose as runs of three to seven words."""
    rng = random.Random(1)
    out = []
    for part in re.split(r"\n\s*\n", "\n\n".join(prose(vault))):
        words = re.findall(r"[^\W\d_][^\s#*\[\]|]*", part)
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


def make_vault(folder: Path, notes: int, seed: int = 1) -> int:
    """`notes` files in folders of a hundred; the bytes of their prose."""
    rng, parts = random.Random(seed), pieces(EXAMPLE)
    old, size = time.time() - 10 * 86_400, 0
    for number in range(notes):
        place = folder / f"{2005 + number % 20}" / f"{number // 100:04d}" / f"note {number:06d}.md"
        if number % 100 < 20:
            place.parent.mkdir(parents=True, exist_ok=True)
        text = note(rng, parts, number)
        size += len(text.split("---\n", 2)[2])
        place.write_text(text, encoding="utf-8")
        os.utime(place, (old, old))
    return size


def change(vault: Path, mark: str, words: int = 30) -> None:
    """Add a paragraph to one note."""
    rng, parts = random.Random(mark), pieces(EXAMPLE)
    said: list[str] = []
    while len(said) < words:
        said += rng.choice(parts)
    place = min((vault / "2005" / "0000").glob("*.md"))
    place.write_text(place.read_text("utf-8") + "\n" + " ".join(said) + ".\n", encoding="utf-8")


# What is measured ---------------------------------------------------------------------------------


# A process of its own counts in the memory of the one that forked it, so that a small one forks.
_LAUNCH = """
import json, os, sys, time
began, quiet = time.perf_counter(), os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawnp(
    sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, quiet, 2)]
)
_, status, used = os.wait4(child, 0)
told = (time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss)
print(json.dumps([os.waitstatus_to_exitcode(status), *told]), file=sys.stderr)
"""


def measured(command: list[str], *, read: bool = False) -> Found:
    """A process's seconds of the clock and of processors (its children's too), its peak in MB."""
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, *command]
    done = subprocess.run(launch, capture_output=True, text=True, check=True)
    status, seconds, cpu_s, peak_kb = json.loads(done.stderr)
    if status:
        raise SystemExit(f"{' '.join(command[:4])} ended with {status}")
    return {
        "s": round(seconds, 2),
        "cpu_s": round(cpu_s, 2),
        "peak_mb": round(peak_kb / 1024, 1),
        **(json.loads(done.stdout) if read else {}),
    }


def best(command: list[str], times: int) -> Found:
    """The fastest of some runs: others use this machine too."""
    return min((measured(command) for _ in range(times)), key=lambda row: row["s"])


def spent(own: psutil.Process) -> float:
    """Seconds of a processor so far."""
    return sum(own.cpu_times()[:2])


def rss_mb(own: psutil.Process) -> float:
    """Memory now."""
    return round(own.memory_info().rss / 2**20, 1)


def switches(own: psutil.Process) -> int:
    """Wake-ups of all its threads so far, where /proc tells them."""
    tasks = Path(f"/proc/{own.pid}/task")
    texts = [(p / "status").read_text() for p in tasks.iterdir()] if tasks.exists() else []
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", t, re.M)[0]) for t in texts)


class Size:
    """A vault of so many notes with a state of its own, and what was found of it."""

    def __init__(self, place: Path, notes: int) -> None:
        self.notes, self.vault, self.state_home = notes, place / "vault", place / "state"
        self.say("making them")
        self.found: Found = {"prose_bytes": make_vault(self.vault, notes)}
        with home(self.state_home):
            self.state = create_state(self.vault)

    def say(self, what: str) -> None:
        """What comes next."""
        print(f"{time.strftime('%H:%M:%S')} {self.notes:,} notes: {what}", file=sys.stderr)

    def step(self, name: str) -> Found:
        """One of scale_steps.Steps in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.scale_steps", name, str(self.vault)]
        return measured(command, read=True)

    def read(self) -> None:
        """A first scan, and what is told when nothing has changed."""
        self.say("the first scan")
        found, vault = self.found, str(self.vault)
        found["first"] = self.step("settle")
        ledger = sum(p.stat().st_size for p in self.state.folder.glob("ledger*") if p.is_file())
        guard = sum(p.stat().st_size for p in self.state.runs.glob("*"))
        found["ledger_share"] = round(ledger / found["prose_bytes"], 2)
        found["guard_mb"] = round(guard / 1e6, 1)
        self.say("nothing changed")
        for name, step in (("again", "settle"), ("compare", "again"), ("due", "due")):
            found[name] = self.step(step)
        measured(ours("scan", vault, "--json"))  # the language too
        found["scan_again"] = best(ours("scan", vault, "--json"), 2)
        found["status"] = best(ours("status", vault, "--json"), 3)

    @contextlib.contextmanager
    def daemon(self) -> Iterator[psutil.Process]:
        """Its daemon, at rest."""
        self.say("the daemon's start")
        save_option(self.state.config, "training.pause", True)
        began = time.perf_counter()
        with home(self.state_home), serving(self.state) as (own, client):
            client.get("/v1/status")
            answered_s = time.perf_counter() - began
            while True:  # until a whole second passed with under 2 % of a core
                before = spent(own)
                time.sleep(1.0)
                if spent(own) - before < 0.02:
                    break
            self.found["daemon"] = {
                "first_status_s": round(answered_s, 2),
                "settled_s": round(time.perf_counter() - began, 1),
                "start_cpu_s": round(spent(own), 2),
                "rss_mb": rss_mb(own),
                "asked": best(ours("status", str(self.vault), "--json"), 3),
            }
            yield own
        save_option(self.state.config, "training.pause", False)

    def changed(self, own: psutil.Process) -> None:
        """What one changed note costs the daemon, and its memory then."""
        self.say("one note changed")
        client = find_daemon(self.state)
        assert client is not None
        before, events = spent(own), client.stream("/v1/events")
        change(self.vault, "changed under the daemon")
        next(name for name, _ in events if name == "scan")
        self.found["daemon"]["changed_cpu_s"] = round(spent(own) - before, 2)
        self.found["daemon"]["rss_after_change_mb"] = rss_mb(own)

    def plan(self) -> None:
        """The plan of a round that learns a little where all else is learned."""
        self.say("a round's plan")
        self.step("learn")
        self.found["plan_after"] = self.step("plan")
        change(self.vault, "one changed note")
        self.found["one_changed"] = self.step("settle")
        change(self.vault, "words for a round", NEW_WORDS)
        self.found["new_words"] = self.step("settle")
        names = ("plan", "job", "replay", "copying", "guard", "near")
        self.found |= {name: self.step(name) for name in names}


def voices(bases: list[str]) -> Found:
    """What swap.py prints, and its rows."""
    command = [sys.executable, "-m", "benchmarks.swap", *bases, "--swaps", "4"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"table": "failed"}
    table, _, rows = done.stdout.strip().rpartition("\n")
    return {"table": table, "rows": json.loads(rows)}


def every(sizes: list[Size], idle_s: float, meanwhile: Callable[[], None]) -> None:
    """All figures of all sizes."""
    for size in sizes:
        with home(size.state_home):
            size.read()
    with contextlib.ExitStack() as stack:
        daemons = [(size, stack.enter_context(size.daemon())) for size in sizes]
        before = [(spent(own), switches(own)) for _, own in daemons]
        sizes[-1].say(f"all daemons idle for {idle_s:.0f} s")
        began = time.monotonic()
        meanwhile()
        time.sleep(max(0.0, began + idle_s - time.monotonic()))
        idle_s = time.monotonic() - began
        for (size, own), (cpu, wakes) in zip(daemons, before, strict=True):
            size.found["daemon"] |= {
                "idle_percent": round(100 * (spent(own) - cpu) / idle_s, 3),
                "idle_wakes_per_minute": round(60 * (switches(own) - wakes) / idle_s, 1),
            }
        for size, own in daemons:
            with home(size.state_home):
                size.changed(own)
    for size in sizes:
        with home(size.state_home):
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
    ("replay chosen for them", ("replay", "replay_s"), "s", ""),
    ("its peak memory", ("replay", "peak_mb"), "MB", "flat"),
    ("the new words recorded, near-duplicates among them", ("new_words", "s"), "s", ""),
    ("its peak memory", ("new_words", "peak_mb"), "MB", "flat"),
    ("near-duplicates of the whole vault, anew", ("near", "near_s"), "s", ""),
    ("its peak memory", ("near", "peak_mb"), "MB", ""),
    ("copying figures of the round", ("copying", "copying_s"), "s", ""),
    ("its peak memory, torch loaded", ("copying", "peak_mb"), "MB", "flat"),
    ("the guard's index loaded", ("guard", "load_s"), "s", ""),
    ("the new words asked of it", ("guard", "asked_s"), "s", ""),
    ("its peak memory", ("guard", "peak_mb"), "MB", ""),
    ("daemon answers after", ("daemon", "first_status_s"), "s", "2"),
    ("daemon settled after", ("daemon", "settled_s"), "s", ""),
    ("its processor until then", ("daemon", "start_cpu_s"), "s", ""),
    ("daemon at rest", ("daemon", "rss_mb"), "MB", "70 at 1,000, 100 at 100,000"),
    ("once a note was recorded", ("daemon", "rss_after_change_mb"), "MB", ""),
    ("idle, of a core", ("daemon", "idle_percent"), "%", "0.5"),
    ("idle wake-ups a minute", ("daemon", "idle_wakes_per_minute"), "", ""),
    ("a changed note, daemon's time", ("daemon", "changed_cpu_s"), "s", "1"),
)


def table(sizes: dict[str, Found]) -> str:
    """A row a figure, a column a size; seconds of the clock, those of a processor in brackets."""
    lines = [
        (title, *(_cell(row, keys, unit) for row in sizes.values()), bound)
        for title, keys, unit, bound in ROWS
    ]
    return markdown(("", *(f"{int(n):,} notes" for n in sizes), "bound"), lines)


def _cell(row: Found, keys: tuple[str, ...], unit: str) -> str:
    for key in keys[:-1]:
        row = row.get(key) or {}
    value, cpu = row.get(keys[-1]), row.get(keys[-1][:-1] + "cpu_s")
    if value is None:
        return "-"
    told = f"{value:,.2f} {unit}".strip()
    return told if unit != "s" or cpu is None else f"{told} ({cpu:,.2f})"


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--idle", type=float, default=30.0, help="seconds; 600 for the record")
    parser.add_argument("--voices", nargs="*", default=["pebble"], help="bases to take them up on")
    parser.add_argument("--at", type=Path, help="a folder for the vaults; a temporary one")
    args = parser.parse_args()
    load, began = os.getloadavg()[0], time.perf_counter()
    compileall.compile_dir(ROOT / "vaultgpt", quiet=1)  # as what pip installs is
    with tempfile.TemporaryDirectory(dir=args.at) as folder:
        sizes = [Size(Path(folder) / str(notes), notes) for notes in args.sizes]
        found: Found = {"sizes": {str(size.notes): size.found for size in sizes}}
        found["help"] = best(ours("--help"), 5)

        def meanwhile() -> None:
            if args.voices:
                found["voices"] = voices(args.voices)

        try:
            every(sizes, args.idle, meanwhile)
        finally:  # of what fails on its way the rest is told
            found["loads"] = [load, os.getloadavg()[0]]
            found["minutes"] = round((time.perf_counter() - began) / 60, 1)
            keep(args.json, found)
            print(table(found["sizes"]))
            print(f"\n{found['voices']['table']}\n" if "voices" in found else "")
    print(f"--help {found['help']['s']} s ({found['help']['cpu_s']}), bound 0.3")
    loads = [f"{n:.1f}" for n in found["loads"]]
    print(f"{os.cpu_count()} cores, load {' to '.join(loads)}, {found['minutes']} minutes")


if __name__ == "__main__":
    main()
