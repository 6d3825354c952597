"""The active voice for other programs: a private folder, made beside its place and then renamed.

Knows nothing about terminals; how a model becomes GGUF is training/to_gguf.py's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Literal

from safetensors.numpy import save_file

from vaultgpt.bases.failures import megabytes
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import base_of_generation
from vaultgpt.children import lives
from vaultgpt.corpus.documents import opening
from vaultgpt.errors import BaseModelError, Conflict, NotFound, StateError, require_package
from vaultgpt.files import (
    free_bytes,
    make_private_dir,
    put_folder,
    read_json,
    sha256_file,
    write_atomic,
    write_json,
)
from vaultgpt.generation_folders import CONFIG, EMBEDDING, LAST_WEIGHTS, MANIFEST, Manifest, verify
from vaultgpt.ledger import Ledger
from vaultgpt.settings import load_settings
from vaultgpt.state import VaultState, known_vaults
from vaultgpt.tasks.status import silenced, way_back
from vaultgpt.wire import Prompt

Form = Literal["adapter", "merged", "gguf", "gguf-adapter", "ollama", "mlx"]
WHOLE: frozenset[Form] = frozenset({"merged", "gguf", "ollama"})  # they carry base and embedding
_VOICE, _LORA, _BASE, _MODELFILE = "voice.gguf", "voice-lora.gguf", "base.gguf", "Modelfile"
_README = "README.md"
_MLX_THETA = 10000.0  # what mlx_lm takes where a configuration does not say, as Llama's
_CONTEXT = 4096  # tokens at most, as the mirror reads
# What vLLM's documentation lets --max-lora-rank be.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_MLX = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite"}
)

_ABOUT = """---
vaultgpt: false
---
# A voice, {what}

vaultgpt's {generation}, learned from one person's notes until {day}, over the base model
`{base}`. {embedding}

**It is the diary in another form**: whoever holds it can draw its author's words out of it. Keep
this folder private, and out of synced and shared ones.

## How to ask it

It writes on; it does not answer. Every text it learned stands under a line of its note's front
matter: tags, then the year or the month. Begin a prompt with such a line, then the title if there
is one:

    {example}

Each part may be left out, and which tags there are `vaultgpt scan` tells. {start}

## How to run it

{run}

## What stays behind

The copy guard and the rest of vaultgpt's manner of drawing stay with vaultgpt: what another program
writes with this voice may stand in the diary word for word.
"""
_EMBEDDING = (
    f"`{EMBEDDING}` holds what it changed in the token embedding. Other programs read the rest and "
    "not that, so that they write a little less in this voice; an export with `--merged`, `--gguf` "
    "or `--ollama` carries both."
)
_WHAT: dict[Form, str] = {
    "adapter": "as a PEFT adapter",
    "merged": "merged into its base, for transformers and vLLM",
    "gguf": "merged into its base, for llama.cpp",
    "gguf-adapter": "as a LoRA for llama.cpp, beside its base",
    "ollama": "for Ollama",
    "mlx": "as an adapter for MLX",
}
_RUN: dict[Form, str] = {
    "adapter": """With transformers, `PeftModel.from_pretrained(base, FOLDER)`. With vLLM:

    vllm serve {place} --enable-lora --max-lora-rank {rank} --lora-modules voice=FOLDER""",
    "merged": """With transformers, `AutoModelForCausalLM.from_pretrained(FOLDER)`; with vLLM,
`vllm serve FOLDER`; with MLX, `mlx_lm.generate --model FOLDER --ignore-chat-template --prompt -`.
Ask for completions, never for chat.""",
    "gguf": """    llama-server -m voice.gguf

Ask its `/completion` or `/v1/completions`, never for chat.""",
    "gguf-adapter": """    llama-server -m base.gguf --lora voice-lora.gguf

Ask its `/completion` or `/v1/completions`, never for chat.""",
    "ollama": """In this folder:

    ollama create my-voice -f Modelfile
    printf '#dream | 2019\\nLast night I' | ollama run my-voice

The template in `Modelfile` is raw, so that it writes on rather than chats; over HTTP
`/api/generate` does the same. Ollama keeps a copy: `ollama rm my-voice` removes that.""",
    "mlx": """
    mlx_lm.generate --model {place} --adapter-path FOLDER --ignore-chat-template --prompt -

