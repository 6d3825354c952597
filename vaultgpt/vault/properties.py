"""Front matter: where it ends, and the few properties that are needed from it.

YAML and TOML blocks are read as trees of strings, so that no date or number can raise, and what is
no valid block is read line by line for the keys that decide. Anything odd stays prose.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from frontmatter.default_handlers import YAMLHandler

from vaultgpt.vault.entry import property_tags, unique

_MAX_BLOCK = 64 * 1024  # characters; PyYAML's C loader dies of 30,000 "[", the pure one is slow
_MAX_DEPTH = 20
_MAX_NODES = 5_000  # of one block, each use of an alias counted: sixty lines can mean 2^60
DATE_KEYS = ("date", "day")
CREATED_KEYS = (
    "created",
    "creation-date",
    "date-created",
    "created-at",
    "createdat",
    "created-on",
    "created-time",
    "created-date",
    "datecreated",
    "creationdate",
)
# Kept by what brings other people's words into a vault: readers, book plugins, web clippers.
SOURCE_KEYS = (
    "source",
    "url",
    "doc-type",
    "isbn",
    "isbn10",
    "isbn13",
    "isbn-10",
    "isbn-13",
    "bookid",
    "asin",
    "kindle-sync",
    "readwise-url",
    "readwise-id",
    "omnivore-id",
    "hypothesis-uri",
)
_OTHER_KEYS = ("tag", "tags", "title", "vaultgpt", "excluded", "excalidraw-plugin", "modelkey")
_BARS = {"vaultgpt": False, "excluded": True}  # what keeps a note out, whatever else it says
_NEEDED = frozenset([*DATE_KEYS, *CREATED_KEYS, *SOURCE_KEYS, *_OTHER_KEYS])
_KNOWN = _NEEDED | frozenset(["aliases", "alias", "cssclass", "cssclasses", "publish", "author"])
_OPEN = re.compile(r"(---|\+\+\+)[ \t]*\r?\n")
_LATE = re.compile(r"(?:[ \t]*\r?\n){0,20}[ \t]{0,8}(---|\+\+\+)[ \t]*\r?\n")
_CLOSE = {mark: re.compile(rf"^{re.escape(mark)}[ \t]*\r?$", re.M) for mark in ("---", "+++")}
_BLANK = re.compile(r"(?:[ \t]*\r?\n)*")
_KEY = re.compile(r"\w[\w .,?/()'-]{0,60}:(?:\s|$)")
_LINES = re.compile(r"(?:(?:\w[\w -]{0,40}:(?=\s|\Z)|[ \t]+\S|-[ \t])[^\n]*(?:\n|\Z))+")
_PAIR = re.compile(
    r"[\"']?(\w[\w .-]{0,40}?)[\"']?[ \t]*[:=](?=\s|\Z|[\[\"'])[ \t]*([^\n]{0,2000})"
)
# No YAML, but meant.
_TIGHT = re.compile(r"(vaultgpt|excluded|tags?)[:=](\S[^\n]{0,2000})", re.IGNORECASE)
_ITEM = re.compile(r"[ \t]*(?:-[ \t]+)?([^\n]{1,200})")
_INDENT = re.compile(r"[ \t]*(?:-[ \t]+)?")
_RULES = frozenset(["tag", "tags", *_BARS])  # heeded where they are indented, too
_SENTENCE = re.compile(r"[.!;\"](?:\s|$)|,\s+(?:\S+\s+){2}|(?:\S+\s+){4}")


class _Handler(YAMLHandler):
    """The library's YAML, as nodes rather than values: a key given twice stays two keys.

    It also splits a note, and then loses what stands between two rules; so that is done here. The
    C loader dies of deep nesting, the pure one raises.
    """

    def load(self, fm: str, **options: object) -> Any:
        return yaml.compose(fm, Loader=yaml.SafeLoader)


_HANDLER = _Handler()


@dataclass(frozen=True)
class Properties:
    """What front matter says. `end` is where the body begins; 0 when there is no front matter."""

    end: int = 0
    values: dict[str, object] = field(default_factory=dict)  # needed keys, lower-case
    problem: str | None = None
    broken: int = 0  # end of a block that looks like front matter and could not be read
    unclosed: int = 0  # end of the properties below an opening rule that is never closed

    @property
    def above(self) -> int:
        """Characters before the body, however well what stands there could be read."""
        return max(self.end, self.broken, self.unclosed)


def read_properties(text: str) -> Properties:
    """Split and read the front matter of a note. Never raises, whatever stands there."""
    opening = _OPEN.match(text)
    if not opening:
        return _late(text)
    closing = _CLOSE[opening[1]].search(text, opening.end(), opening.end() + _MAX_BLOCK + 8)
    if not closing:
        return _unclosed(text, opening.end()) if opening[1] == "---" else Properties()
    block, end = text[opening.end() : closing.start()], _after(text, closing.end())
    if not block.strip():
        return Properties(end)
    return _toml(block, end) if opening[1] == "+++" else _yaml(block, end)


def _yaml(block: str, end: int) -> Properties:
    if _depth(block) > _MAX_DEPTH:
        return _failed(block, end, "its front matter is nested too deeply")
    try:
        root = _HANDLER.load(block)
    except Exception:  # yaml raises ValueError, TypeError, RecursionError and more,
        # with the note's text in the message, which goes no further
        return _failed(block, end, "its front matter is not valid YAML")
    tree = _Tree()
    pairs = tree.pairs(root) if isinstance(root, yaml.MappingNode) else []
    if tree.odd:
        return _failed(block, end, "its front matter is not valid YAML")
    names = [name for name, _ in pairs]
    if not pairs or not (_KNOWN & set(names) or _like_keys(key for key in tree.keys)):
        why = "what stands between its first two rules is not front matter"
        return Properties(0, _only_rules(_line_by_line(block)), why)
    problem = "its front matter refers to itself" if tree.cyclic else None
    if len(set(names)) < len(names):
        problem = "a key of its front matter is given twice"
    return Properties(end, _needed(pairs), problem)


def _toml(block: str, end: int) -> Properties:
    try:
        table = tomllib.loads(block.replace("\r\n", "\n"))
    except (ValueError, RecursionError):
        return _failed(block, end, "its front matter is not valid TOML")
    inner = [pair for value in table.values() if isinstance(value, dict) for pair in value.items()]
    return Properties(end, _needed((_name(k), _strings(v)) for k, v in [*table.items(), *inner]))


def _strings(value: object, depth: int = 0) -> object:
    """A TOML value as strings, lists and mappings of strings."""
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {str(k): _strings(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list) and depth < _MAX_DEPTH:
        return [_strings(v, depth + 1) for v in value]
    return str(value)


class _Tree:
    """A YAML tree as strings, lists and mappings: finite, however often an alias is used."""

    def __init__(self) -> None:
        self.left = _MAX_NODES
        self.cyclic = False
        self.odd = False  # a key is no word, as in {{date}}
        self.keys: list[str] = []  # of the mapping itself, as they are written
        self._open: set[int] = set()

    def pairs(self, root: yaml.MappingNode) -> list[tuple[str, object]]:
        """Names and values of a mapping in order, one given twice twice."""
        self._open.add(id(root))
        found = []
        for key, value in root.value:
            if self._word(key):
                self.keys.append(key.value)
                found.append((_name(key.value), self._value(value, 1)))
        return found

    def _value(self, node: yaml.Node, depth: int) -> object:
        self.left -= 1
        if isinstance(node, yaml.ScalarNode):
            return node.value
        if id(node) in self._open:
            self.cyclic = True
        if id(node) in self._open or depth > _MAX_DEPTH or self.left < 0:
            return ""
        self._open.add(id(node))
        found: object = ""
        if isinstance(node, yaml.SequenceNode):
            found = [self._value(item, depth + 1) for item in self._some(node.value)]
        elif isinstance(node, yaml.MappingNode):
            found = {
                key.value: self._value(value, depth + 1)
                for key, value in self._some(node.value)
                if self._word(key)
            }
        self._open.discard(id(node))
        return found

    def _word(self, key: yaml.Node) -> bool:
        word = isinstance(key, yaml.ScalarNode)
        self.odd = self.odd or not word
        return word

    def _some(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if self.left < 0:
                return
            yield item


def _name(key: object) -> str:
    return re.sub(r"[ _]", "-", str(key).strip().lower())


def _after(text: str, at: int) -> int:
    """Past the closing line's end and the blank lines below it."""
    at += 1 if text.startswith("\n", at) else 0
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _depth(block: str) -> int:
    """The deepest nesting of brackets, without regard to quotes."""
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", block):
        depth = depth + 1 if mark in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _like_keys(keys: Iterable[str]) -> bool:
    """Whether most are keys: "slept well?" is one, "Dear diary, I woke" a sentence with a colon."""
    marks = [len(key) <= 80 and (key.endswith("?") or not _SENTENCE.search(key)) for key in keys]
    return 2 * sum(marks) > len(marks)


