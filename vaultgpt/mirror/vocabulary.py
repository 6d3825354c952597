"""A base model's tokenizer as bytes: what each token writes, and which tokens agree with bytes.

Byte-level BPE and SentencePiece-like tokenizers alike, through `tokenizers` alone. Knows nothing
about models or prompts.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from vaultgpt.corpus.habits import MARKUP, Habits
from vaultgpt.errors import BaseModelError
from vaultgpt.files import read_json
from vaultgpt.mirror.sampling import Logits
from vaultgpt.wire import TokenChance

if TYPE_CHECKING:
    from vaultgpt.bases.kinds import TokenizerStep

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_DIGIT = re.compile(rb"[0-9]")
_HTML = re.compile(rb"\s*<[A-Za-z][A-Za-z0-9]*\s*/?>\s*")
_MARKS = re.compile(rf"\s*[{MARKUP}][\s{MARKUP}]*")
_CLOSING = re.compile(r'[”»«]|(?:^|\S)"')
_SPACE_MARK = "\u2581"
_EOT_NAMES = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>")


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's table: printable Latin-1 stands for itself, the other bytes for U+0100 upwards."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {**{b: b for b in shown}, **{256 + i: b for i, b in enumerate(hidden)}}


_ALPHABET = _byte_alphabet()
_SHOWN = frozenset(map(chr, _ALPHABET))


class Vocabulary:
    """Text to token ids and back to bytes. `written[i]` is b"" for ids that write nothing."""

    def __init__(self, tokenizer: Tokenizer, starts: list[int], ends: list[int]) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # "<|endoftext|>" typed by the author is text, not the end of it (as in training).
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.ends = frozenset(ends)
        self.start = starts[0] if starts else ends[0]
        self.size = tokenizer.get_vocab_size(with_added_tokens=True)
        self.written = _written(tokenizer, self.ends)
        self.starting_with(b" ")  # sorts them now, not in the first request

    @staticmethod
    def load(folder: Path) -> Vocabulary:
        """From tokenizer.json, or GPT-2's vocab.json and merges.txt. BaseModelError without one."""
        try:
            tokenizer = _open_tokenizer(folder)
        except BaseModelError:
            raise
        except Exception as error:  # the tokenizers library raises bare Exception
            raise BaseModelError(
                f"The tokenizer in {folder} can't be read ({type(error).__name__}).",
                "Fetch the base again.",
            ) from None
        starts, ends = _special_ids(folder, tokenizer)
        if not ends:
            raise BaseModelError(
                f"The base in {folder} names no end-of-text token.", "Choose another base."
            )
        return Vocabulary(tokenizer, starts, ends)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens."""
        ids: list[int] = self.tokenizer.encode(_clean(text), add_special_tokens=False).ids
        return ids

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters of `text` that each of its tokens covers."""
        spans: list[tuple[int, int]] = self.tokenizer.encode(
            _clean(text), add_special_tokens=False
        ).offsets
        return spans

    def bytes_of(self, ids: list[int]) -> bytes:
        """What these tokens write."""
        return b"".join(self.written[i] for i in ids)

    def chance(
        self, plain: Logits, token: int, most: int, barred: Logits | float = 0
    ) -> TokenChance:
        """Of a token among log probabilities [vocab], with the `most` likeliest ones not barred."""
        rank = -(plain + barred)
        best = np.argpartition(rank, most)[:most] if most else np.zeros(0, dtype=np.intp)
        best = best[np.argsort(rank[best], kind="stable")]
        top = {self._shown(int(i)): round(float(plain[i]), 5) for i in best}
        return TokenChance(self._shown(token), round(float(plain[token]), 5), top)

    def _shown(self, token: int) -> str:
        """Its text; of a part of a character its bytes, as OpenAI writes them."""
        written = self.written[token]
        try:
            return written.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)

    @cached_property
    def _sorted(self) -> tuple[list[bytes], npt.NDArray[np.int64]]:
        pairs = sorted((written, i) for i, written in enumerate(self.written) if written)
        return [p[0] for p in pairs], np.array([p[1] for p in pairs], dtype=np.int64)

    @cached_property
    def blanks(self) -> list[int]:
        """Ids of all tokens with several line ends, where the tokenizer writes none before a word.

        GPT-2's cut, and SmolLM2's, leaves the last line end to the word: two are one token before
        a third or at the end alone. A voice that draws it therefore adds a third: smollm2's in 130
        of 394 blank lines, its author in 1 of 928.
        """
        if any(self.written[i].count(b"\n") > 1 for i in self.encode("so.\n\nThen")):
            return []
        return [i for i, w in enumerate(self.written) if w.count(b"\n") > 1]

    @cached_property
    def html(self) -> list[int]:
        """Ids of all tokens that are an HTML tag or begin a closing one.

        What is learned has none: the reader of notes takes them out. Gemma 3's tokenizer has 164
        such tokens, and its voice wrote `<em>full. </em>`.
        """
        return [i for i, w in enumerate(self.written) if b"</" in w or _HTML.fullmatch(w)]

    @cached_property
    def figures(self) -> list[int]:
        """Ids of all tokens with a digit in them."""
        return [i for i, w in enumerate(self.written) if _DIGIT.search(w)]

    @cached_property
    def marks(self) -> list[int]:
        """Ids of all tokens that hold marks of Markdown and white space, and nothing else."""
        return [
            i for i, w in enumerate(self.written) if _MARKS.fullmatch(w.decode("utf-8", "ignore"))
        ]

    @cached_property
    def closing(self) -> list[int]:
        """Ids of all tokens with a quote that may close one: not those that only open one."""
        return [
            i for i, w in enumerate(self.written) if _CLOSING.search(w.decode("utf-8", "ignore"))
        ]

    def foreign(self, habits: Habits) -> list[int]:
        """Ids of all tokens with a letter of a script that somebody does not write in.

        For a writer of English 100,000 of Gemma 3's 262,000.
        """
        return _foreign(self, Habits(scripts=habits.scripts))

    def starting_with(self, prefix: bytes) -> npt.NDArray[np.int64]:
        """Ids of all tokens whose bytes begin with `prefix` (itself included)."""
        keys, ids = self._sorted
        low = bisect_left(keys, prefix)
        above = prefix.rstrip(b"\xff")
        high = bisect_left(keys, above[:-1] + bytes([above[-1] + 1])) if above else len(keys)
        return ids[low:high]


