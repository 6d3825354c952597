"""An option: default, bounds, unit and sentence, stated once on the field of a dataclass.

Settings file, requests, command line and documents are made from it. Knows nothing about any one
option, nor where values are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from vaultgpt.errors import UnknownOption, UsageError

_S = TypeVar("_S")
_BOUNDS = re.compile(r"(-?[\d.]+)\.\.(-?[\d.]+)")
_WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a list"}
_NAMES = {bool: "boolean", int: "integer", float: "number", tuple: "list", str: "text"}


def option(default: Any, doc: str, unit: str = "", check: str = "") -> Any:
    """A dataclass field with its sentence, unit and a check: a regex, or "low..high"."""
    meta = {"doc": doc, "unit": unit, "check": check}
    if isinstance(default, list):
        return field(default_factory=lambda: tuple(default), metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class Option:
    """One option as it is shown. `low` and `high` bound a number, `pattern` a text."""

    key: str
    value: Any
    default: Any
    unit: str
    doc: str
    low: float | None
    high: float | None
    pattern: str | None

    @property
    def kind(self) -> str:
        """ "boolean", "integer", "number", "text" or "list"."""
        return _NAMES[type(self.default)]

    @property
    def takes(self) -> str:
        """Its bounds, its pattern in back-quotes, or its kind."""
        if self.low is not None and self.high is not None:
            return f"{_figure(self.low)} to {_figure(self.high)}"
        kind = {"boolean": "true, false"}.get(self.kind, self.kind)
        return f"`{self.pattern}`" if self.pattern else kind


def describe(settings: Any) -> list[Option]:
    """Every option of a dataclass and of the dataclasses in it, in their order."""
    own = [_option(f, f.name, getattr(settings, f.name)) for f in _options(settings)]
    for section in _sections(settings):
        part = getattr(settings, section)
        own += [_option(f, f"{section}.{f.name}", getattr(part, f.name)) for f in _options(part)]
    return own


def option_of(owner: Any, name: str) -> Option:
    """The option `name` of a dataclass."""
    found = next(f for f in fields(owner) if f.name == name)
    return _option(found, name, _default(found))


def with_option(settings: _S, key: str, value: Any) -> _S:
    """A copy with one option changed. UnknownOption names the nearest keys; UsageError."""
    section, _, name = key.rpartition(".")
    part: Any = settings if not section else None
    if section in _sections(settings):
        part = getattr(settings, section)
    found = next((f for f in _options(part) if f.name == name), None) if part else None
    if found is None:
        near = _alike(key, name, [o.key for o in describe(settings)])
        mend = f"Did you mean {', '.join(near)}?" if near else "`vaultgpt config` lists them."
        raise UnknownOption(f"There is no option {key!r}.", mend, tuple(near))
    changed = replace(part, **{name: _checked(_option(found, key, None), value)})
    return changed if not section else replace(settings, **{section: changed})  # type: ignore[type-var]


def _alike(key: str, name: str, known: list[str]) -> list[str]:
    """The keys that may have been meant."""
    from difflib import get_close_matches  # only who errs needs it

    within = [one for one in known if name and name.lower() in one]
    names = {one.rpartition(".")[2]: one for one in known}
    return within or list(
        dict.fromkeys(
            get_close_matches(key.lower(), known, 3, 0.75)
            + [names[one] for one in get_close_matches(name.lower(), names, 3, 0.75)]
        )
    )


def _figure(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def show(value: Any) -> str:
    """A value as a person would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(value) or "(none)"
    return str(value)


def _options(part: Any) -> Iterator[Field[Any]]:
    return (f for f in fields(part) if "doc" in f.metadata)


def _sections(settings: Any) -> list[str]:
    return [f.name for f in fields(settings) if is_dataclass(getattr(settings, f.name))]


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _option(f: Field[Any], key: str, value: Any) -> Option:
    default, check = _default(f), f.metadata["check"]
    number = isinstance(default, (int, float)) and not isinstance(default, bool)
    bounds = _BOUNDS.fullmatch(check) if number else None
    low, high = (float(bounds[1]), float(bounds[2])) if bounds else (None, None)
    pattern = check if check and not number else None
    return Option(key, value, default, f.metadata["unit"], f.metadata["doc"], low, high, pattern)


def _checked(of: Option, value: Any) -> Any:
    """`value` in the option's type, or UsageError saying what it takes."""
    try:
        typed = _typed(of.default, value)
    except (TypeError, ValueError, KeyError):
        kind = _KINDS.get(type(of.default), "text")
        raise UsageError(f"{of.key} takes {kind}.", f"Its default is {show(of.default)}.") from None
    unit = f" [{of.unit}]" if of.unit else ""
    if of.pattern and isinstance(typed, str) and not re.fullmatch(of.pattern, typed):
        raise UsageError(f"{of.key} can't be {typed!r}.", f"{of.doc}{unit}.")
    if of.low is not None and of.high is not None and not of.low <= typed <= of.high:
        low, high = _figure(of.low), _figure(of.high)
        raise UsageError(f"{of.key} must lie between {low} and {high}.", f"{of.doc}.")
    return typed


def _typed(default: Any, value: Any) -> Any:
    if isinstance(default, bool):
        return value if isinstance(value, bool) else _WORDS[str(value).lower()]
    if isinstance(default, int):
        return int(value) if not isinstance(value, float) else int(str(value))
    if isinstance(default, float):
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError
        return number
    if isinstance(default, tuple):
        items = value.split(",") if isinstance(value, str) else list(value)
        return tuple(str(item).strip() for item in items if str(item).strip())
    if not isinstance(value, str):
        raise TypeError
    return value
