"""Other people's words, by the marks that their tools leave in a note.

Answers of assistants, highlights of readers, a conflict's other side, Logseq's logs. Each function
looks at one text and says where such a stretch ends; spans.py walks. Knows nothing about files.
"""

from __future__ import annotations

import re
from bisect import bisect

from vaultgpt.vault.dates import heading_date

_MARKS = r"(?P<heading>#{1,6}[ \t]+)?[ \t>]{0,8}(?P<bold>\*\*|__)?(?:role::)?"
_VERB = r"(?P<verb>[ \t]+(?:said|says|replied|responded|answered|wrote))?"
_END = r"[ \t]*(?P<colon>:)?(?:\*\*|__)?[ \t]*(?P<late>:)?"
# Nobody's name: a line that holds one alone opens an answer. A person may be called the others.
_SURE = (
    r"(?:AI|(?:AI )?assistant|chat ?GPT(?:[ -]?\d[\w.-]*)?|GPT-?\d[\w.-]*"
    r"|(?:GitHub |Microsoft )?copilot|LLM|deepseek|perplexity)"
)
_MAYBE = r"(?:claude(?: [\d.]+)?|gemini|bard|grok|llama|mistral)"
_HUMAN = r"(?:user|you|me|human|prompt|question|I|ich|moi|yo)"
_TURN = re.compile(
    rf"\n{_MARKS}(?:(?P<sure>{_SURE})|(?P<maybe>{_MAYBE})|(?P<human>{_HUMAN})){_VERB}{_END}"
    r"(?P<rest>[^\n]*)",
    re.IGNORECASE,
)
_SPEAKS = re.compile(rf"\n{_MARKS}(?:{_SURE}|{_MAYBE})\b", re.IGNORECASE)
_BLANK = re.compile(r"\n[ \t\r]*\n")
_HEADING = re.compile(r"^(#{1,6})[ \t]+([^\n]+)", re.MULTILINE)
_CONFLICT = re.compile(r"<{7}(?: [^\n]*)?\r?\n")
_THEIRS = re.compile(r"^(?:\|{7}|={7})(?: [^\n]*)?\r?$", re.MULTILINE)
_CONFLICT_END = re.compile(r"^>{7}(?: [^\n]*)?\r?$", re.MULTILINE)
_DRAWER = re.compile(r"[ \t]*:(?:LOGBOOK|PROPERTIES):[ \t]*\r?\n", re.IGNORECASE)
_PIN = re.compile(r"(?:[ \t]|[-*+][ \t]|>)*(?:\U0001f4cc|\u23f1)")
_LINKS = (
    "readwise.io/",
    "kindle://",
    "weread.qq.com",
    "read.amazon.",
    "hypothes.is/",
    "omnivore.app/",
)
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_LONGEST_HIGHLIGHT = 20_000  # characters
_EXPORT = ("![rw-book-cover]", "](kindle://book", "\n## Highlights first synced")


def is_export(text: str) -> bool:
    """Whether a note is what Readwise or a Kindle plugin makes of a book."""
    return any(mark in text for mark in _EXPORT)


def answers(text: str) -> list[tuple[int, int]]:
    """Stretches of a chat that an assistant wrote, in order, each from its speaker's line on."""
    text = "\n" + text  # a pattern that begins with "\n" is five times as fast as one with "^"
    if not _SPEAKS.search(text):
        return []
    turns = [m for m in _TURN.finditer(text) if _opens(m)]
    talk = any(m["human"] for m in turns)
    asked = [m.start() + 1 for m in turns if m["human"]] + [len(text)]
    found: list[tuple[int, int]] = []
    for m in turns:
        alone = m["sure"] and (m["heading"] or m["verb"] or (m["bold"] and _colon(m)))
        if m["human"] or not (talk or alone) or (found and m.start() < found[-1][1]):
            continue
        until = asked[bisect(asked, m.start() + 1)]
        found.append((m.start(), _until(text, m, until, talk) - 1))
    return found


def _opens(m: re.Match[str]) -> bool:
    """Whether a line names who speaks next: a heading, "said", a name and a colon, or in bold."""
    if m["heading"] or m["verb"]:
        return not m["rest"].strip()
    return _colon(m) or (m["bold"] is not None and not m["rest"].strip())


def _colon(m: re.Match[str]) -> bool:
    return bool(m["colon"] or m["late"])


def _until(text: str, turn: re.Match[str], end: int, talk: bool) -> int:
    """An answer's end: the next question, a day's heading, or what its own heading covers."""
    level = len((turn["heading"] or "").strip())
    if turn["rest"].strip() and not talk:
        blank = _BLANK.search(text, turn.end(), end)  # no chat: one answer that was kept
        end = blank.start() + 1 if blank else end  # the line end stays with the answer
    for m in _HEADING.finditer(text, turn.end(), end):
        if heading_date(m[2].strip()) or (level and not talk and len(m[1]) <= level):
            return m.start()
    return end


def conflict(text: str, at: int) -> tuple[int, int, int] | None:
    """At git's "<<<<<<<": end of the line, start of the other side, and end of the conflict."""
    opening = _CONFLICT.match(text, at)
    theirs = _THEIRS.search(text, opening.end()) if opening else None
    closing = _CONFLICT_END.search(text, theirs.end()) if theirs else None
    if opening is None or theirs is None or closing is None:
        return None
    return opening.end(), theirs.start(), min(closing.end() + 1, len(text))


def drawer(text: str, at: int) -> int | None:
    """End of the line that opens a drawer of Logseq and Org, as `:LOGBOOK:`."""
    opening = _DRAWER.match(text, at)
    return opening.end() if opening else None


def has_highlights(text: str) -> bool:
    """Whether a reader's links or pins stand anywhere in the text."""
    return "\U0001f4cc" in text or any(link in text for link in _LINKS)


def highlight(text: str, at: int) -> int | None:
    """End of the highlight that begins at the line start `at`: an item or a paragraph with a link
    into the book, or with a pin."""
    pin = _PIN.match(text, at)
    end, size = at, len(text)
    while end < size and end - at < _LONGEST_HIGHLIGHT:
        after = text.find("\n", end) + 1 or size
        if not text[end:after].strip() or (end > at and _ITEM.match(text, end)):
            break
        end = after
    return end if pin or any(text.find(link, at, end) >= 0 for link in _LINKS) else None
