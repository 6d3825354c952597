"""Bring a base model onto this machine with a progress bar; shared by `base` and `init`."""

from __future__ import annotations

from rich.progress import Progress

from vaultgpt.bases import Base, download
from vaultgpt.state import VaultState


def fetch_base(name: str, state: VaultState, bar: Progress) -> Base:
    """The base called `name`, downloaded first if it is not here. BaseModelError."""
    task = bar.add_task(f"Fetching {name}", total=None)

    def on_progress(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total or None)

    found = download(name, state, on_progress)
    bar.update(task, total=1, completed=1)
    return found
