"""Writes docs/samples/journals.md: what the mirrors write under each tag, unedited, by seeds.

    python -m benchmarks.voice.samples --data JOURNALS [--work DIR] [--out docs/samples/journals.md]

Takes 5 minutes where the mirrors are trained. The journals are public domain: their mirrors' text
may be printed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.voice.journals import JOURNALS, Journal, items
from benchmarks.voice.mirrors import Trained, bits, cut, open_engine, trained, write
from benchmarks.voice.rows import PEBBLE, base_digest, parser
from benchmarks.voice.tags import TAGS
from vaultgpt.files import write_atomic
from vaultgpt.mirror.engine import Engine
from vaultgpt.wire import Prompt

SEED = 1  # of hold-out and training
SEEDS = (1, 2)  # of the texts
TOKENS = 170
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
HEAD = """# What the mirrors write, unedited

Nothing here was chosen or mended: every text is the first that its seed gave, good and bad alike.
Each mirror learned nine tenths of one public-domain journal with the defaults, on top of the
embedded base ({base}). That base is small. Expect the right words, rhythm and
subjects more often than sense over several sentences; a larger base writes better.

The copy guard was on. A text ends with its paragraph, or after {tokens} tokens at its next good
place. "After" names a half sentence of ours that stood before the cursor.

Written by

```sh
python -m benchmarks.voice.samples --data JOURNALS --out docs/samples/journals.md
```

On another machine the last digits of a sum may differ, and with them a text.
"""


def page(mirror: Trained, version: str) -> str:
    """One journal's section."""
    name, found = mirror.journal.name, cut(items(mirror.split.held))
    before, after = bits(found, None), bits(found, mirror.adapter)
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
        for half in ("", HALF[tag]):
            asked = f'after "{half}"' if half else "from nothing"
            prompts = [Prompt(half, (tag,), max_tokens=TOKENS, seed=seed) for seed in SEEDS]
            parts += [_block(engine, prompt, f", {asked}") for prompt in prompts]
    parts.append(f'### {name}: two questions\n\nAsked after a note of ours: "{NOTE}"\n')
    asks = [Prompt(NOTE, (tags[0],), form="question", seed=seed) for seed in SEEDS]
    return "\n".join(parts + [_block(engine, prompt) for prompt in asks])


def _block(engine: Engine, prompt: Prompt, asked: str = "") -> str:
    """The text as it came, in a fence longer than any within it."""
    text, fence = write(engine, prompt)[0], "```"
    while fence in text:
        fence += "`"
    return f"Seed {prompt.seed}{asked}:\n\n{fence}text\n{text or '(empty)'}\n{fence}\n"


def main(argv: Sequence[str] | None = None) -> int:
    asks = parser("samples", str(__doc__).splitlines()[0])
    asks.add_argument("--out", type=Path, default=Path("docs/samples/journals.md"))
    args = asks.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    card = json.loads((PEBBLE / "pebble.json").read_text(encoding="utf-8"))
    version = f"{card['name']} {card['version']}"
    parts = [HEAD.format(base=f"{version}, {base_digest()}", tokens=TOKENS)]
    for name in JOURNALS:
        parts.append(page(trained(args.work, Journal(args.data / name), SEED), version))
    write_atomic(args.out, "\n".join(parts), mode=0o644)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
