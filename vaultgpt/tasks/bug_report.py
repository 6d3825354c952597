"""What `vaultgpt doctor --report` writes for a bug report: versions, settings, counts and times.

Nothing of the author's is in it by construction: it is made of numbers, of our own fixed words, and
of nothing else. Knows nothing about terminals.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import vaultgpt
from vaultgpt import errors
from vaultgpt.bases.catalogue import PEBBLE, known_base
from vaultgpt.bases.names import as_path
from vaultgpt.errors import VaultGPTError
from vaultgpt.files import free_bytes, write_json
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.rows import GenerationRow, RoundRow
from vaultgpt.options import Option, describe
from vaultgpt.settings import load_settings
from vaultgpt.state import VaultState, state_root
from vaultgpt.tasks.doctor import Finding
from vaultgpt.vault.census import census
from vaultgpt.vault.reconcile import read_vault

_PACKAGES = (
    *("torch", "transformers", "peft", "safetensors", "tokenizers", "huggingface-hub", "watchdog"),
    *("python-frontmatter", "pyyaml", "regex", "aiohttp", "numpy", "pydantic", "gguf"),
)
_LAST_ROUNDS = 20
_BITS = ("held_out", "held_out_before", "held_out_base", "new_notes", "new_notes_before")
_FIGURES = ("tokens", "tokens_per_s", "steps", "device", "written_in")
_LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d [\d:,]+ (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) "
    r"(?P<part>vaultgpt\.(?:daemon|ledger|server|workers|rounds|mirror))?"
)
_OURS = frozenset(
    {"ledger", "memory", "generations", "runs", "bases", "staging", "voice", "engine", "logs"}
    | {"config"}
)
_NAMES = ("base", "mirror.engine_url")  # options that may hold a folder's or a machine's name


_Part = Mapping[str, object]  # as it stands in the file


def write_report(state: VaultState | None, findings: Sequence[Finding], folder: Path) -> Path:
    """Write the report as JSON, readable before it is sent, into `folder`; its path."""
    path = folder / time.strftime("vaultgpt-report-%Y%m%d-%H%M%S.json")
    write_json(path, _report(state, findings))
    return path


def _report(state: VaultState | None, findings: Sequence[Finding]) -> _Part:
    told = {"versions": _versions(), "machine": _machine(), "findings": _kinds(findings)}
    return told if state is None else {**told, "vault": _vault(state)}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"vaultgpt": vaultgpt.__version__}
    found["python"] = platform.python_version()
    for name in _PACKAGES:
        found[name] = None
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _machine() -> _Part:
    """What kind of machine it is, and nothing of whose."""
    return {
        "system": platform.system(),
        "release": re.match(r"[\d.]*", platform.release())[0],  # type: ignore[index]
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "free_gib": round(free_bytes(state_root()) / 2**30, 1),
    }


def _kinds(findings: Iterable[Finding]) -> dict[str, dict[str, int]]:
    """How many of each kind were right and not: a finding's first word, without whose it is."""
    kinds: dict[str, Counter[str]] = {}
    for found in findings:
        kind = found.name.split()[0]
        kinds.setdefault(kind, Counter())["ok" if found.ok else "to mend"] += 1
    return {kind: dict(counts) for kind, counts in kinds.items()}


def _vault(state: VaultState) -> dict[str, _Part]:
    """Each part by itself: that one can't be had is told by the kind of its failure."""
    parts: dict[str, Callable[[], _Part]] = {
        "settings": lambda: _settings(state),
        "notes": lambda: _notes(state),
        "ledger": lambda: _ledger(state),
        "sizes": lambda: _sizes(state.folder),
        "log": lambda: _log(state.logs),
    }
    told: dict[str, _Part] = {}
    for name, part in parts.items():
        began = time.monotonic()
        try:
            found = part()
        except (VaultGPTError, OSError) as error:
            found = {"failed": type(error).__name__}
        told[name] = {**found, "took_s": round(time.monotonic() - began, 3)}
    return told


def _settings(state: VaultState) -> _Part:
    """What was changed: numbers and choices as they are, of texts and lists only how long."""
    settings = load_settings(state.config)
    changed = {o.key: _shown(o) for o in describe(settings) if o.value != o.default}
    return {"changed": changed, "base": _base(settings.base)}


def _shown(option: Option) -> object:
    choice = option.pattern and option.key not in _NAMES
    if option.kind in ("boolean", "integer", "number") or choice:
        return option.value
    return {"length": len(option.value)}


def _base(name: str) -> str:
    """A base that everybody knows by its name; else only what it is."""
    known = known_base(name)
    if name == PEBBLE or known:
        return known.short if known else name
    if ":" in name:
        return "packed"
    return "folder or file" if as_path(name) is not None else "from the hub"


def _notes(state: VaultState) -> _Part:
    scan = read_vault(state.vault, load_settings(state.config).rules)
    found = census(scan.read)
    return {
        **{key: found[key] for key in ("notes", "used", "words", "problems")},
        "left_out": dict(found["left_out"]),
        **{key: len(found[key]) for key in ("tags", "years", "folders")},
        "closed_folders": len(scan.closed),
        "problems_of_rules": len(scan.problems),
    }


def _ledger(state: VaultState) -> _Part:
    with Ledger.open(state) as ledger:
        rounds, generations = ledger.rounds.all(), ledger.generations.all()
        return {
            "active": ledger.generations.active(),
            "paused": ledger.paused() is not None,
            "repaired": ledger.count("memory_repaired"),
            "brought_over": ledger.meta("brought_over") is not None,
            "quarantined": len(ledger.notes.quarantined()),
            "generations": [_generation(row) for row in generations],
            "rounds": [_round(row) for row in rounds[:_LAST_ROUNDS]],
        }


def _generation(row: GenerationRow) -> _Part:
    named = ("id", "kind", "promoted", "status", "words")
    return {**{name: getattr(row, name) for name in named}, "base": _base(row.base)}


def _round(row: RoundRow) -> _Part:
    report = row.report or {}
    bits = report.get("bits_per_byte") or {}
    named = ("number", "kind", "cause", "promoted", "sampled")
    return {
        **{name: getattr(row, name) for name in named},
        "seconds": None if row.ended is None else round(row.ended - row.started, 1),
        "refused_by": [check["name"] for check in row.checks if not check["passed"]],
        "bits_per_byte": {key: bits.get(key) for key in _BITS},
        **{key: report.get(key) for key in _FIGURES},
    }


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes by what lies at the top of the state folder."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        top = path.relative_to(folder).parts[0].split(".")[0]
        with contextlib.suppress(OSError):
            found[top if top in _OURS else "other"] += path.stat().st_size
    return dict(found)


def _log(folder: Path) -> dict[str, dict[str, int]]:
    """How many lines of each level, of each part of the program, and with each failure's class."""
    lines: Counter[str] = Counter()
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if found := _LOG_LINE.match(line):
                kind = line.rsplit(" ", 1)[-1]
                known = hasattr(builtins, kind) or hasattr(errors, kind)
                part = found["part"] or "others"
                lines[" ".join([found["level"], part, *([kind] if known else [])])] += 1
    return {"lines": dict(lines)}
