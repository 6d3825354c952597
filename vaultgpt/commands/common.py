"""What every command shares: the VAULT argument, --json, progress, and one error handler.

Knows nothing about any one command.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vaultgpt.errors import NotFound, UsageError, VaultGPTError
from vaultgpt.state import VaultState, find_state, known_vaults, real_vault

P = ParamSpec("P")
R = TypeVar("R")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

VaultArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[VAULT]",
        help="The vault; not needed inside one, or with only one.",
        show_default=False,
    ),
]
VaultOption = Annotated[
    Path | None, typer.Option("--vault", metavar="VAULT", help="The vault, if several are known.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def command(function: Callable[P, R]) -> Callable[P, R]:
    """One error handler for all commands: a clear line and the mend, never a traceback."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except VaultGPTError as error:
            say_error(error)
            raise typer.Exit(error.exit_status) from None
        except KeyboardInterrupt:
            err.print("Interrupted.", markup=False)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            err.print(unexpected(error), markup=False)
            raise typer.Exit(1) from None

    return run


def say_error(error: VaultGPTError) -> None:
    """The message in red and its mend on one line of standard error."""
    line = f"{error.message} {error.mend}".strip()
    err.print("error:", style="bold red", end=" ")
    err.print(line, markup=False)


def unexpected(error: Exception) -> str:
    """One line for a failure that we did not foresee: its class and place, never its text."""
    frame = error.__traceback__
    place = ""
    while frame is not None:
        name = Path(frame.tb_frame.f_code.co_filename)
        if "vaultgpt" in name.parts:
            place = f" at {name.name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return (
        f"error: unexpected {type(error).__name__}{place}. "
        "This is a bug; `vaultgpt doctor` shows what to send."
    )


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")
    sys.stdout.flush()


def locate(vault: Path | None) -> VaultState:
    """The state of the vault meant."""
    return find_state(vault)


def locate_note(note: Path, vault: Path | None) -> tuple[VaultState, str]:
    """The vault that holds `note` and the note's path in it (POSIX).

    `note` is relative to the current folder or to the vault. NotFound, UsageError.
    """
    for base in (Path.cwd(), vault):
        full = (base / note) if base else note
        if not full.exists():
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
    state = find_state(vault)
    if (state.vault / note).exists() and not note.is_absolute():
        return state, note.as_posix()
    raise NotFound(f"There is no note {note}.", "Give its path, from here or from the vault.")


def split_arguments(
    given: list[str], vault: Path | None, most: int, names: str
) -> tuple[Path | None, list[str]]:
    """VAULT may stand first among positional arguments: (vault, the rest).

    The first is the vault when --vault is not given and it names a known vault, or when there is
    one argument too many.
    """
    if vault is None and given and (len(given) > most or _is_vault(given[0])):
        vault, given = Path(given[0]), given[1:]
    if len(given) > most:
        raise UsageError(f"Too many arguments: this takes [VAULT] {names}.")
    return vault, given


def _is_vault(text: str) -> bool:
    path = Path(text).expanduser()
    return path.is_dir() and path.resolve() in known_vaults()


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """A progress display on standard error; silent when it is not a terminal."""
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


def confirm(question: str, yes: bool) -> None:
    """Ask before something that can't be undone; `--yes` answers; no terminal is a refusal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("This needs your word.", "Add --yes.")
    if not typer.confirm(question, default=False, err=True):
        raise typer.Exit(1)
