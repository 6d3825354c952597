"""What N notes cost: a first scan, nothing changed, one note changed, an idle daemon, a plan.

    python -m benchmarks.scale [--sizes 1000 10000 100000] [--idle 600] [--json FILE]

The notes are the example vault's own words, cut into pieces of a few words and put together anew,
so that no two paragraphs are alike. Each step runs in a process of its own, whose processor time
and peak memory are told. The daemons of all sizes idle at the same time.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import (
    EXAMPLE,
    ROOT,
    arguments,
    home,
    keep,
    markdown,
    ours,
    prose,
    serving,
)
from vaultgpt.settings import save_option
from vaultgpt.state import create_state
from vaultgpt.tasks.vault_service import find_daemon

NEW_PARAGRAPHS = 37  # that a round is planned for: 1,500 words
TAGS = ("journal", "dream", "poetry", "reading", "work", "")
Found = dict[str, Any]


def pieces(vault: Path) -> list[str]:
    """The example's prose as runs of three to seven words."""
    rng, at, out = random.Random(1), 0, []
    words = re.findall(r"[^\W\d_][^\s#*\[\]|]*", "\n\n".join(prose(vault)))
    while at < len(words):
        size = rng.randint(3, 7)
        out.append(" ".join(words[at : at + size]))
        at += size
    return out


def paragraph(rng: random.Random, parts: list[str]) -> str:
    """Some forty words in three sentences."""
    runs = (rng.choices(parts, k=rng.choice((2, 3, 3, 3))) for _ in range(3))
    return " ".join(" ".join(said).rstrip(".,;:") + "." for said in runs)


def note(rng: random.Random, parts: list[str], number: int) -> str:
    """Some 105 words under front matter: two to three paragraphs."""
    body = "\n\n".join(paragraph(rng, parts) for _ in range(rng.choice((2, 3))))
    tag = TAGS[number % len(TAGS)]
    date = f"{2005 + number % 20}-{1 + number % 12:02d}-{1 + number % 28:02d}"
    head = f"date: {date}\n" + (f"tags: [{tag}]\n" if tag else "")
    return f"---\n{head}---\n{body}\n"


def make_vault(folder: Path, notes: int) -> int:
    """`notes` files in folders of five; the bytes of their prose."""
    rng, parts = random.Random(1), pieces(EXAMPLE)
    old, size = time.time() - 10 * 86_400, 0
    for number in range(notes):
        place = folder / f"{2005 + number % 20}" / f"{number // 100:04d}" / f"note {number:06d}.md"
        place.parent.mkdir(parents=True, exist_ok=True)
        text = note(rng, parts, number)
        size += len(text.split("---\n", 2)[2])
        place.write_text(text, encoding="utf-8")
        os.utime(place, (old, old))
    return size


def change(vault: Path, mark: str, paragraphs: int = 1) -> None:
    """Add to one note."""
    rng, parts = random.Random(mark), pieces(EXAMPLE)
    place = min((vault / "2005" / "0000").glob("*.md"))
    with place.open("a", encoding="utf-8") as file:
        file.write("".join(f"\n{paragraph(rng, parts)}\n" for _ in range(paragraphs)))


# What is measured ---------------------------------------------------------------------------------


# A process of its own counts in the memory of the one that forked it, so that a small one forks.
_LAUNCH = """
import json, os, sys, time
began, quiet = time.perf_counter(), os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawnp(
    sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, quiet, 2)]
)
_, status, used = os.wait4(child, 0)
told = (time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
print(json.dumps([os.waitstatus_to_exitcode(status), *told]), file=sys.stderr)
"""


def measured(command: list[str], *, read: bool = False) -> Found:
    """A process's seconds of the clock and of processors (its children's too), its peak in MB.

    With `read` the figures that it prints too.
    """
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, *command]
    done = subprocess.run(launch, capture_output=True, text=True, check=True)
    status, *figures = json.loads(done.stderr)
    if status:
        raise SystemExit(f"{' '.join(command[:4])} ended with {status}")
    found = dict(zip(("s", "cpu_s", "peak_mb"), figures, strict=True))
    return {**found, **(json.loads(done.stdout) if read else {})}


