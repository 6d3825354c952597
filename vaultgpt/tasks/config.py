"""Settings as a person sees them: every option with its value, default, bounds and sentence.

Knows nothing about terminals or HTTP.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from vaultgpt.errors import Forbidden
from vaultgpt.options import Option, describe, show
from vaultgpt.settings import Settings, save_option
from vaultgpt.state import VaultState
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.vault_service import Desk, Here, Task
from vaultgpt.wire import Hear

# Not over HTTP: who may call is said at the terminal, and a base is fetched there.
_LOCAL = ("base", "server.")


_ABOUT = """# Options

Each vault has its own. `vaultgpt config` shows them all with their values,
`vaultgpt config KEY VALUE` sets one, and `config.toml` in the vault's state folder holds those that
were changed. A running daemon takes them over at once. `--set KEY=VALUE` sets one for a single call
of `continue`, `train`, `report`, `scan` or `why`:

    vaultgpt continue --text "I" --set mirror.temperature=0.8

`GET /v1/options` tells all this to programs. How the mirror samples (`mirror.temperature` to
`mirror.heal`) a request may say for itself too: [http.md](http.md).

This page is made by `scripts/options`."""


class _Bounds(TypedDict, total=False):
    """Of a number `low` and `high`, both allowed; of a text the `pattern` it matches whole."""

    low: float
    high: float
    pattern: str


class OptionRow(TypedDict):
    """One option. `type` is boolean, integer, number, text or list (of texts)."""

    key: str
    type: str
    value: Any
    default: Any
    bounds: _Bounds | None
    unit: str
    sentence: str


class _Options(TypedDict):
    """Every option, in the order of the settings."""

    options: list[OptionRow]


class SetRequest(Question):
    """One option's new value, as JSON or as a person would type it."""

    key: str
    value: bool | int | float | str | list[str]


class Done(TypedDict):
    """It is done."""

    ok: bool


def rows(settings: Settings) -> list[OptionRow]:
    """Every option of these settings."""
    return [_row(one) for one in describe(settings)]


def _page(settings: Settings) -> str:
    """docs/options.md: a table a section."""
    lines = [_ABOUT]
    section = None
    for of in describe(settings):
        above = of.key.rpartition(".")[0]
        if above != section:
            section = above
            title = above.capitalize() or "The base"
            lines += [f"\n## {title}\n", "| option | default | takes | what |", "|---|---|---|---|"]
        sentence = of.doc + (f" ({of.unit})" if of.unit else "")
        cells = (f"`{of.key}`", f"`{show(of.default)}`", of.takes, sentence)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _row(of: Option) -> OptionRow:
    bounds: _Bounds | None = None
    if of.low is not None and of.high is not None:
        bounds = _Bounds(low=of.low, high=of.high)
    elif of.pattern:
        bounds = _Bounds(pattern=of.pattern)
    return OptionRow(
        key=of.key,
        type=of.kind,
        value=_plain(of.value),
        default=_plain(of.default),
        bounds=bounds,
        unit=of.unit,
        sentence=of.doc,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _options(desk: Desk, _asked: None) -> _Options:
    return _Options(options=rows(desk.settings))


def set_option(state: VaultState, asked: SetRequest) -> OptionRow:
    """Store one option's new value. Forbidden for those that only the terminal sets."""
    if asked.key.startswith(_LOCAL):
        raise Forbidden("This option is set at the terminal.", "local_option", param="key")
    settings = save_option(state.config, asked.key, asked.value)
    return next(row for row in rows(settings) if row["key"] == asked.key)


def _nothing_to_reload(_service: Here, _asked: None, _hear: Hear) -> Done:
    return Done(ok=True)


OPTIONS = Task(
    "GET",
    "/v1/options",
    "Every setting: key, value, default, bounds, unit, sentence",
    None,
    _Options,
    work=_options,
)
SET_OPTION: Task[SetRequest, OptionRow] = Task(
    "POST",
    "/v1/options",
    "Set one setting, but for those of who may call",
    SetRequest,
    OptionRow,
    here=lambda service, asked, _hear: set_option(service.state, asked),
    writes="ledger",
)
RELOAD: Task[None, Done] = Task(
    "POST",
    "/v1/reload",
    "Read settings, token and ledger again",
    None,
    Done,
    here=_nothing_to_reload,
)
