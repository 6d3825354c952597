"""Settings of a vault: every option once, with its sentence, unit and default.

Knows nothing about where the file lies (state.py) or who reads an option. `config.toml` holds only
what the author changed.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from vaultgpt.errors import UsageError
from vaultgpt.files import write_atomic
from vaultgpt.wire import Sampling


def option(default: Any, doc: str, unit: str = "", check: str = "") -> Any:
    """A dataclass field with its sentence, unit and a check: a regex, or "low..high"."""
    meta = {"doc": doc, "unit": unit, "check": check}
    if isinstance(default, list):
        return field(default_factory=lambda: tuple(default), metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class Rules:
    """Which notes are used, for training and for writing alike."""

    exclude: tuple[str, ...] = option([], "Gitignore-style patterns of notes that are never used")
    only: tuple[str, ...] = option([], "If set, only notes matching one of these patterns are used")
    exclude_tags: tuple[str, ...] = option(
        ["private", "vaultgpt/off"],
        "Notes with one of these tags, or a tag below it, are never used",
    )
    obsidian_excluded: bool = option(True, "Leave out Obsidian's own excluded files")
    templates: bool = option(False, "Learn from templates too")
    clippings: bool = option(
        False, "Learn from clippings too (notes with a source or url property)"
    )
    min_words: int = option(3, "A note with fewer words of prose is left out", "words", "0..10000")


@dataclass(frozen=True)
class Schedule:
    """When the daemon looks and learns."""

    nightly: str = option(
        "03:00",
        'Local hour of the nightly round; "off" for none',
        "HH:MM",
        r"off|([01]\d|2[0-3]):[0-5]\d",
    )
    nightly_words: int = option(
        200, "New words that make a nightly round worth while", "words", "1..1000000"
    )
    trigger_words: int = option(
        1500, "New words that start a round at once; 0 for never", "words", "0..10000000"
    )
    quiet_s: float = option(
        3600.0, "An entry is learned once it has been quiet this long", "s", "0..604800"
    )
    on_battery: bool = option(False, "Train on battery too")
    while_writing: bool = option(False, "Train while the author writes too")
    writing_quiet_s: float = option(
        300.0, "The author writes when a note or a request is newer", "s", "0..86400"
    )
    gpu_busy_percent: int = option(
        30, "Do not train when another program uses more of the GPU", "%", "0..100"
    )
    debounce_s: float = option(
        2.0, "Quiet time after a change before the vault is read", "s", "0..60"
    )
    debounce_cap_s: float = option(15.0, "Longest delay of that reading", "s", "0..600")
    reconcile_s: float = option(300.0, "The whole vault is compared this often", "s", "1..86400")
    deletion_days: float = option(
        7.0, "A deleted note is unlearned after this time", "days", "0..365"
    )
    vanished_percent: int = option(
        10, "If more of the vault vanishes at once, learning pauses", "%", "1..100"
    )


@dataclass(frozen=True)
class Training:
    """How a round learns. 0 or "auto" means: chosen from the vault and the base."""

    device: str = option(
        "auto", "Where rounds run: auto, cpu, cuda, cuda:N or mps", "", r"auto|cpu|mps|cuda(:\d+)?"
    )
    dtype: str = option(
        "auto", "Arithmetic of rounds: auto, float32 or bfloat16", "", r"auto|float32|bfloat16"
    )
    threads: int = option(
        0, "CPU threads of a round; 0 for the physical cores", "threads", "0..256"
    )
    rank: int = option(0, "LoRA rank; 0 chooses by words and base", "", "0..256")
    learning_rate: float = option(
        0.0, "Peak learning rate; 0 chooses by the base's size", "", "0..1"
    )
    epochs: float = option(
        2.0, "Most passes of a fresh round over the vault", "passes", "0.01..100"
    )
    new_passes: float = option(
        2.0, "Most passes of an incremental round over new text", "passes", "0.1..100"
    )
    first_round_s: float = option(180.0, "Budget of the first round", "s", "10..86400")
    batch_tokens: int = option(
        0, "Most tokens of one optimiser step; 0 chooses", "tokens", "0..1000000"
    )
    block_tokens: int = option(
        0, "Longest block of packed entries; 0 chooses by the base's size", "tokens", "0..32768"
    )
    embedding: bool = option(True, "Train the token embedding too (kept as a file of its own)")
    seed: int = option(
        1, "Seed of the first round; each round adds its number", "", "0..4294967295"
    )
    keep: int = option(5, "Generations kept besides the active one", "generations", "1..1000")
    pause: bool = option(False, "No rounds start by themselves")


@dataclass(frozen=True)
class Mirror:
    """How the mirror writes. Requests may override each of these."""

    device: str = option(
        "auto", "Where it writes: auto, cpu, cuda, cuda:N or mps", "", r"auto|cpu|mps|cuda(:\d+)?"
    )
    dtype: str = option(
        "auto", "Arithmetic: auto, float32, bfloat16 or int8", "", r"auto|float32|bfloat16|int8"
    )
    threads: int = option(0, "CPU threads; 0 for the idle physical cores", "threads", "0..256")
    idle_minutes: float = option(
        15.0, "The worker leaves after this long without a request", "minutes", "0.01..10000"
    )
    temperature: float = option(
        Sampling.temperature, "Higher is bolder; 0 always takes the likeliest token", "", "0..5"
    )
    top_p: float = option(
        Sampling.top_p, "Keep the likeliest tokens up to this share", "", "0.01..1"
    )
    min_p: float = option(
        Sampling.min_p, "Drop tokens this much rarer than the likeliest: tamer, and less like you",
        "", "0..1"
    )
    dry_multiplier: float = option(
        Sampling.dry_multiplier, "Strength of the guard against loops; 0 is off", "", "0..10"
    )
    voice: float = option(Sampling.voice, "Voice strength beyond the adapter's own", "", "0..2")
    tag_strength: float = option(
        Sampling.tag_strength, "How strongly tags are obeyed; above 1 is slower", "", "0..5"
    )
    guard: bool = option(Sampling.guard, "Never complete a run of 10 words that is in the vault")

    def sampling(self) -> Sampling:
        """How it writes where a request says nothing else."""
        shared = {f.name for f in fields(self)} & {f.name for f in fields(Sampling)}
        return Sampling(**{name: getattr(self, name) for name in shared})


@dataclass(frozen=True)
class Server:
    """Where the daemon listens."""

    host: str = option("127.0.0.1", "Address to listen on", "", r"127\.0\.0\.1|::1|localhost")
    port: int = option(0, "Port to listen on; 0 for any free one", "", "0..65535")
    origins: tuple[str, ...] = option([], "Exact Origins that may call the API from a browser")
    max_body_kb: int = option(1024, "Largest request body", "KiB", "1..65536")
    queue: int = option(8, "Requests that may wait for the mirror", "requests", "1..1000")


@dataclass(frozen=True)
class Settings:
    """All options of one vault; each is shown and set as `section.key`."""

    base: str = option("pebble", "Base model: pebble, a Hugging Face id, or a folder")
    rules: Rules = field(default_factory=Rules)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    mirror: Mirror = field(default_factory=Mirror)
    server: Server = field(default_factory=Server)


SECTIONS = ("rules", "schedule", "training", "mirror", "server")


@dataclass(frozen=True)
class OptionInfo:
    """One option as `config` shows it."""

    key: str
    value: Any
    default: Any
    unit: str
    doc: str


def _fields_of(section: Any) -> list[tuple[str, Any]]:
    return [(f.name, f) for f in fields(section) if f.name not in SECTIONS]


def _default(f: Any) -> Any:
    return f.default if f.default is not MISSING else f.default_factory()


def describe(settings: Settings) -> list[OptionInfo]:
    """Every option with value, default, unit and sentence, in file order."""
    out = []
    for prefix, part in [("", settings), *((s + ".", getattr(settings, s)) for s in SECTIONS)]:
        for name, f in _fields_of(part):
            out.append(
                OptionInfo(
                    prefix + name,
                    getattr(part, name),
                    _default(f),
                    f.metadata["unit"],
                    f.metadata["doc"],
                )
            )
    return out


def _checked(key: str, f: Any, value: Any) -> Any:
    """`value` in the option's type, or UsageError saying what it takes."""
    default, check = _default(f), f.metadata["check"]
    try:
        typed = _typed(default, value)
    except (TypeError, ValueError):
        kind = {
            bool: "true or false",
            int: "a whole number",
            float: "a number",
            tuple: "a list",
        }.get(type(default), "text")
        raise UsageError(f"{key} takes {kind}.", f"Its default is {show(default)}.") from None
    if check and isinstance(default, str) and not re.fullmatch(check, typed):
        raise UsageError(f"{key} can't be {typed!r}.", f"{f.metadata['doc']}.")
    if check and isinstance(default, (int, float)) and not isinstance(default, bool):
        low, high = (float(x) for x in check.split(".."))
        if not low <= typed <= high:
            raise UsageError(
                f"{key} must lie between {low:g} and {high:g}.", f"{f.metadata['doc']}."
            )
    return typed


