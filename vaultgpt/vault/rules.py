"""One rule set says which notes are used, for training and for writing alike.

Knows the settings, .obsidian and a note's properties; reads no note itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vaultgpt.errors import UsageError
from vaultgpt.settings import Rules
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import (
    CRASHED,
    TOO_LONG,
    Judgement,
    Note,
    below,
    clean_tag,
    parts,
    property_tags,
)
from vaultgpt.vault.keys import SOURCE_KEYS
from vaultgpt.vault.obsidian import Pattern, settings, settings_or_problem
from vaultgpt.vault.walk import PLACEHOLDER

if TYPE_CHECKING:
    import pathspec

# Syncthing; Dropbox, Nextcloud, Obsidian Sync; Seafile; Synology Drive; Resilio; ownCloud; pCloud.
_CONFLICT = re.compile(
    r"\.sync-conflict-\d|\(.{0,80}conflicted copy|\bconflicted copy\b|\(case conflict"
    r"|^\.syncthing\.|~syncthing~|\(SFConflict |_(?:Case|Unicode)?Conflict(?:\(\d+\))?\.\w+$"
    r"|\.Conflict(?:\(\d+\)|\d+)?\.\w+$|_conflict-\d{8}|\[conflicted\]"
    # as Dropbox calls its copies in other languages, with the day in the brackets
    r"|[(（][^()（）]{0,80}(?:konflikt|conflit|conflict|conflitto|conflito|конфликт|冲突|衝突|競合|충돌)"
    r"[^()（）]{0,80}\d{4}[-.年]\d\d?[^()（）]{0,40}[)）]",
    re.IGNORECASE,
)
_GIT_CONFLICT = "conflict-files-obsidian-git.md"  # the note in which obsidian-git lists them
_CHATS = re.compile(r"(?:^|/)(?:copilot-conversations|copilot-custom-prompts|smart-chats)/")
_CHAT_TAG = "copilot-conversation"
_UNSHOWN = re.compile("\n")  # in a path: two lines of any list, and no request may hold it
USED = Judgement(True, "", "It is used.")


def _fold(path: str) -> str:
    """A path as case-insensitive and Unicode-normalising file systems compare it."""
    return unicodedata.normalize("NFC", path).casefold()


def _spec(patterns: tuple[str, ...], key: str) -> pathspec.GitIgnoreSpec | None:
    """Patterns whose match of a path ends: eleven stars took 84 s on a name of 40 letters."""
    if not patterns:
        return None
    import pathspec  # most vaults have none

    try:
        spec = pathspec.GitIgnoreSpec.from_lines(_fold(pattern) for pattern in patterns)
        for pattern in spec.patterns:
            if pattern.regex is not None:
                pattern.regex = Pattern(pattern.regex.pattern)  # type: ignore[assignment]
    except (ValueError, TypeError, re.error):
        raise UsageError(
            f"rules.{key} holds a pattern that can't be read.",
            "Patterns are written as in .gitignore.",
        ) from None
    return spec


@dataclass(frozen=True)
class _Ignored:
    """Obsidian's excluded files: path prefixes and /regular expressions/."""

    prefixes: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    problems: tuple[str, ...] = ()

    @staticmethod
    def load(vault: Path) -> _Ignored:
        """`userIgnoreFilters` of .obsidian/app.json; what can't be read of it is a problem."""
        prefixes, patterns, problems = [], [], []
        values, damaged = settings_or_problem(vault, "app.json")
        if damaged:
            problems.append(f"{damaged}, so Obsidian's excluded files are not known.")
        filters = values.get("userIgnoreFilters")
        for item in filters if isinstance(filters, list) else []:
            if not isinstance(item, str) or not item.strip():
                continue
            if len(item) > 2 and item.startswith("/") and item.endswith("/"):
                try:
                    patterns.append(Pattern(item[1:-1]))
                except ValueError:
                    problems.append("A pattern among Obsidian's excluded files can't be read.")
            else:
                prefixes.append(_fold(item.strip().lstrip("/")))
        return _Ignored(tuple(prefixes), tuple(patterns), tuple(problems))

    def match(self, path: str) -> bool:
        """Whether Obsidian leaves this path out of its searches. TimeoutError."""
        folded = _fold(path)
        return any(folded.startswith(p) for p in self.prefixes) or any(
            pattern.search(path) for pattern in self.patterns
        )


def _template_places(vault: Path) -> tuple[str, ...]:
    """Folders (with "/") and single notes that hold templates, folded."""
    folders = [
        settings(vault, "templates.json").get("folder"),
        settings(vault, "plugins", "templater-obsidian", "data.json").get("templates_folder"),
    ]
    places = [
        _fold(f.strip().strip("/")) + "/"
        for f in folders
        if isinstance(f, str) and f.strip().strip("/")
    ]
    places += [_fold(note) + ".md" for note in DailyFormat.load(vault).templates]
    return tuple(places)


