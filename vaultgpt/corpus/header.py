"""What stands before an entry's text: one header line of tags and date, and the title.

Plain text, so that it works in any engine. Knows nothing about tokens or models.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

# Dropout makes unconditional text and classifier-free guidance possible. With 15 % of
# the headers and a quarter of the tags dropped, fewer pages were likeliest under their own tag.
DROP_HEADER = 0.10
DROP_TAG = 0.10
DROP_DATE = 0.50
YEAR_ONLY = 0.60  # of the dates that stay; the rest keep their month
TITLE = 0.50

_DATE = re.compile(r"\d{4}(?:-\d{2})?")


def header_text(tags: Sequence[str], date: str | None) -> str:
    """`#dream #poetry | 2019-03` and a newline; "" when there is nothing to say.

    A day in `date` is dropped: a full date is a key that retrieves one entry. Without tags the
    line is `| 2019-03`.
    """
    words = [f"#{word}" for tag in tags if (word := "-".join(tag.lstrip("#").split()))]
    if date is not None and (kept := _DATE.match(date)):
        words += ["|", kept.group()]
    return " ".join(words) + "\n" if words else ""


def title_text(title: str | None) -> str:
    """The title as a first-level heading and an empty line; "" for none."""
    line = " ".join((title or "").split())
    return f"# {line}\n\n" if line else ""


def opening(tags: Sequence[str], date: str | None, title: str | None) -> str:
    """All that stands between end-of-text and the prose: the mirror's prompt begins with it."""
    return header_text(tags, date) + title_text(title)


def draw_header(
    rng: random.Random, tags: Sequence[str], date: str | None, title: str | None
) -> tuple[str, str]:
    """One training draw of (header, title), each part left out by its chance.

    The number of values taken from `rng` does not depend on what is dropped, only on the entry.
    """
    no_header = rng.random() < DROP_HEADER
    kept = [tag for tag in tags if rng.random() >= DROP_TAG]
    rng.shuffle(kept)
    drop_date = rng.random() < DROP_DATE
    digits = 4 if rng.random() < YEAR_ONLY else 7
    shown = title_text(title) if rng.random() < TITLE else ""
    if no_header:
        return "", shown
    return header_text(kept, None if drop_date or date is None else date[:digits]), shown
