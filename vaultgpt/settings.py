"""Settings of a vault: every option once, with its sentence, unit, bounds and default.

How the mirror samples stands in wire.py, for requests take it too. Knows nothing about where the
file lies (state.py) or who reads an option. `config.toml` holds only what the author changed.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vaultgpt.errors import StateError, UnknownOption, UsageError
from vaultgpt.files import write_atomic
from vaultgpt.options import option, with_option
from vaultgpt.wire import Sampling

_UNSURE = "It may be meant to leave notes out: nothing is learned until it is mended or deleted."
_told: set[str] = set()  # what this process has said of a file


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
        False,
        "Learn from clippings, excerpts and assistants' chats too (by properties, marks, folders)",
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
    until: str = option(
        "off",
        "A full round of over ten minutes learns from the nightly hour until this local one, night "
        'after night; "off": it runs on by day',
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
    reconcile_s: float = option(
        300.0,
        "The whole vault is compared this often; rarer where that takes long",
        "s",
        "1..86400",
    )
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
    processes: int = option(
        1, "Processes a round learns in, each on a graphics card of its own", "processes", "1..64"
    )
    whole_params: int = option(
        1_000_000_000,
        "Of a larger base each of several processes keeps a part of the weights (FSDP)",
        "parameters",
        "0..1000000000000",
    )
    rank: int = option(0, "LoRA rank; 0 chooses by words and base", "", "0..256")
    learning_rate: float = option(
        0.0, "Peak learning rate; 0 chooses by the base's size", "", "0..1"
    )
    epochs: float = option(
        0.0,
        "Most passes of a fresh round over the vault; 0 takes two",
        "passes",
        "0..100",
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
    keep: int = option(5, "Voices kept besides the one that writes", "voices", "1..1000")
    pause: bool = option(False, "No rounds start by themselves")


@dataclass(frozen=True)
class Mirror(Sampling):
    """How the mirror writes: where, and what a request may say otherwise (wire.Sampling)."""

    device: str = option(
        "auto", "Where it writes: auto, cpu, cuda, cuda:N or mps", "", r"auto|cpu|mps|cuda(:\d+)?"
    )
    dtype: str = option(
        "auto",
        "Arithmetic: auto, float32, bfloat16, float16 or int8",
        "",
        r"auto|float32|bfloat16|float16|int8",
    )
    cuda_graphs: bool = option(
        False,
        "On CUDA, start each token's step as one captured graph; a base without a voice that "
        "vaults share does so where one of them asks: not yet tried on a card",
    )
    threads: int = option(0, "CPU threads; 0 for the idle physical cores", "threads", "0..256")
    idle_minutes: float = option(
        15.0, "The worker leaves after this long without a request", "minutes", "0.01..10000"
    )
    shared: bool = option(
        True, "Under serve --all, write in the one process that does so for all vaults"
    )
    engine: str = option(
        "own",
        "Who writes: own, or openai for the completions server at mirror.engine_url",
        "",
        "own|openai",
    )
    engine_url: str = option(
        "",
        "That server's address, such as http://127.0.0.1:8080",
        "",
        r"|https?://[^\s/?#]+(/\S*)?",
    )
    engine_model: str = option("", "Its name for the base; empty takes the first one it lists")
    engine_key_file: str = option("", "File that holds its API key; empty for none")
    engine_voices: str = option(
        "", "What its machine calls the state's folder engine; empty where that is this machine"
    )
    engine_off_machine: bool = option(
        False, "Let your text leave this machine: the engine may have an address elsewhere"
    )

    def refused(self) -> str:
        """Why nothing may be sent to the engine's address, in a sentence; "" where it may."""
        host = _host(self.engine_url)
        if not host:
            return "mirror.engine is openai and mirror.engine_url names no server."
        if self.engine_off_machine or _is_loopback(host):
            return ""
        return (
            f"mirror.engine_url ({host}) is not this machine, so nothing is sent there. "
            "mirror.engine_off_machine lets your text leave it."
        )

    def sampling(self) -> Sampling:
        """How it writes where a request says nothing else."""
        return Sampling(**{f.name: getattr(self, f.name) for f in fields(Sampling)})


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    """A name other than localhost may mean any machine, today or tomorrow."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Server:
    """Where the daemon listens."""

    host: str = option("127.0.0.1", "Address to listen on", "", r"127\.0\.0\.1|::1|localhost")
    port: int = option(0, "Port to listen on; 0 for any free one", "", "0..65535")
    origins: tuple[str, ...] = option([], "Exact Origins that may call the API from a browser")
    phone: str = option(
        "",
        "Name of your own HTTPS proxy, as HOST or HOST:PORT, through which a phone may write; "
        "empty for none",
        "",
        r"(?i)(([a-z0-9-]+\.)+[a-z][a-z0-9-]*(:[0-9]{1,5})?)?",
    )
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


def load_settings(path: Path, changes: Iterable[str] = ()) -> Settings:
    """Settings from config.toml, then `changes`, each "section.key=value".

    Defaults when the file is missing. StateError for a bad one, UsageError for a change that has no
    meaning. A key of the file that there is no option for is left alone, and told of once on
    standard error."""
    settings, unknown = _from_file(path)
    if fresh := [said for one in unknown if (said := one.sentence) not in _told]:
        import logging  # only who has something to say needs it

        _told.update(fresh)
        logging.getLogger("vaultgpt.settings").warning("%s", " ".join(fresh))
    return with_changes(settings, changes)


def unknown_keys(path: Path) -> list[str]:
    """A sentence for each key of config.toml that there is no option for. StateError as above."""
    return [one.sentence for one in _from_file(path)[1]]


def unsure_rules(path: Path) -> str:
    """Why nothing may be learned by this config.toml, else "". StateError as above.

    What it says in vain may be what was to leave notes out."""
    said = [one.sentence for one in _from_file(path)[1] if one.may_be_a_rule()]
    return " ".join([*said, _UNSURE]) if said else ""


def with_changes(settings: Settings, changes: Iterable[str]) -> Settings:
    """A copy with each "section.key=value" set. UsageError for one that has no meaning."""
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"{change!r} sets nothing.", "It takes key=value.")
        settings = with_option(settings, key.strip(), value.strip())
    return settings


@dataclass(frozen=True)
class _UnknownKey:
    """What the file says in vain."""

    key: str
    near: tuple[str, ...]  # the keys that may have been meant
    sentence: str

    def may_be_a_rule(self) -> bool:
        """Whether it is a rule's by its section, by what it is near to, or by its own words."""
        return any(one.startswith("rules.") for one in (self.key, *self.near)) or any(
            f.name in self.key.lower() for f in fields(Rules)
        )


