"""A generation of random weights on a tiny base, and jobs over invented entries."""

from __future__ import annotations

from pathlib import Path

from tests import tiny
from vaultgpt.report.job import VoiceJob
from vaultgpt.settings import Mirror, Training
from vaultgpt.training.round import Item, Role

ALONE = {"device": "cpu", "dtype": "float32", "threads": 1}


def make_adapter(base: Path, folder: Path) -> Path:
    """A PEFT folder that changes the base a little."""
    import torch

    from vaultgpt.training.base_model import load_base
    from vaultgpt.training.device import Device
    from vaultgpt.training.lora import Adapter, lora_parameters, save_adapter, wrap

    loaded = load_base(base, Device.choose("cpu", "float32", 1))
    wrapped = wrap(loaded, 4, 1)
    torch.manual_seed(2)
    tensors = {name: 0.02 * torch.randn_like(p) for name, p in lora_parameters(wrapped).items()}
    folder.mkdir(parents=True)
    wrapped.unload()
    save_adapter(folder, loaded, Adapter(4, 8, tensors, None), "tiny", None)
    return folder


def item(number: int, role: Role, tags: tuple[str, ...], words: int) -> Item:
    make = tiny.poem if tags[:1] == ("dream",) else tiny.prose
    return Item(
        f"e{number}",
        role,
        make(words, 900 + number),
        (),
        None,
        f"20{10 + number % 5}-03-11",
        tags,
    )


def make_job(
    base: Path,
    adapter: Path,
    notes: int = 16,
    held_out: int = 8,
    words: int = 60,
    tags: tuple[str, ...] = ("journal", "dream"),
) -> VoiceJob:
    """`notes` learned and `held_out` others, tags in turn; one short learned note is #rare."""
    learned = [item(i, "train", (tags[i % len(tags)],), words) for i in range(notes)]
    held = [item(100 + i, "held_out", (tags[i % len(tags)],), words) for i in range(held_out)]
    if len(tags) > 1:
        learned.append(item(99, "train", ("rare",), 20))
    return VoiceJob(
        str(base),
        str(adapter),
        tuple(learned),
        tuple(held),
        Training(**ALONE),  # type: ignore[arg-type]
        Mirror(**ALONE),  # type: ignore[arg-type]
        write_s=600.0,
        most_write_s=600.0,
    )
