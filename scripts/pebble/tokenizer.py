"""Trains pebble's byte-level BPE tokenizer on the prepared training documents.

    python -m scripts.pebble.tokenizer --work DIR

Writes WORK/tokenizer/. Knows nothing about the model. The pre-tokenizer's pattern is the one of
the Qwen2 family, so that engines which carry a fixed list of patterns have it; no normaliser, so
that every text returns byte for byte.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 8192
END_OF_TEXT = "<|endoftext|>"  # id 0: begins every document, ends every document
SAMPLE_CHARS = 60_000_000
SEED = 21

# Contractions; a word with at most one sign before it; one digit; signs with the line ends after
# them; line ends; spaces.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# A vault holds signs that books of 1900 lack; a little of them keeps their merges alive.
MARKDOWN = """\
#journal | 2019-03
# A title
## Another
### And one more
- first
- second
- [ ] to do
- [x] done
1. one
2. two
> quoted
> more
[[A note]] and [[Another note|its name]] and ![[picture.png]]
**bold** and *italic* and ~~struck~~ and ==marked== and `code`
[a link](https://example.org/page)
---
tags: [dream, poetry]
2024-01-31 and 2023-12-05 at 07:45
#dream #poetry #idea #people/anna
```python
```
“Don’t,” she said. ‘I’m here — it’s late…’ I’ve, you’re, we’ll, he’d, isn’t, can’t, won’t.
"""
MARKDOWN_COPIES = 400


def train_tokenizer(texts: Iterator[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """A tokenizer with all 256 bytes, digits apart and one special token of id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def sample_texts(work: Path, limit_chars: int = SAMPLE_CHARS) -> Iterator[str]:
    """Documents drawn by weight, in a fixed order, until the limit; then the Markdown piece."""
    rng = random.Random(SEED)
    spent = 0
    with (work / "train.jsonl").open(encoding="utf-8") as rows:
        for line in rows:
            row = json.loads(line)
            if rng.random() < row["weight"] / 2 and spent < limit_chars:
                spent += len(row["text"])
                yield row["text"]
    for _ in range(MARKDOWN_COPIES):
        yield MARKDOWN


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """The files that AutoTokenizer.from_pretrained reads."""
    make: Any = PreTrainedTokenizerFast  # its constructor has no types
    fast = make(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = train_tokenizer(sample_texts(args.work))
    save(tokenizer, args.work / "tokenizer")
    print(f"{tokenizer.get_vocab_size()} tokens in {args.work / 'tokenizer'}")


if __name__ == "__main__":
    main()