@dataclass(frozen=True)
class RuleSet:
    """The rules of one vault, ready to judge paths and notes."""

    rules: Rules
    exclude: pathspec.GitIgnoreSpec | None
    only: pathspec.GitIgnoreSpec | None
    tags: tuple[str, ...]
    ignored: _Ignored
    templates: tuple[str, ...]

    @staticmethod
    def load(vault: Path, rules: Rules) -> RuleSet:
        """Compile the settings and read .obsidian. UsageError for a bad pattern."""
        tags = tuple(tag for name in rules.exclude_tags if (tag := clean_tag(name)))
        return RuleSet(
            rules,
            _spec(rules.exclude, "exclude"),
            _spec(rules.only, "only"),
            tags,
            _Ignored.load(vault),
            _template_places(vault),
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what could not be read of the rules."""
        late = ("A pattern takes too long on a path: that note is left out.",)
        slow = any(pattern.late for pattern in self._patterns())
        return self.ignored.problems + (late if slow else ())

    def _patterns(self) -> list[Pattern]:
        specs = [spec for spec in (self.exclude, self.only) if spec is not None]
        globs: list[Any] = [pattern.regex for spec in specs for pattern in spec.patterns]
        return [*self.ignored.patterns, *(p for p in globs if isinstance(p, Pattern))]

    def sources(self) -> tuple[object, ...]:
        """What these rules were made from, in a form that compares and prints the same."""
        patterns = tuple(pattern.pattern for pattern in self.ignored.patterns)
        return self.rules, self.ignored.prefixes, patterns, self.templates, _UNSHOWN.pattern

    def judge_path(self, path: str) -> Judgement:
        """What the path alone decides. One that a pattern can't be tried on in time is left out."""
        try:
            return self._judge_path(path)
        except TimeoutError:
            return _no("pattern", "A pattern of the rules takes too long on its path.")

    def _judge_path(self, path: str) -> Judgement:
        name = PurePosixPath(path).name
        if _UNSHOWN.search(path):  # it could not be forgotten again
            return _no("name", "Its name or its folder's holds a line break: rename it.")
        if _CONFLICT.search(name):
            return _no("conflict copy", "It is a copy that a sync tool left behind.")
        if name.lower() == _GIT_CONFLICT:
            return _no("conflict copy", "It is a list of conflicts that obsidian-git left behind.")
        if PLACEHOLDER.match(name):
            return _no("placeholder", "It lies in the cloud and is not on this machine.")
        folded = _fold(path)
        if self.exclude is not None and self.exclude.match_file(folded):
            folder = folded.rpartition("/")[0]
            inside = folder and self.exclude.match_file(folder + "/")
            return _no("folder" if inside else "pattern", "rules.exclude leaves it out.")
        if self.only is not None and not self.only.match_file(folded):
            return _no("only", "rules.only does not name it.")
        if self.rules.obsidian_excluded and self.ignored.match(path):
            return _no("obsidian", "Obsidian's own excluded files name it.")
        if not self.rules.clippings and _CHATS.search(folded):
            return _no("chat", "It lies where chats with an assistant are kept.")
        if not self.rules.templates and self._is_template_place(folded):
            return _no("template", "It lies where this vault keeps its templates.")
        return USED

    def _is_template_place(self, folded: str) -> bool:
        return any(
            folded.startswith(place) if place.endswith("/") else folded == place
            for place in self.templates
        )

    def judge(self, note: Note) -> Judgement:
        """Whether a note that was read is used."""
        judgement = self.judge_path(note.path)
        if judgement.used and not note.entries:
            judgement = not_read(note)
        judgement = self.judge_kind(note) if judgement.used else judgement
        if not judgement.used:
            return judgement
        if note.words == 0:
            return _no("empty", "It holds no prose.")
        if note.words < self.rules.min_words:
            return _no("few words", f"It holds fewer than {self.rules.min_words} words of prose.")
        return USED

    def judge_tags(self, tags: Iterable[str]) -> Judgement:
        """Whether none of these tags is an excluded one or stands below one."""
        for tag in (part for whole in tags for part in parts(whole)):
            if barred := next((bar for bar in self.tags if below(tag, bar)), None):
                return _no("tag", f"It has the excluded tag #{barred}.")
        return USED

    def judge_kind(self, note: Note) -> Judgement:
        """What a note's own text decides, however little of it there is."""
        if note.properties.get("vaultgpt") is False:
            return _no("vaultgpt: false", "Its front matter says `vaultgpt: false`.")
        if note.properties.get("excluded") is True:
            return _no("excluded", "Its front matter says `excluded`.")
        by_tags = self.judge_tags([*note.tags, *property_tags(note.properties.get("rule_tags"))])
        if not by_tags.used:
            return by_tags
        if not self.rules.templates and note.properties.get("template"):
            return _no("template", "It holds placeholders that a template would fill in.")
        return USED if self.rules.clippings else _foreign(note)


def not_read(note: Note) -> Judgement:
    """Of a note whose text can't be had."""
    code = "quarantined" if note.problem in (TOO_LONG, CRASHED) else "unreadable"
    return _no(code, f"It can't be read: {note.problem}.")


def _foreign(note: Note) -> Judgement:
    """Whether a note holds somebody else's text: clipped, exported from a book, or a chat."""
    if key := next((key for key in SOURCE_KEYS if note.properties.get(key)), None):
        if key in ("source", "url"):
            why = "Its front matter names a source or url: somebody else's text."
            return _no("clipping", why)
        return _no("excerpt", f"Its front matter has `{key}`: excerpts of somebody else's text.")
    if note.properties.get("highlights"):
        return _no("excerpt", "It is an export of a reader's highlights.")
    if note.properties.get("modelkey") or any(below(tag, _CHAT_TAG) for tag in note.tags):
        return _no("chat", "It is a chat with an assistant.")
    return USED


def _no(code: str, why: str) -> Judgement:
    return Judgement(False, code, why)