@lru_cache(maxsize=4)
def _foreign(vocabulary: Vocabulary, habits: Habits) -> list[int]:
    if habits.scripts is None:
        return []
    latin = not habits.foreign("a")
    return [
        i
        for i, written in enumerate(vocabulary.written)
        if not (latin and written.isascii()) and habits.foreign(written.decode("utf-8", "ignore"))
    ]


def _clean(text: str) -> str:
    """Lone surrogates become the replacement character: no tokenizer takes them."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def _written(tokenizer: Tokenizer, ends: frozenset[int]) -> list[bytes]:
    """What each id writes, b"" where that is nothing."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    added = tokenizer.get_added_tokens_decoder()
    read = _bytes_shown if _is_byte_level(tokenizer) else _bytes_of_piece
    written = [b""] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        if i in ends:
            continue
        if i not in added:
            written[i] = read(token)
        elif not added[i].special:
            written[i] = token.encode()
    return written


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    steps: list[TokenizerStep] = [
        json.loads(step.__getstate__())
        for step in (tokenizer.decoder, tokenizer.pre_tokenizer)
        if step
    ]
    flat = [
        *steps,
        *(p for step in steps for p in (step.get("decoders") or step.get("pretokenizers") or [])),
    ]
    return any(step.get("type") == "ByteLevel" for step in flat)


def _bytes_shown(token: str) -> bytes:
    """Of a byte-level token, each byte of which stands as a character."""
    if _SHOWN.issuperset(token):
        return token.translate(_ALPHABET).encode("latin-1")
    return token.encode()


def _bytes_of_piece(token: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match.group(1), 16)])
    return token.replace(_SPACE_MARK, " ").encode("utf-8", "ignore")


def _open_tokenizer(folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").exists():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    if not ((folder / "vocab.json").exists() and (folder / "merges.txt").exists()):
        raise BaseModelError(f"There is no tokenizer in {folder}.", "Fetch the base again.")
    from tokenizers import AddedToken, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(_EOT_NAMES[0], special=True, normalized=False)])
    return tokenizer


def _special_ids(folder: Path, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids that may open a document and ids that end one, from the three configuration files.

    The first that opens one is training's: config.json's, else the tokenizer's.
    """
    starts: list[int] = []
    later: list[int] = []
    ends: list[int] = []
    for name, opening in (("config.json", starts), ("generation_config.json", later)):
        value = read_json(folder / name) if (folder / name).exists() else {}
        for key, found in (("bos_token_id", opening), ("eos_token_id", ends)):
            ids = value.get(key)
            found += [
                i
                for i in (ids if isinstance(ids, list) else [ids])
                if isinstance(i, int) and i not in found
            ]
    path = folder / "tokenizer_config.json"
    value = read_json(path) if path.exists() else {}
    first, last = (
        named.get("content") if isinstance(named, dict) else named
        for named in (value.get("bos_token"), value.get("eos_token"))
    )
    for found, names in ((starts, [first]), (ends, [last] if ends or last else _EOT_NAMES)):
        for token in names:
            i = tokenizer.token_to_id(token) if isinstance(token, str) else None
            if i is not None and i not in found:
                found.append(i)
    return starts + [i for i in later if i not in starts], ends
