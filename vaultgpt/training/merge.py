"""Writes base and generation as one plain model that any program can load.

Knows nothing about the ledger. The warning of what it holds goes into the folder's README.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from vaultgpt.files import PRIVATE_FILE, fsync_file
from vaultgpt.generations import EMBEDDING

README = """# A merged vaultgpt model

This model was made from one person's private writing. Whoever holds it can draw that writing out
of it: keep it as private as the diary itself, and out of synced or shared folders.
"""


def write_merged(base: Path, generation: Path, target: Path) -> None:
    """Merge `generation` (with its embedding delta, if any) into `base`; write fp32 safetensors."""
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    delta = generation / EMBEDDING
    model = PeftModel.from_pretrained(model, str(generation)).merge_and_unload()
    if delta.exists():
        weight = model.get_input_embeddings().weight
        with torch.no_grad():
            weight += load_file(delta)["embedding"].to(weight.dtype)
    model.save_pretrained(target, safe_serialization=True)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(target)
    (target / "README.md").write_text(README, encoding="utf-8")
    for file in target.iterdir():
        if file.is_file():
            file.chmod(PRIVATE_FILE)
            fsync_file(file)