def _from_file(path: Path) -> tuple[Settings, list[_UnknownKey]]:
    """What the file says, and what it says in vain."""
    settings, unknown = Settings(), list[_UnknownKey]()
    for key, value in _entries(path):
        try:
            settings = with_option(settings, key, value)
        except UnknownOption as error:
            if is_dataclass(getattr(settings, key, None)):
                said = f"{path}: {key} takes options, as [{key}] and lines below it."
                raise StateError(said) from None
            unknown.append(_UnknownKey(key, error.near, f"{path.name}: {error}"))
        except UsageError as error:
            raise StateError(f"{path}: {error.message}", error.mend) from None
    return settings, unknown


_DAMAGED = "Mend that, or delete the file: every option then has its default."


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.exists():
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise StateError(f"{path} is not valid TOML: it is not UTF-8.", _DAMAGED) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line \d+", str(error))
        where = place[0] if place else "at its end"
        raise StateError(f"{path} is not valid TOML {where}.", _DAMAGED) from None
    for name, value in document.items():
        if isinstance(value, dict) and name != "base":
            yield from ((f"{name}.{sub}", inner) for sub, inner in value.items())
        else:
            yield name, value


def save_option(path: Path, key: str, value: Any) -> Settings:
    """Set one option in config.toml, keeping the author's comments; return the new settings."""
    import tomlkit  # 1 MB and 20 ms, which only who writes needs

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