def best(command: list[str], times: int) -> Found:
    """The fastest of some runs: others use this machine too."""
    return min((measured(command) for _ in range(times)), key=lambda row: row["s"])


def spent(own: psutil.Process) -> float:
    """Seconds of a processor so far."""
    return sum(own.cpu_times()[:2])


def switches(own: psutil.Process) -> int:
    """Wake-ups of all its threads so far, where /proc tells them."""
    tasks = Path(f"/proc/{own.pid}/task")
    texts = [(p / "status").read_text() for p in tasks.iterdir()] if tasks.exists() else []
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", t, re.M)[0]) for t in texts)


class Size:
    """A vault of so many notes with a state of its own, and what was found of it."""

    def __init__(self, place: Path, notes: int) -> None:
        self.notes, self.vault, self.home = notes, place / "vault", place / "state"
        self.say("making them")
        self.prose_bytes = make_vault(self.vault, notes)
        self.found: Found = {}  # by "what.figure"
        with home(self.home):
            self.state = create_state(self.vault)

    def say(self, what: str) -> None:
        """What comes next."""
        print(f"{time.strftime('%H:%M:%S')} {self.notes:,} notes: {what}", file=sys.stderr)

    def add(self, name: str, **figures: float) -> None:
        """Keep figures of this name."""
        self.found |= {f"{name}.{key}": value for key, value in figures.items()}

    def step(self, name: str, of: str) -> None:
        """One of scale_steps.Steps in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.scale_steps", of, str(self.vault)]
        self.add(name, **measured(command, read=True))

    def read(self) -> None:
        """A first scan, and what is told when nothing has changed."""
        self.say("the first scan")
        self.step("first", "settle")
        for name, files in (("ledger", "ledger*"), ("guard", "runs/*")):
            size = sum(p.stat().st_size for p in self.state.folder.glob(files) if p.is_file())
            self.add(name, share=size / self.prose_bytes, mb=size / 1e6)
        self.say("nothing changed")
        self.step("again", "settle")
        self.step("compare", "again")
        self.step("due", "due")
        scan, status = (ours(name, str(self.vault), "--json") for name in ("scan", "status"))
        measured(scan)  # the language too
        self.add("scan_again", **best(scan, 2))
        self.add("status", **best(status, 3))

    @contextlib.contextmanager
    def daemon(self) -> Iterator[psutil.Process]:
        """Its daemon, at rest."""
        self.say("the daemon's start")
        save_option(self.state.config, "training.pause", True)
        began = time.perf_counter()
        with home(self.home), serving(self.state) as (own, client):
            client.get("/v1/status")
            self.add("daemon", first_status_s=time.perf_counter() - began)
            before = -1.0
            while spent(own) - before >= 0.02:  # until a whole second passed with under 2 %
                before = spent(own)
                time.sleep(1.0)
            self.add("daemon", start_cpu_s=spent(own), rss_mb=own.memory_info().rss / 2**20)
            self.add("asked", **best(ours("status", str(self.vault), "--json"), 3))
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
        self.add("changed", cpu_s=spent(own) - before, rss_mb=own.memory_info().rss / 2**20)

    def plan(self) -> None:
        """The plan of a round that learns a little where all else is learned."""
        self.say("a round's plan")
        self.step("learned", "learn")
        self.step("plan_after", "plan")
        change(self.vault, "one changed note")
        self.step("one_changed", "settle")
        change(self.vault, "words for a round", NEW_PARAGRAPHS)
        self.step("new_words", "settle")
        for name in ("plan", "job", "replay", "copying", "guard", "near"):
            self.step(name, name)


def every(sizes: list[Size], idle_s: float) -> None:
    """All figures of all sizes."""
    for size in sizes:
        with home(size.home):
            size.read()
    with contextlib.ExitStack() as stack:
        daemons = [(size, stack.enter_context(size.daemon())) for size in sizes]
        before = [(spent(own), switches(own)) for _, own in daemons]
        sizes[-1].say(f"all daemons idle for {idle_s:.0f} s")
        time.sleep(idle_s)
        for (size, own), (cpu, wakes) in zip(daemons, before, strict=True):
            size.add("idle", percent=100 * (spent(own) - cpu) / idle_s)
            size.add("idle", wakes=60 * (switches(own) - wakes) / idle_s)
        for size, own in daemons:
            with home(size.home):
                size.changed(own)
    for size in sizes:
        with home(size.home):
            size.plan()


# Title, figure and its format, bound; with seconds those of a processor too, where they are known.
ROWS = (
    ("first scan and record, s", "first.s", ".2f", "75 at 100,000"),
    ("its peak memory, MB", "first.peak_mb", ".0f", "250"),
    ("ledger, times the prose", "ledger.share", ".2f", "2"),
    ("the guard's index, MB", "guard.mb", ".1f", ""),
    ("nothing changed, the comparison, s", "compare.compare_s", ".2f", "2 % of the first"),
    ("the same with a start of the program, s", "again.s", ".2f", ""),
    ("its peak memory, MB", "again.peak_mb", ".0f", ""),
    ("`scan` again, s", "scan_again.s", ".2f", "2 % of the first"),
    ("`status` from the ledger, s", "status.s", ".2f", "0.3"),
    ("its peak memory, MB", "status.peak_mb", ".0f", ""),
    ("`status` from a daemon, s", "asked.s", ".2f", "0.3"),
    ("one changed note, with a start of the program, s", "one_changed.s", ".2f", ""),
    ("the same, daemon's processor, s", "changed.cpu_s", ".2f", "1"),
    ("is a round due, now or at night, s", "due.due_s", ".2f", ""),
    ("plan after a fresh voice, s", "plan_after.plan_s", ".2f", ""),
    ("plan for 1,500 new words, s", "plan.plan_s", ".2f", "2"),
    ("its peak memory, MB", "plan.peak_mb", ".0f", "flat"),
    ("its job, read from the notes, s", "job.job_s", ".2f", ""),
    ("its peak memory, MB", "job.peak_mb", ".0f", "flat"),
    ("notes opened for it", "job.opened", "d", "flat"),
    ("replay chosen, s", "replay.replay_s", ".2f", ""),
    ("near-duplicates: the new words recorded, s", "new_words.s", ".2f", ""),
    ("of the whole vault anew, s", "near.near_s", ".2f", ""),
    ("copying figures of the round, s", "copying.copying_s", ".2f", ""),
    ("the guard's index loaded, s", "guard.load_s", ".2f", ""),
    ("its peak memory, MB", "guard.peak_mb", ".0f", ""),
    ("daemon's first answer, s", "daemon.first_status_s", ".2f", "2"),
    ("its processor from start to rest, s", "daemon.start_cpu_s", ".2f", ""),
    ("at rest, MB", "daemon.rss_mb", ".0f", "70 at 1,000, 100 at 100,000"),
    ("once a note was recorded, MB", "changed.rss_mb", ".0f", ""),
    ("idle, of a core, %", "idle.percent", ".2f", "0.5"),
    ("wake-ups a minute", "idle.wakes", ".0f", ""),
)


def table(sizes: list[Size]) -> str:
    """A row a figure, a column a size; seconds of the clock, those of a processor in brackets."""
    lines = [
        (title, *(_cell(size.found, figure, form) for size in sizes), bound)
        for title, figure, form, bound in ROWS
    ]
    return markdown(("", *(f"{size.notes:,} notes" for size in sizes), "bound"), lines)


def _cell(found: Found, figure: str, form: str) -> str:
    if figure not in found:
        return "-"
    cpu = found.get(figure.removesuffix("s") + "cpu_s")
    return f"{found[figure]:,{form}}" + ("" if cpu is None else f" ({cpu:,.2f})")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--idle", type=float, default=30.0, help="seconds; 600 for the record")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    compileall.compile_dir(ROOT / "vaultgpt", quiet=1)  # as what pip installs is
    starts = best(ours("--help"), 5)
    with tempfile.TemporaryDirectory() as folder:
        sizes = [Size(Path(folder) / str(notes), notes) for notes in args.sizes]
        try:
            every(sizes, args.idle)
        finally:  # of what fails on its way the rest is told
            print(table(sizes))
            keep(args.json, {"help": starts, **{str(size.notes): size.found for size in sizes}})
    print(f"\n--help {starts['s']:.2f} s ({starts['cpu_s']:.2f}), bound 0.3")
    print(f"{os.cpu_count()} cores, load {load:.1f} to {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
