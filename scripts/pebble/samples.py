"""Ten unedited samples from fixed prompts and seeds, for the card.

    python -m scripts.pebble.samples FOLDER

Plain transformers sampling at temperature 0.85; the first thing that comes is what is shown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = (
    "#journal | 1894-03\n",
    "Last night I dreamed that",
    "I woke before it was light, and",
    "The wind went over the hill,\n",
    "# Snow\n",
    "My dear sister,\n\nYour letter came",
    "What I cannot forgive in myself is",
    "“Do you remember,” she said,",
    "Rain all day. ",
    "When I was a child we lived",
)
NEW_TOKENS = 90
TEMPERATURE = 0.85
TOP_P = 0.98
SEED = 24


@torch.no_grad()
def samples(folder: Path) -> str:
    """A Markdown list: prompt in bold, then what the model wrote."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.train(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    shown = []
    for number, prompt in enumerate(PROMPTS):
        torch.manual_seed(SEED + number)
        ids = tokenizer.bos_token + prompt
        encoded = tokenizer(ids, add_special_tokens=False, return_tensors="pt")
        out = model.generate(
            **encoded,
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
            max_new_tokens=NEW_TOKENS,
            pad_token_id=tokenizer.eos_token_id,
        )
        text = tokenizer.decode(out[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        shown.append(f"{number + 1}. prompt `{prompt!r}`\n\n```text\n{prompt}{text}\n```\n")
    return "\n".join(shown)


if __name__ == "__main__":
    print(samples(Path(sys.argv[1])))
