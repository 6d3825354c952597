"""Writes docs/samples.md: what the mirrors write under each tag, unedited, with fixed seeds.

python -m benchmarks.voice.samples --data JOURNALS [--work DIR] [--out docs/samples.md]
Mirrors that other benchmarks trained are taken from --work. The journals are public domain, so
their mirrors' text may be printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.voice.journals import JOURNALS, Journal, items
from benchmarks.voice.mirrors import Trained, bits, cut, open_engine, trained, write
from benchmarks.voice.rows import PEBBLE, base_digest, recipe_digest
from vaultgpt.estimate import human
from vaultgpt.files import write_atomic
from vaultgpt.mirror.engine import Engine
from vaultgpt.wire import Prompt

SEED = 1  # of hold-out and training
SEEDS = (1, 2)  # of the texts
TOKENS = 170
COST_S = 60.0  # a journal whose mirror is there
TRAIN_WORDS_PER_S = 1100.0
WORDS = {
    "thoreau": 262e3,
    "mary-maclane": 107e3,
    "confederate-girl": 117e3,
    "hawthorne": 533e3,
    "mixed-three-authors": 368e3,
}
TAGS = {
    "thoreau": ("journal", "poetry"),
    "mixed-three-authors": ("journal", "dream", "poetry", "fiction"),
}
HALF = {
    "journal": "I went out early this morning, before anyone was awake, and",
    "poetry": "The evening came across the fields",
    "dream": "I dreamed that the house had grown another room, and that",
    "fiction": "The clockmaker had not spoken to his brother for nine years when",
}
NOTE = (
    "We walked as far as the mill and back. It was colder than it looked from the window, and "
    "my sister hardly spoke. I wanted to ask her about the letter, and did not."
)


@dataclass(frozen=True)
class Shown:
    """One text, and how it was asked for."""

    asked: str
    text: str


def gain(mirror: Trained) -> tuple[float, float]:
    """Held-out bits per byte of the base and of the mirror."""
    found = cut(items(mirror.split.held))
    return bits(found, None), bits(found, mirror.adapter)


def texts(engine: Engine, tag: str) -> list[Shown]:
    """Two from nothing and two after a half sentence of ours, a paragraph each."""
    found = []
    for before in ("", HALF[tag]):
        for seed in SEEDS:
            text = write(engine, Prompt(before, (tag,), max_tokens=TOKENS, seed=seed))[0]
            asked = f'after "{before}"' if before else "from nothing"
            found.append(Shown(f"seed {seed}, {asked}", text))
    return found


def questions(engine: Engine, tag: str) -> list[Shown]:
    return [
        Shown(f"seed {seed}", write(engine, Prompt(NOTE, (tag,), form="question", seed=seed))[0])
        for seed in SEEDS
    ]


def page(mirror: Trained, version: str) -> str:
    """One journal's section."""
    name = mirror.journal.name
    before, after = gain(mirror)
    held = sum(n.note.words for n in mirror.split.held)
    engine = open_engine(mirror)
    tags = TAGS.get(name, ("journal",))
    parts = [
        f"## {name}\n\n{mirror.journal.words:,} words, of which {held:,} in whole notes were "
        f"held out. On those, {version} alone takes {before:.3f} bits per byte and the mirror "
        f"{after:.3f}: {100 * (1 - after / before):.1f} % less surprised.\n"
    ]
    for tag in tags:
        parts.append(f"### {name}: #{tag}\n")
        parts += [block(one) for one in texts(engine, tag)]
    parts.append(f'### {name}: two questions\n\nAsked after a note of ours: "{NOTE}"\n')
    parts += [block(one) for one in questions(engine, tags[0])]
    return "\n".join(parts)


def block(one: Shown) -> str:
    """The text as it came, in a fence longer than any within it."""
    fence = "```"
    while fence in one.text:
        fence += "`"
    return (
        f"{one.asked[0].upper()}{one.asked[1:]}:\n\n{fence}text\n{one.text or '(empty)'}\n{fence}\n"
    )


def introduction(version: str, names: Sequence[str]) -> str:
    return f"""# What the mirrors write, unedited

Nothing here was chosen or mended: every text is the first that its seed gave, good and bad alike.
Each mirror learned nine tenths of one public-domain journal with the defaults, on top of the
embedded base ({version}, {base_digest()}). That base is small. Expect the right words, rhythm and
subjects more often than sense over several sentences; a larger base writes better.

The copy guard was on. A text ends with its paragraph, or after {TOKENS} tokens at its next good
place. "After" names a half sentence of ours that stood before the cursor.

Written by

```sh
python -m benchmarks.voice.samples --data JOURNALS --out docs/samples.md
```

for {", ".join(names)}. On another machine the last digits of a sum may differ, and with them a
text.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.voice.samples", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("VAULTGPT_DATA"),
        help="folder of journals (or VAULTGPT_DATA)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path.home() / ".cache/vaultgpt-benchmarks",
        help="where trained mirrors are kept between benchmarks",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/samples.md"))
    parser.add_argument("--only", action="append", default=[], metavar="JOURNAL")
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("give --data, a folder of journals, or set VAULTGPT_DATA")
    args.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [n for n in JOURNALS if not args.only or n in args.only]
    missing = [n for n in names if not _there(args.work, n)]
    cost = COST_S * len(names) + sum(WORDS[n] / TRAIN_WORDS_PER_S for n in missing)
    print(
        f"samples: {len(names)} journals, {len(missing)} mirrors to train, {human(cost)} on 2 "
        "idle cores",
        file=sys.stderr,
    )
    version = _version()
    parts = [introduction(version, names)]
    for name in names:
        print(f"  {name}", file=sys.stderr)
        parts.append(page(trained(args.work, Journal(args.data / name), SEED), version))
    write_atomic(args.out, "\n".join(parts), mode=0o644)
    return 0


def _there(work: Path, name: str) -> bool:
    return (work / f"{name}-{SEED}-{base_digest()}-{recipe_digest()}" / "answer.json").exists()


def _version() -> str:
    card = json.loads((PEBBLE / "pebble.json").read_text(encoding="utf-8"))
    return f"{card['name']} {card['version']}"


if __name__ == "__main__":
    raise SystemExit(main())
