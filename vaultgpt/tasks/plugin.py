"""Puts the built Obsidian plugin into a vault. Never creates .obsidian; merges the plugin list.

Knows nothing about what the plugin does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import vaultgpt
from vaultgpt.errors import NotFound, VaultError
from vaultgpt.files import write_atomic

_PLUGIN_ID = "vaultgpt"
_BUILT = Path(vaultgpt.__file__).parent / "plugin_build"
_FILES = ("main.js", "manifest.json", "styles.css")
_NOTE_MODE = 0o644  # the vault is the author's: sync tools must be able to read it


class _Installed(TypedDict):
    """Where the plugin lies now, whether it was not enabled before, and what to do next."""

    folder: str
    enabled: bool
    first: bool
    sentence: str


def installed(vault: Path) -> Path | None:
    """Where the plugin lies in a vault; None where it does not."""
    folder = vault / ".obsidian" / "plugins" / _PLUGIN_ID
    return folder if folder.is_dir() else None


def bundled() -> bool:
    """Whether this package carries the built plugin."""
    return (_BUILT / "main.js").exists() and (_BUILT / "manifest.json").exists()


def install_plugin(vault: Path) -> _Installed:
    """Copy the plugin into `vault`/.obsidian/plugins and enable it.

    NotFound when this package carries no plugin or the vault was never opened in Obsidian."""
    if not bundled():
        raise NotFound(
            "This version carries no Obsidian plugin yet.",
            "The command line and the HTTP API do all it will do.",
        )
    settings = vault / ".obsidian"
    if not settings.is_dir():
        raise NotFound(
            "This folder has not been opened in Obsidian yet (it has no .obsidian).",
            "Open it there once, then run `vaultgpt plugin install`.",
        )
    listed = settings / "community-plugins.json"
    enabled = _enabled(listed)
    folder = settings / "plugins" / _PLUGIN_ID
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (_BUILT / name).exists():
            write_atomic(folder / name, (_BUILT / name).read_bytes(), _NOTE_MODE)
    first = _PLUGIN_ID not in enabled
    if first:
        write_atomic(listed, json.dumps([*enabled, _PLUGIN_ID], indent=2), _NOTE_MODE)
    sentence = (
        "Reload Obsidian, and turn community plugins on if they are off, to start it."
        if first
        else "Updated; reload Obsidian to start the new version."
    )
    return _Installed(
        folder=str(folder),
        enabled=True,
        first=first,
        sentence=f"The plugin is in {folder}. {sentence}",
    )


def _enabled(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        value = None
    if not isinstance(value, list):
        raise VaultError(f"{path} is not a list of plugins.", "Mend or delete it; it is untouched.")
    return [str(item) for item in value]
