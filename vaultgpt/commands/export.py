"""`vaultgpt export DIR [--merged]`: the active generation for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    err,
    locate,
    out,
    print_json,
    split_arguments,
)
from vaultgpt.errors import UsageError
from vaultgpt.generation_folders import EMBEDDING
from vaultgpt.tasks.export import WHOLE, Form
from vaultgpt.tasks.export import export as write_export

_WARNING = (
    "This is your diary in another form: whoever holds it can draw your words out of it. "
    "Keep it private and out of synced folders."
)


@command("Voices")
def export(
    args: Annotated[
        list[str],
        typer.Argument(metavar="[VAULT] DIR", show_default=False, help="A new or empty folder."),
    ],
    vault: VaultOption = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The adapter alone, in PEFT's form: the default.")
    ] = False,
    merged: Annotated[
        bool, typer.Option("--merged", help="A whole model rather than an adapter.")
    ] = False,
    gguf: Annotated[
        bool,
        typer.Option("--gguf", help="A whole model for llama.cpp; with --adapter a LoRA for it."),
    ] = False,
    ollama: Annotated[
        bool, typer.Option("--ollama", help="A whole model, and Ollama's Modelfile for it.")
    ] = False,
    mlx: Annotated[bool, typer.Option("--mlx", help="The adapter in mlx_lm's form.")] = False,
    inside_vault: Annotated[
        bool, typer.Option("--inside-vault", help="Let DIR lie inside the vault.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write your voice for other programs: an adapter, or merged into a whole model."""
    vault, rest = split_arguments(args, vault, 1, "DIR")
    if not rest:
        raise UsageError("Say where to.", "Give a new or empty folder.")
    form = _form(adapter, merged, gguf, ollama, mlx)
    state, target = locate(vault), Path(rest[0]).expanduser()
    active = write_export(state, form, target, inside_vault)
    files = sorted(file.name for file in target.iterdir())
    if as_json:
        print_json(
            {
                "generation": active,
                "folder": str(target),
                "form": form,
                "merged": form in WHOLE,
                "files": files,
                "warning": _WARNING,
            }
        )
        return
    out.print(f"{active} is in {target}: its README.md says how to ask it.", markup=False)
    if form not in WHOLE and (state.generations / active / EMBEDDING).exists():
        out.print(
            f"Other programs read the adapter but not {EMBEDDING}: they write "
            "a little less in your voice. --merged carries both.",
            markup=False,
        )
    err.print(_WARNING, style="yellow", markup=False)


def _form(adapter: bool, merged: bool, gguf: bool, ollama: bool, mlx: bool) -> Form:
    """What the options mean together. UsageError for two that contradict each other."""
    if gguf + ollama + mlx > 1 or (adapter and merged):
        raise UsageError("These options contradict each other.", "Give one form.")
    if ollama and adapter:
        raise UsageError("For Ollama the whole model is written.", "Leave --adapter out.")
    if mlx and merged:
        raise UsageError("mlx_lm reads what --merged writes as it is.", "Leave --mlx out.")
    if gguf:
        return "gguf-adapter" if adapter else "gguf"
    return "ollama" if ollama else "mlx" if mlx else "merged" if merged else "adapter"