It reads the prompt from standard input.""",
}


def export(state: VaultState, form: Form, target: Path, inside_vault: bool = False) -> str:
    """Write the active generation in `form` as the folder `target`, whole or not at all; its name.

    NotFound, Conflict, BaseModelError, StateError; nothing stands at `target` after any."""
    with Ledger.open(state) as ledger:
        generation = ledger.generations.writing()
        if generation is None and any(voice.promoted for voice in ledger.generations.all()):
            why = silenced(ledger) or f"The base writes, and not your voice. {way_back(ledger)}"
            raise Conflict(why)
    if generation is None:
        raise NotFound("There is no voice to export yet.", "Run `vaultgpt train` first.")
    target = Path(os.path.realpath(target))
    _check_place(target, inside_vault)
    source = state.generations / generation
    manifest = verify(source)
    base = base_of_generation(state, manifest)
    _check_form(form, base)
    _check_room(target, form, base, source)
    with _whole_folder(target) as folder:
        _write(form, folder, source, base, state)
        write_atomic(folder / _README, _about(form, manifest, base, source))
        if form == "adapter":
            kept = {n: sha for n, sha in manifest["files"].items() if n != LAST_WEIGHTS}
            kept[_README] = sha256_file(folder / _README)
            write_json(folder / MANIFEST, manifest | {"files": kept})
    return generation


def _check_place(target: Path, inside_vault: bool) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is not an empty folder.", "Give a new one; nothing was written.")
    above = [p for p in (target, *target.parents) if p.exists()]
    vaults = [v for v in known_vaults() if os.path.isdir(v)]
    inside = next((v for v in vaults for p in above if os.path.samefile(p, v)), None)
    if inside is not None and not inside_vault:
        raise Conflict(
            f"{target} lies in the vault {inside}, where sync could carry the voice along.",
            "Give a folder outside, or add --inside-vault.",
        )


def _check_form(form: Form, base: Base) -> None:
    """BaseModelError where the base is none for that form, before anything is made."""
    if form == "mlx" and base.model_type not in _MLX:
        raise BaseModelError(
            f"MLX names the parts of a base of the kind {base.model_type} otherwise.",
            "Use --merged: mlx_lm reads that folder, where it knows the kind.",
        )
    if form == "mlx":
        config = read_json(base.folder / "config.json")
        rope = config.get("rope_parameters") or {}
        theta = rope.get("full_attention", rope).get("rope_theta")
        if theta not in (None, config.get("rope_theta", _MLX_THETA)):
            raise BaseModelError(
                "mlx_lm does not find the rotary positions in the configuration of this base.",
                "Use --merged: mlx_lm reads that folder, where they are named as it expects.",
            )
    if form in ("gguf", "gguf-adapter", "ollama"):
        require_package("gguf", "Writing GGUF", BaseModelError)
        from vaultgpt.training.to_gguf import refuse

        refuse(base.folder)


def _check_room(target: Path, form: Form, base: Base, source: Path) -> None:
    needed = sum(p.stat().st_size for p in source.iterdir())
    needed += 0 if form in ("adapter", "mlx") else 4 * base.parameters
    if (free := free_bytes(target)) < needed:
        raise StateError(
            f"The export takes about {megabytes(needed)}, and {megabytes(free)} are free there.",
            "Give a folder on another disk, or free some room.",
        )


@contextlib.contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A private folder beside `target` that takes its place once all is written, else is removed.

    What exports to this place that were killed left is removed as well."""
    begin = f".{target.name}.part-"
    for left in target.parent.glob("*") if target.parent.is_dir() else ():
        if left.name.startswith(begin) and not lives(_number(left.name, begin)):
            shutil.rmtree(left, ignore_errors=True)
    part = target.parent / f"{begin}{os.getpid()}"
    try:
        yield make_private_dir(part, parents=True)
        put_folder(part, target)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        mend = "Give a folder elsewhere."
        raise StateError(f"{target} can't be written ({why}).", mend) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _number(name: str, begin: str) -> int:
    digits = name.removeprefix(begin)
    return int(digits) if digits.isdecimal() and len(digits) < 10 else 0


def _write(form: Form, folder: Path, source: Path, base: Base, state: VaultState) -> None:
    if form == "adapter":
        for file in sorted(source.iterdir()):
            if file.name != LAST_WEIGHTS:
                shutil.copy2(file, folder / file.name)
    elif form == "mlx":
        _write_mlx(folder, source, base)
    elif form == "merged":
        from vaultgpt.training.lora import write_merged

        write_merged(base.folder, source, folder)
    else:
        _write_gguf(form, folder, source, base)
        if form == "ollama":
            write_atomic(folder / _MODELFILE, _modelfile(base, state))