def _late(text: str) -> Properties:
    """A block that stands too low, or indented, to be front matter: what it forbids is heeded."""
    opening = _LATE.match(text)
    at = opening.end() if opening else 0
    closing = (
        _CLOSE[opening[1]].search(text, at, at + _MAX_BLOCK)
        if opening and (_KEY if opening[1] == "---" else _PAIR).match(text, at)
        else None
    )
    if closing is None:
        return Properties()
    rules = _only_rules(_line_by_line(text[at : closing.start()]))
    return Properties(0, rules, "its front matter does not begin on its first line")


def _unclosed(text: str, at: int) -> Properties:
    if not _KEY.match(text, at):
        return Properties()  # a note that opens with a rule
    lines = _LINES.match(text, at)
    end = lines.end() if lines else at
    return Properties(
        0,
        _only_rules(_line_by_line(text[at : max(end, at + _MAX_BLOCK)])),
        "its front matter is not closed, or longer than 64 KB",
        unclosed=end,
    )


def _failed(block: str, end: int, why: str) -> Properties:
    """Prose after all: kept whole where it looks like properties, else read like the rest.

    What it says is believed all the same, line by line.
    """
    values = _line_by_line(block)
    if looks_like_properties := _PAIR.match(block.lstrip()) is not None:
        values = {**values, **_only_rules(values)}
    else:
        values = _only_rules(values)
    return Properties(0, values, why, end if looks_like_properties else 0)