def _typed(default: Any, value: Any) -> Any:
    if isinstance(default, bool):
        words = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
        if isinstance(value, bool):
            return value
        return words[str(value).lower()] if str(value).lower() in words else int("x")
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


def with_option(settings: Settings, key: str, value: Any) -> Settings:
    """A copy with one option changed. UsageError names the nearest keys when there is none."""
    section, _, name = key.rpartition(".")
    part: Any = getattr(settings, section, None) if section else settings
    found = dict(_fields_of(part)).get(name) if section in ("", *SECTIONS) and part else None
    if found is None:
        close = ", ".join(o.key for o in describe(settings) if name and name in o.key)
        raise UsageError(
            f"There is no option {key!r}.",
            f"Did you mean {close}?" if close else "`vaultgpt config` lists them.",
        )
    changed = replace(part, **{name: _checked(key, found, value)})
    return changed if not section else replace(settings, **{section: changed})


def load_settings(path: Path) -> Settings:
    """Settings from config.toml; defaults when the file is missing. UsageError for a bad one."""
    if not path.exists():
        return Settings()
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not valid TOML ({type(error).__name__}).",
            "Mend or delete it; defaults then apply.",
        ) from None
    settings = Settings()
    for name, value in document.items():
        entries = value.items() if isinstance(value, dict) else [("", value)]
        for sub, inner in entries:
            settings = with_option(settings, f"{name}.{sub}" if sub else name, inner)
    return settings


def save_option(path: Path, key: str, value: Any) -> Settings:
    """Set one option in config.toml, keeping the author's comments; return the new settings."""
    settings = with_option(load_settings(path), key, value)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    document = tomlkit.parse(text)
    section, _, name = key.rpartition(".")
    stored = getattr(getattr(settings, section) if section else settings, name)
    stored = list(stored) if isinstance(stored, tuple) else stored
    if section:
        table = document.setdefault(section, tomlkit.table())
        table[name] = stored
    else:
        document[name] = stored
    write_atomic(path, tomlkit.dumps(document))
    return settings


def show(value: Any) -> str:
    """A value as a person would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(value) or "(none)"
    return str(value)
