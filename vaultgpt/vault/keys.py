"""The properties that decide about a note, by their names, wherever and however they are written.

Front matter is read by properties.py; here, what is no valid block is read line by line, and a wish
to be left out is heeded in every place where a person may have put it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vaultgpt.vault.entry import property_tags, unique

MAX_BLOCK = 64 * 1024  # characters; PyYAML's C loader dies of 30,000 "[", the pure one is slow
DATE_KEYS = (
    *("date", "day", "datetime", "journal-date", "entry-date", "datum", "fecha", "data", "дата"),
    *("日期", "日付"),
)
CREATED_KEYS = (
    *("created", "creation-date", "date-created", "created-at", "createdat", "created-on"),
    *("created-time", "created-date", "datecreated", "creationdate", "createdtime", "ctime"),
    *("date-added", "timestamp"),
)
# Kept by what brings other people's words into a vault: readers, book plugins, web clippers.
SOURCE_KEYS = (
    *("source", "url", "doc-type", "isbn", "isbn10", "isbn13", "isbn-10", "isbn-13", "bookid"),
    *("asin", "kindle-sync", "source-url", "original-url", "readwise-url", "readwise-id"),
    *("omnivore-id", "hypothesis-uri"),
)
_OTHER_KEYS = ("tag", "tags", "title", "vaultgpt", "excluded", "excalidraw-plugin", "modelkey")
_BARS = {"vaultgpt": False, "excluded": True}  # what keeps a note out, whatever else it says
_NEEDED = frozenset([*DATE_KEYS, *CREATED_KEYS, *SOURCE_KEYS, *_OTHER_KEYS])
KNOWN = _NEEDED | frozenset(["aliases", "alias", "cssclass", "cssclasses", "publish", "author"])
# Properties by their lines: "key: value", "key = value" and, of those that decide, "key:value".
PAIR = re.compile(
    r"[\"']?(\w[\w .-]{0,40}?)[\"']?[ \t]*[:=：](?=\s|\Z|[\[\"'])[ \t]*([^\n]{0,2000})"
)
_TIGHT = re.compile(r"(vault[-_]?gpt|excluded|tags?)[:=：](\S[^\n]{0,2000})", re.IGNORECASE)
_ITEM = re.compile(r"[ \t]*(?:-[ \t]+)?([^\n]{1,200})")
_INDENT = re.compile(r"[ \t]*(?:-[ \t]+)?")
_COMMENT = re.compile(r"(?:^|[ \t])#(?![^\s#,;]).*")
_RULES = frozenset(["tag", "tags", *_BARS])  # heeded where they are indented, too
# A block of properties that does not begin the note: under a title, a comment, a conflict's mark.
_BLOCK = re.compile(r"\n[ \t\u00a0\u200b\u2060\ufeff]{0,8}(?:(-{3})|(\+{3}))[^\n]{0,20}(?=\n)")
_BLOCK_END = {
    1: re.compile(r"^[ \t]{0,8}-{3,}[ \t]*\r?$", re.M),
    2: re.compile(r"^[ \t]{0,8}\+{3,}[ \t]*\r?$", re.M),
}
_BEFORE_KEYS = re.compile(r"(?:[ \t]*(?:[#<][^\n]*)?\n){0,5}[ \t]*(?:-[ \t]+)?")
_MOST_BLOCKS = 20
# `vaultgpt: false` on a line by itself, `[vaultgpt:: false]`, {"vaultgpt": false}.
_NO = (
    r"[\"'`]?vault[-_]?gpt[\"'`]?[ \t*_]{0,3}(?:::?|[=：])[ \t*_]{0,8}"
    r"[\"']?(?:false|no|off|0)[\"']?"
)
_WISH = re.compile(
    rf"^[ \t>*+-]{{0,12}}(?:%%|<!--)?[ \t*_]{{0,3}}{_NO}[ \t*_]{{0,8}}(?=\r?$|#|%%|-->)"
    rf"|[\[({{,][ \t]{{0,3}}{_NO}[ \t]{{0,8}}(?=[\])}},])",
    re.IGNORECASE | re.MULTILINE,
)


def name_of(key: object) -> str:
    """A property's name as NEEDED has it: in lower case, with "-" between its words."""
    name = re.sub(r"[ _]", "-", str(key).strip().lower())
    return "vaultgpt" if name == "vault-gpt" else name


def by_lines(block: str) -> dict[str, object]:
    """The needed keys of a block that can't be read whole: `key: value` at a line's start.

    What decides whether a note is read counts where it is indented, or an item, as well."""
    pairs: list[tuple[str, object]] = []
    lines = block.split("\n")
    for n, line in enumerate(lines):
        plain = _INDENT.sub("", line, count=1)
        found = PAIR.match(plain) or _TIGHT.match(plain)
        indented = plain != line
        if found is None or (name := name_of(found[1])) not in (_RULES if indented else _NEEDED):
            continue
        value = _COMMENT.sub("", found[2]).strip()
        below = _below(lines[n + 1 : n + 200], indented)
        if name in ("tag", "tags"):
            pairs.append((name, [value, *below]))
        else:
            pairs.append((name, value.strip("\"'") or next(iter(below), "").strip("\"'")))
    return needed(pairs)


