"""Bits per byte of one or more models on held-out books and on journals, and samples.

    python -m scripts.pebble.evaluate --work DIR [--journals DIR]
                             [--window 256 --window 1024] [--samples] [NAME=]FOLDER...

fp32; windows of --window tokens after one end-of-text token; the first 1,024 tokens of 60 evenly
spaced notes of each journal, front matter removed, and 24 evenly spaced 1,024-token stretches of
each held-out book. Prints a Markdown table, a column for each model and window, and the means.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

NOTE_TOKENS = 1024
NOTES_A_JOURNAL = 60
STRETCHES_A_BOOK = 24
STRETCH_CHARS = 6000  # longer than 1,024 tokens of English
WINDOWS_AT_ONCE = 16


@dataclass
class Tally:
    """Nats and bytes of the predicted text."""

    nats: float = 0.0
    byte_count: int = 0

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / max(1, self.byte_count)


def strip_front_matter(text: str) -> str:
    """Without a leading block between two `---` lines."""
    if text.startswith("---\n"):
        end = text.find("\n---", 4)
        if end >= 0:
            return text[end + 4 :].lstrip("\n")
    return text


def spaced(items: list[str], count: int) -> list[str]:
    """Every n-th item, `count` at most, as the anchor's figures were made (checked to 0.001)."""
    step = max(1, len(items) // count)
    return items[::step][:count]


def journal_texts(folder: Path) -> list[str]:
    notes = [
        strip_front_matter(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.md"))
    ]
    return spaced([note for note in notes if note.strip()], NOTES_A_JOURNAL)


def held_out_texts(path: Path) -> dict[str, list[str]]:
    """By book: stretches of running text, not cut into documents and without headers."""
    whole: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        whole[Path(row["book"]).stem].append(row["text"])
    stretches = {}
    for book, pieces in whole.items():
        text = "\n\n".join(pieces)
        count = min(STRETCHES_A_BOOK, max(1, len(text) // STRETCH_CHARS))
        starts = [round(i * (len(text) - STRETCH_CHARS) / max(1, count - 1)) for i in range(count)]
        stretches[book] = [text[max(0, s) : max(0, s) + STRETCH_CHARS] for s in starts]
    return stretches


@torch.no_grad()
def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], window: int
) -> Tally:
    """Over all texts: each cut at 1,024 tokens, then into windows after one end-of-text token."""
    tally = Tally()
    windows: list[list[int]] = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:NOTE_TOKENS]
        tally.byte_count += len(str(tokenizer.decode(ids)).encode("utf-8"))
        windows += [ids[start : start + window] for start in range(0, len(ids), window)]
    windows.sort(key=len)
    for start in range(0, len(windows), WINDOWS_AT_ONCE):
        tally.nats += window_nats(
            model, windows[start : start + WINDOWS_AT_ONCE], int(tokenizer.bos_token_id)
        )
    return tally


def window_nats(model: PreTrainedModel, windows: list[list[int]], end_id: int) -> float:
    """Summed loss of right-padded windows; padding comes after all that is counted."""
    width = max(map(len, windows))
    targets = torch.full((len(windows), width), -100)
    for row, ids in enumerate(windows):
        targets[row, : len(ids)] = torch.tensor(ids)
    first = torch.full((len(windows), 1), end_id)
    inputs = torch.cat([first, targets[:, :-1].clamp(min=0)], dim=1)  # (rows, width)
    logits: Tensor = model(input_ids=inputs, use_cache=False).logits  # (rows, width, vocabulary)
    return float(
        F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    )


def table(rows: dict[str, list[Tally]], names: list[str]) -> str:
    lines = ["| text | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for text, tallies in rows.items():
        figures = " | ".join(f"{tally.bits_per_byte:.3f}" for tally in tallies)
        lines.append(f"| {text} | {figures} |")
    for what, journal in (("mean of the held-out books", False), ("mean of the journals", True)):
        chosen = [t for text, t in rows.items() if text.startswith("journal: ") == journal]
        if chosen:
            means = [
                sum(t[i].bits_per_byte for t in chosen) / len(chosen) for i in range(len(names))
            ]
            lines.append(f"| {what} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def named(argument: str) -> tuple[str, Path]:
    """NAME=FOLDER, or a folder under its own name."""
    name, _, folder = argument.rpartition("=")
    return name or Path(folder).name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=named, nargs="+", metavar="[NAME=]FOLDER")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--journals", type=Path)
    parser.add_argument("--window", type=int, action="append", help="tokens; 256 by default")
    parser.add_argument("--samples", action="store_true")
    args = parser.parse_args()
    sets = held_out_texts(args.work / "heldout.jsonl")
    if args.journals:
        folders = sorted(path for path in args.journals.iterdir() if path.is_dir())
        sets |= {f"journal: {path.name}": journal_texts(path) for path in folders}
    windows = args.window or [256]
    rows: dict[str, list[Tally]] = {name: [] for name in sets}
    for _, folder in args.folders:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model.train(False)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for name, texts in sets.items():
            rows[name] += [measure(model, tokenizer, texts, window) for window in windows]
    print(table(rows, [f"{name}, {window:,}" for name, _ in args.folders for window in windows]))
    if args.samples:
        from .samples import samples

        print("\n" + samples(args.folders[-1][1]))


if __name__ == "__main__":
    main()
