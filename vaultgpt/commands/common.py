"""What every command shares: the VAULT argument, --json, progress, and one error handler.

Knows nothing about any one command.
"""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar, cast

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from vaultgpt.commands import PANELS
from vaultgpt.errors import NotFound, StateError, UsageError, VaultGPTError, expected
from vaultgpt.state import VaultState, find_state, known_vaults, real_vault, state_root

if TYPE_CHECKING:
    from rich.progress import Progress

    from vaultgpt.wire import Hear, ProgressEvent

_P = ParamSpec("_P")
_R = TypeVar("_R")


# What a terminal would obey, or an encoding refuse: C0, DEL and C1, and halves of surrogates.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class _OutputRefused(VaultGPTError):
    """What was written did not go out."""


class _Output:
    """Standard output, as it is when something is written: what it refuses is told as such."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)

    def write(self, text: str) -> None:
        """And pass it on: nothing is left for the end of the process."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            _leave_quietly()
            if isinstance(error, BrokenPipeError):
                raise
            why = error.strerror or type(error).__name__
            raise _OutputRefused(f"Standard output can't be written to: {why}.") from None


class _SafeConsole(Console):
    """A terminal that obeys no name and no text: their control characters come as U+FFFD."""

    def on_broken_pipe(self) -> None:
        """Who read has left: for `guarded` to say nothing about. rich's own exits with status 1."""
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's own."""
        for segment in super().render(renderable, options):
            if segment.control is None and _CONTROL.search(segment.text):
                segment = Segment(_CONTROL.sub("\ufffd", segment.text), segment.style)
            yield segment


_output = _Output()
out = _SafeConsole(file=cast(IO[str], _output), highlight=False, soft_wrap=True)
err = _SafeConsole(stderr=True, highlight=False, soft_wrap=True)

VaultArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[VAULT]",
        help="The vault; not needed inside one, or with only one.",
        show_default=False,
    ),
]
VaultOption = Annotated[
    Path | None,
    typer.Option("--vault", "-v", metavar="VAULT", help="The vault, if several are known."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        show_default=False,
        help="An option for this call alone, as mirror.temperature=0.8; may be repeated.",
    ),
]