def _line_by_line(block: str) -> dict[str, object]:
    """The needed keys of a block that can't be read whole: `key: value` at a line's start.

    What decides whether a note is read counts where it is indented, or an item, as well.
    """
    pairs: list[tuple[str, object]] = []
    lines = block.split("\n")
    for n, line in enumerate(lines):
        plain = _INDENT.sub("", line, count=1)
        found = _PAIR.match(plain) or _TIGHT.match(plain)
        needed = _NEEDED if plain == line else _RULES
        if found is None or (name := _name(found[1])) not in needed:
            continue
        value = found[2].strip()
        if name in ("tag", "tags"):
            below = []
            for item in lines[n + 1 : n + 200]:
                marked = item.lstrip(" \t").startswith("-")
                if not (marked or (plain == line and item[:1] in (" ", "\t"))):
                    break
                if _PAIR.match(_INDENT.sub("", item, count=1)) or not (m := _ITEM.match(item)):
                    break
                below.append(m[1])
            pairs.append((name, [value.partition(" #")[0] or value, *below]))
        else:
            pairs.append((name, value.strip("\"'")))
    return _needed(pairs)


def _only_rules(values: dict[str, object]) -> dict[str, object]:
    """Only what would keep the note out, for the rules to see."""
    found = {key: bar for key, bar in _BARS.items() if values.get(key) is bar}
    tags = [*property_tags(values.get("tags")), *property_tags(values.get("tag"))]
    return {**found, "rule_tags": unique(tags)} if tags else {**found}


def _needed(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
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
    return _scalar(value).lower().split("#")[0].strip() not in ("false", "no", "off", "0")