def _write_gguf(form: Form, folder: Path, source: Path, base: Base) -> None:
    from vaultgpt.training.lora import load_adapter
    from vaultgpt.training.to_gguf import write_adapter, write_model

    if form == "gguf-adapter":
        write_model(base.folder, None, folder / _BASE)
        write_adapter(base.folder, load_adapter(source), folder / _LORA)
    else:
        write_model(base.folder, source, folder / _VOICE)


def _write_mlx(folder: Path, source: Path, base: Base) -> None:
    """mlx_lm's own form: y + scale * (x A) B with A [in, r] and B [r, out]."""
    from vaultgpt.training.lora import load_adapter

    adapter = load_adapter(source)
    tensors = {
        f"{module}.{kind}": factor.T.contiguous().numpy()
        for module, pair in adapter.factors.items()
        for kind, factor in zip(("lora_a", "lora_b"), pair, strict=True)
    }
    keys = {module.split(".", 3)[3] for module in adapter.factors}  # after model.layers.N
    save_file(tensors, folder / "adapters.safetensors")
    lora = {"rank": adapter.rank, "scale": adapter.scale, "dropout": 0.0}
    shape = {"num_layers": base.layers, "lora_parameters": lora | {"keys": sorted(keys)}}
    write_json(folder / CONFIG, {"fine_tune_type": "lora", "model": str(base.folder)} | shape)


def _modelfile(base: Base, state: VaultState) -> str:
    """Ollama's recipe: our sampling, and none of what Ollama would add of its own."""
    drawn = load_settings(state.config).mirror.sampling().on(base.parameters)
    values = {
        "temperature": drawn.temperature,
        "top_p": drawn.top_p,
        "min_p": drawn.min_p,
        "top_k": 0,
        "repeat_penalty": 1.0,
        "num_ctx": min(base.context, _CONTEXT),
        "num_predict": Prompt("").max_tokens,
    }
    lines = [f"PARAMETER {name} {value}" for name, value in values.items()]
    stops = [f"PARAMETER stop {json.dumps(end)}" for end in [_special(base, "eos")[0]] if end]
    return "\n".join([f"FROM ./{_VOICE}", 'TEMPLATE "{{ .Prompt }}"', *lines, *stops, ""])


def _special(base: Base, which: Literal["bos", "eos"]) -> tuple[str, bool]:
    """Spelling of the start or end token, and whether the tokenizer puts it there by itself."""
    config, path = read_json(base.folder / "config.json"), base.folder / "tokenizer.json"
    other = "eos" if which == "bos" else "bos"
    found = config.get(f"{which}_token_id")
    number = config.get(f"{other}_token_id") if found is None else found
    number = number[0] if isinstance(number, list) else number
    whole = read_json(path) if path.is_file() else {}
    added = {token["id"]: str(token["content"]) for token in whole.get("added_tokens", [])}
    text = added.get(number, "")
    puts = json.dumps({"SpecialToken": {"id": text}})[:-2]
    return text, bool(text) and puts in json.dumps(whole.get("post_processor"))


def _about(form: Form, manifest: Manifest, base: Base, source: Path) -> str:
    example = opening(("dream", "poetry"), "2019-03", "The river") + "Last night I"
    token, adds = _special(base, "bos")
    start = f"Where the program does not put `{token}` before it, do so yourself."
    if not token or adds or form in ("gguf", "gguf-adapter", "ollama"):
        start = "The program puts the token that begins a text before it."
    rank = int(read_json(source / CONFIG)["r"])
    needed = next((n for n in _RANKS if n >= rank), rank)
    place = base.name if base.name.count("/") == 1 and not base.name.startswith("/") else None
    run = _RUN[form].replace("{rank}", str(needed))
    return _ABOUT.format(
        what=_WHAT[form],
        generation=source.name,
        day=date.fromtimestamp(manifest["created"]).isoformat(),
        base=manifest["base"],
        embedding=_EMBEDDING if (source / EMBEDDING).exists() and form not in WHOLE else "",
        example=example.replace("\n", "\n    "),
        start=start,
        run=run.replace("{place}", shlex.quote(place or str(base.folder))),
    ).replace("\n    \n", "\n\n")