def command(panel: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function the command of its name (less a "_" at its end), in a panel of the help.

    Name, panel and sentence are read from the source by cli.py."""
    assert panel in PANELS
    return guarded


def guarded(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """One error handler for all commands: a clear line and the mend, never a traceback."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        as_json = bool(kwargs.get("as_json"))
        try:
            return function(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(failed(error, as_json)) from None

    return run


def failed(error: BaseException, as_json: bool) -> int:
    """Say what went wrong; the exit status."""
    if isinstance(error, KeyboardInterrupt):
        err.print("Interrupted.", markup=False)
        return 130
    if isinstance(error, BrokenPipeError):
        _leave_quietly()
        return 0
    if isinstance(error, VaultGPTError):
        say_error(error, as_json and not isinstance(error, _OutputRefused))
        return error.exit_status
    assert isinstance(error, Exception)
    known = None if _elsewhere(error) else expected(error)
    say_error(known or _of_the_disk(error) or _unexpected(error), as_json)
    return 1


def _elsewhere(error: Exception) -> bool:
    """Whether it is about a file that is not of our state: no word then of the state's disk."""
    name = error.filename if isinstance(error, OSError) else None
    if not isinstance(name, str):
        return False
    root = os.path.realpath(state_root())
    return not os.path.isabs(name) or not Path(os.path.realpath(name)).is_relative_to(root)


def say_error(error: VaultGPTError, as_json: bool = False) -> None:
    """The message in red and its mend on one line of standard error, or one object on output."""
    if as_json:
        fields = {"message": error.message, "hint": error.mend or None, "code": error.code}
        with suppress(BrokenPipeError, _OutputRefused):  # a terminal may show it
            print_json({"error": fields})
            return
    err.print("error:", style="bold red", end=" ")
    err.print(str(error), markup=False)


def _leave_quietly() -> None:
    """Nobody takes our output any more, as after `| head`: none is written, now or at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _of_the_disk(error: Exception) -> VaultGPTError | None:
    """A file that can't be read or written: which one, and what the system says."""
    if not isinstance(error, OSError):
        return None
    if isinstance(error, FileNotFoundError) and error.filename is None:  # as os.getcwd has it
        return NotFound("The current folder is gone.", "Go to one that is there (`cd`).")
    where = f" ({error.filename})" if error.filename else ""
    mend = "See what stands there, who owns it, and whether it can be written to."
    return StateError(f"{error.strerror or type(error).__name__}{where}.", mend)


def _unexpected(error: Exception) -> VaultGPTError:
    """A failure that we did not foresee: its class and place, never its text."""
    frame = error.__traceback__
    place = ""
    while frame is not None:
        name = Path(frame.tb_frame.f_code.co_filename)
        if "vaultgpt" in name.parts:
            place = f" at {name.name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return VaultGPTError(
        f"unexpected {type(error).__name__}{place}.",
        "This is a bug; `vaultgpt doctor` shows what to send.",
    )


def many(count: int, one: str, several: str = "") -> str:
    """`1 note`, `1,234 notes`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def show_rows(header: Sequence[str], rows: Sequence[Sequence[str]], bold: Sequence[bool]) -> None:
    """A table where a terminal has room for it, else a line a row: nothing is cut or broken."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if out.is_terminal and sum(widths) + 2 * len(widths) <= out.width:
        lines = [header, *rows]
        shown = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in lines]
    else:
        shown = ["", *("  ".join(filter(None, row)) for row in rows)]
    for text, strong in zip(shown, [False, *bold], strict=True):
        if text:
            style = "bold" if strong else "dim" if text == shown[0] else None
            out.print(text.rstrip(), style=style, markup=False)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    lacking = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    text = json.dumps(value, ensure_ascii=lacking, indent=2, default=str)
    _output.write(_CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}", text) + "\n")


def locate(vault: Path | None) -> VaultState:
    """The state of the vault meant. NotFound with the mend, also for one that was moved."""
    try:
        return find_state(vault)
    except NotFound as error:
        from vaultgpt.tasks.vaults import moved_from  # opens ledgers

        place = Path(os.path.realpath((vault or Path()).expanduser()))
        if (old := moved_from(place)) is None:
            raise
        raise NotFound(
            f"{error.message} {place} looks like the vault that was at {old}.",
            f"`vaultgpt init {place} --adopt {old}` takes over what it learned.",
        ) from None


def locate_note(note: Path, vault: Path | None) -> tuple[VaultState, str]:
    """The vault that holds `note` and the note's path in it (POSIX).

    `note` is relative to the current folder or to the vault. NotFound, UsageError."""
    # Obsidian shows names without their suffix, and so people write them.
    names = (note, note.parent / f"{note.name}.md")
    for full in [base / name for name in names for base in (Path(), vault or Path())]:
        if not full.is_file():
            continue
        real = full.parent.resolve() / full.name
        for place in (vault, *real.parents):
            known = known_vaults()
            real_place = real_vault(place) if place else None
            if real_place in known and real.is_relative_to(real_place):
                return VaultState(real_place, known[real_place]), real.relative_to(
                    real_place
                ).as_posix()
        raise NotFound(f"{note} is in no vault that is set up.", "Run `vaultgpt init VAULT` first.")
    with suppress(FileNotFoundError):  # the current folder is gone: the note is the vault's
        parents, known = Path(os.path.realpath(note)).parents, known_vaults()
        vault = vault or next((place for place in parents if place in known), None)
    state = locate(vault)
    for name in names:
        if (state.vault / name).is_file() and not name.is_absolute():
            return state, name.as_posix()
    mend = "Give its path, from here or from the vault."
    if (state.vault / note).is_dir():
        raise NotFound(f"{note} is a folder.", "Give one note of it.")
    if near := _named_like(note, state.vault):
        mend = f"Did you mean {near}?"
    raise NotFound(f"There is no note {note}.", mend)


