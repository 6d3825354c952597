"""The command line: every module of commands/ says its own; nothing is listed here.

Only the module of the command that is given is imported: the help is read from the others' source.
"""

from __future__ import annotations

import ast
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from vaultgpt import __version__, commands
from vaultgpt.children import no_core


class _Command(NamedTuple):
    """What a module's source says of a command or, without a panel, of a group of them."""

    module: str
    name: str
    made: str  # what the module calls it
    panel: str
    help: str
    takes: list[str]  # names of the function's parameters


def _commands(modules: str = "*") -> Iterator[_Command]:
    """Every command there is, by module; none is imported."""
    for path in sorted(Path(commands.__path__[0]).glob(f"{modules}.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (panel := _panel(node)):
                said = ast.get_docstring(node) or ""
                name, takes = node.name.rstrip("_"), [arg.arg for arg in node.args.args]
                yield _Command(path.stem, name, node.name, panel, said, takes)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "app":
                assert isinstance(node.value, ast.Call)
                given = {k.arg: ast.literal_eval(k.value) for k in node.value.keywords}
                yield _Command(path.stem, path.stem, "app", "", given["help"], [])


def _panel(function: ast.FunctionDef) -> str:
    """The panel that `@command(panel)` puts a function into; "" for no command."""
    for call in function.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "command":
            return str(ast.literal_eval(call.args[0]))
    return ""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit()


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Everything stays on this machine unless you ask otherwise."""


def _assembled(wanted: str | None = None, alone: bool = False) -> typer.Typer:
    """The program: of `wanted` its command in earnest, of others the names and sentences, or, where
    it stands `alone` in a module of its name, nothing; all in earnest without."""
    made = typer.Typer(
        name="vaultgpt",
        help="Learns to write like the author of a Markdown vault, and writes on in that voice.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    own = _commands(f"{wanted}*") if alone else ()  # to parse all takes 15 ms
    found = [one for one in own if one.name == wanted] or list(_commands())
    for one in (one for one in found if not one.panel):
        group = _real(one) if wanted in (None, one.name) else typer.Typer(help=one.help)
        made.add_typer(group, name=one.name, rich_help_panel=commands.PANELS[0])
        if not group.registered_commands:
            group.command("nothing")(_stub)
    for one in sorted(
        (one for one in found if one.panel), key=lambda one: commands.PANELS.index(one.panel)
    ):
        run = _real(one) if wanted in (None, one.name) else _stub
        below_0 = {"ignore_unknown_options": one.name == "config"}  # a value may be -1
        made.command(one.name, rich_help_panel=one.panel, help=one.help, context_settings=below_0)(
            run
        )
    return made


def _real(one: _Command) -> Any:
    """The command's function or the group's Typer; their module is imported."""
    return getattr(importlib.import_module(f"{commands.__name__}.{one.module}"), one.made)


def _stub() -> None:
    """In the place of a command that is not asked for."""


def _plainly(name: str, words: Iterable[str]) -> Callable[[], None] | None:
    """The command with what it is given, where that is a vault and --json and it takes no more;
    None where typer must read it. That loads pydantic and makes a reader for each option: 60 ms."""
    of_name = (one for one in _commands(f"{name}*") if one.name == name)
    if (one := next(of_name, None)) is None or one.takes != ["vault_argument", "vault", "as_json"]:
        return None
    given: dict[str, Path | bool] = {}
    rest = iter(words)
    for word in rest:
        if word == "--json":
            given["as_json"] = True
            continue
        named = word in ("--vault", "-v")
        name, path = ("vault", next(rest, "-")) if named else ("vault_argument", word)
        if name in given or path.startswith("-"):
            return None
        given[name] = Path(path)
    return partial(_real(one), **given)


@cache
def _whole() -> typer.Typer:
    return _assembled()


def __getattr__(name: str) -> Any:
    """`app`: the program with all its commands."""
    if name == "app":
        return _whole()
    raise AttributeError(name)


def _all_streams() -> None:
    """What was closed as we were started, as by `>&-`, reads and writes nothing: no file of ours
    gets its descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _told_to_end() -> None:
    """A command that is told to end, by a terminal that is closed too, ends as by Ctrl-C: what it
    has half written goes. What nohup has it ignore stays ignored."""

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a shell and its terminal both tell
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        told = getattr(signal, name, None)
        if told is not None and signal.getsignal(told) == signal.SIG_DFL:
            signal.signal(told, end)


def main() -> None:
    """Do what the command line says."""
    _told_to_end()
    _all_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # Windows' pipes and old locales lack most letters
        sys.stdout.reconfigure(errors="replace")
    no_core()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looked for among all packages
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    wanted = words[0] if words else ""
    alone = sys.argv[1:2] == [wanted] and wanted.isidentifier()
    if alone and not completing and (run := _plainly(wanted, sys.argv[2:])) is not None:
        try:
            run()
        except typer.Exit as ended:
            sys.exit(ended.exit_code)
    else:
        made = _whole() if completing else _assembled(wanted, alone)
        if wanted:  # for typer, which would load it where it takes Ctrl-C for itself
            import pydantic  # noqa: F401
        try:
            made()
        except OSError as error:  # of the help or the version: a command tells its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(f"error: Standard output can't be written to: {error.strerror}.")
