"""A book's plain text made into paragraphs as people write them in Markdown.

Cuts licence, contents, index and transcriber's notes, joins hard-wrapped prose into one line a
paragraph, keeps verse as lines. Quotes, dashes and spaces within a line stay as printed.
"""

from __future__ import annotations

import re
import statistics

_BACK_MATTER = re.compile(
    r"^\W*(?:transcriber.?s? notes?|end of (?:vol|the project|project)|index\W*$|footnotes\W*$"
    r"|obvious punctuation errors|typographical errors|appendix of sources)",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_PROSE = re.compile(
    r"project gutenberg|transcriber|\[illustration|\[footnote|^page \d+[, ]|^illustrated by"
    r"|all rights reserved|copyright|^printed (?:by|in)|end of (?:vol|the project)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"(?<=\S)\s?[\[{](?:\d{1,4}|[*†‡])[\]}]")
_LETTERS = re.compile(r"[^\W\d_]")
_CONTENTS = re.compile(
    r"^\W*(?:contents|table of contents|illustrations|list of illustrations)\W*$", re.IGNORECASE
)


def paragraphs(text: str) -> list[str]:
    """The book's paragraphs in order; a stanza is one paragraph of several lines."""
    text = text.replace("\r\n", "\n").replace("\ufeff", "").replace("\t", " ")
    blocks = [block.strip("\n") for block in re.split(r"\n[ ]*\n+", _cut_back_matter(text))]
    kept = []
    for block in _without_contents([block for block in blocks if block.strip()]):
        block = _REFERENCE.sub("", block)
        if _NOT_PROSE.search(block) and len(block) < 2000:
            continue
        block = unwrap(block)
        if _is_prose_enough(block):
            kept.append(block)
    return kept


def unwrap(block: str) -> str:
    """One line a paragraph where the lines were wrapped by a width; verse keeps its lines."""
    lines = [line.rstrip() for line in block.split("\n")]
    if len(lines) >= 2 and _is_wrapped(lines):
        return " ".join(line.strip() for line in lines)
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[min(indent, len(line)) :] for line in lines).strip()


def is_verse(block: str) -> bool:
    """Three short lines or more that nobody wrapped: a stanza."""
    lines = block.split("\n")
    return len(lines) >= 3 and max(len(line) for line in lines) <= 80


def _is_wrapped(lines: list[str]) -> bool:
    body = lines[:-1]
    width = statistics.median(len(line) for line in body)
    lower = sum(line.lstrip()[:1].islower() for line in lines[1:])
    return bool(50 <= width <= 90 and lower >= 0.3 * len(body))


def _is_prose_enough(block: str) -> bool:
    """False for tables, rows of dots and lone page numbers; a rule such as `* * *` may stay."""
    visible = sum(not char.isspace() for char in block)
    if re.fullmatch(r"[\s*]+", block):
        return block.count("*") in (3, 5)
    return bool(visible) and len(_LETTERS.findall(block)) >= 0.65 * visible


def _cut_back_matter(text: str) -> str:
    """Drop everything from the first end-matter heading in the last eighth of the book."""
    tail_start = len(text) * 7 // 8
    found = _BACK_MATTER.search(text, tail_start)
    return text[: found.start()] if found else text


def _without_contents(blocks: list[str]) -> list[str]:
    """Drop a table of contents or plates: its heading and the short blocks that follow."""
    kept: list[str] = []
    skipping = False
    for place, block in enumerate(blocks):
        if place < 200 and _CONTENTS.match(block.split("\n")[0]):
            skipping = True
        elif skipping and (len(block) > 400 or block.rstrip().endswith(("!", '."', ".”"))):
            skipping = False
        if not skipping:
            kept.append(block)
    return kept