_MOST_NAMES = 5_000  # looked at for one that was meant


def _named_like(note: Path, vault: Path) -> str | None:
    """The path of the note whose name is most like this one's; None where none is."""
    names: dict[str, str] = {}
    for found in islice(vault.rglob("*.md"), _MOST_NAMES):
        path = found.relative_to(vault)
        if not stat.S_ISREG(found.lstat().st_mode):
            continue  # a link to nothing, or a pipe: it may be named just as what was asked for
        if not any(part.startswith(".") for part in path.parts):
            names.setdefault(found.stem.lower(), path.as_posix())
    wanted = note.name.lower().removesuffix(".md")
    near = get_close_matches(wanted, names, n=1)
    return names[near[0]] if near else None


def split_arguments(
    given: list[str], vault: Path | None, most: int, names: str
) -> tuple[Path | None, list[str]]:
    """VAULT may stand first among positional arguments: (vault, the rest).

    The first is the vault when --vault is not given and it names a known vault, or when there is
    one argument too many; then it may stand last as well, as it does with most commands."""
    if vault is None and len(given) > most and not _is_vault(given[0]) and _is_vault(given[-1]):
        vault, given = Path(given[-1]), given[:-1]
    elif vault is None and given and (len(given) > most or _is_vault(given[0])):
        vault, given = Path(given[0]), given[1:]
    if len(given) > most:
        raise UsageError(f"Too many arguments: this takes [VAULT] {names}.")
    return vault, given


def _is_vault(text: str) -> bool:
    path = Path(text).expanduser()
    return os.path.isdir(path) and path.resolve() in known_vaults()


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """A progress display on standard error; silent when it is not a terminal."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=quiet or not err.is_terminal,
    ) as bar:
        yield bar


_LOOK_BACK_S = 30.0  # the pace of which the time left is reckoned


class TimeLeft:
    """How long a phase still takes, at its pace of the last half minute."""

    def __init__(self) -> None:
        self._phase, self._seen = "", deque[tuple[float, float]]()

    def look(self, phase: str, fraction: float, now: float) -> float | None:
        """Seconds; None before there is a pace. `now` is of any clock."""
        if phase != self._phase:
            self._phase, self._seen = phase, deque()
        self._seen.append((now, fraction))
        while len(self._seen) > 2 and now - self._seen[1][0] > _LOOK_BACK_S:
            self._seen.popleft()
        since, before = self._seen[0]
        spent = now - since
        done = fraction - before
        return (1 - fraction) * spent / done if done > 0 and spent >= 1 else None


def show_on(bar: Progress) -> Hear:
    """What draws a round's progress, with the time left as it is now."""
    from vaultgpt.rounds.under_way import doing

    task = bar.add_task("Reading the vault", total=1.0)
    left = TimeLeft()

    def show(event: ProgressEvent) -> None:
        if event.get("event") == "say":
            err.print(event["text"], markup=False)
            return
        phase, fraction = str(event.get("phase")), float(event.get("fraction") or 0)
        seconds = left.look(phase, fraction, time.monotonic())
        facts = [f"{speed:,.0f} tokens/s"] if (speed := event.get("tokens_per_s")) else []
        if seconds is not None:
            from vaultgpt.bases.estimate import human  # with all that knows of bases: 20 ms

            facts.append(f"{human(seconds)} left")
        said = doing(phase).capitalize() + (f" ({', '.join(facts)})" if facts else "")
        bar.update(task, completed=fraction, description=said)

    return show


def confirm(question: str, yes: bool) -> None:
    """Ask before something that can't be undone; `--yes` answers, no other option does.

    UsageError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("This can't be undone, so it needs your word.", "Add --yes.")
    if not typer.confirm(question, default=False, err=True):
        raise typer.Exit(1)