def _below(lines: Iterable[str], indented: bool) -> list[str]:
    """The items of a list, or the indented lines, that stand below a key."""
    found: list[str] = []
    for line in lines:
        marked = line.lstrip(" \t").startswith("-")
        if not (marked or (not indented and line[:1] in (" ", "\t"))):
            break
        if PAIR.match(_INDENT.sub("", line, count=1)) or not (m := _ITEM.match(line)):
            break
        found.append(m[1])
    return found


def only_rules(values: dict[str, object]) -> dict[str, object]:
    """Only what would keep the note out, for the rules to see."""
    found = {key: bar for key, bar in _BARS.items() if values.get(key) is bar}
    tags = [*property_tags(values.get("tags")), *property_tags(values.get("tag"))]
    return {**found, "rule_tags": unique(tags)} if tags else {**found}


def with_rules(values: dict[str, object], *more: dict[str, object]) -> dict[str, object]:
    """The properties of a note, and what else keeps it out: the stricter of two counts."""
    out = {**values}
    own = {*property_tags(values.get("tags")), *property_tags(values.get("tag"))}
    for rules in more:
        out.update({key: bar for key, bar in _BARS.items() if rules.get(key) is bar})
        tags = property_tags([out.get("rule_tags"), rules.get("rule_tags")])
        if extra := unique(tag for tag in tags if tag not in own):
            out["rule_tags"] = extra
    return out


def blocks(text: str) -> list[tuple[int, dict[str, object]]]:
    """Where blocks that look like front matter stand in the first 64 kB, and what they forbid."""
    found: list[tuple[int, dict[str, object]]] = []
    text = "\n" + text[: 2 * MAX_BLOCK]  # such a pattern is far faster than one with "^"
    at, ends = 0, dict[int, int]()  # of either kind the next end that is known
    while len(found) < _MOST_BLOCKS and (m := _BLOCK.search(text, at, MAX_BLOCK)):
        at, kind = m.end() + 1, m.lastindex or 1
        if ends.get(kind, -1) < at:
            end = _BLOCK_END[kind].search(text, at, at + MAX_BLOCK)
            ends[kind] = end.start() if end else len(text)
        stop = ends[kind]
        if stop == len(text):
            continue
        begin = _BEFORE_KEYS.match(text, at)
        first = begin.end() if begin else at
        if PAIR.match(text, first) or _TIGHT.match(text, first):
            found.append((m.start(), only_rules(by_lines(text[at:stop]))))
            at = stop - 1  # what closes one may open another
    return found


def wish(text: str, at: int = 0) -> int | None:
    """Where `vaultgpt: false` stands by itself, from `at` on; front matter or not."""
    if "gpt" not in text and "GPT" not in text:
        return None
    m = _WISH.search(text, at)
    return m.end() - 1 if m else None


def needed(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    """The few keys we use, as strings and lists of strings. Of two: all tags, the stricter rule."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name not in _NEEDED:
            continue
        if name == "vaultgpt":
            own = _own(value)
            found[name] = own if found.get(name, True) is not False else False
        elif name == "excluded":
            found[name] = found.get(name, False) or bool(_scalar(value) and _says_yes(value))
        elif name in ("tag", "tags"):
            found[name] = unique([*property_tags(found.get(name)), *property_tags(value)])
        else:
            found[name] = found.get(name) or _scalar(value)
    return found


def _scalar(value: object) -> str:
    """A string; of a list or a mapping, its first string at most three levels down; else ""."""
    for _ in range(3):
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list) and value:
            value = value[0]
    text = value.strip() if isinstance(value, str) else ""
    return "" if text in ("null", "~") else text


def _own(value: object) -> object:
    """`vaultgpt: false` as False; `vaultgpt: {tags, date, length, temperature}` as a dict."""
    if isinstance(value, dict):
        inner = {str(k).lower(): v for k, v in value.items()}
        own: dict[str, object] = {
            k: _scalar(inner[k]) for k in ("date", "length", "temperature") if k in inner
        }
        if "tags" in inner:
            own["tags"] = property_tags(inner["tags"])
        return own
    return _says_yes(value)


def _says_yes(value: object) -> bool:
    """Whether a property is not switched off: `no` and nothing else is a no."""
    word = _scalar(value).lower().split("#")[0].strip(" \t\"'")
    return word not in ("false", "no", "off", "0", "n", "none", "never")
