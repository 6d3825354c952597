"""Tags come five ways in front matter and inline, and never from code, links or numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vault.helpers import entry_of, kinds, note_of, prose
from vaultgpt.settings import Rules
from vaultgpt.vault.entry import names_verse
from vaultgpt.vault.rules import RuleSet


@pytest.mark.parametrize(
    ("block", "tags"),
    [
        ("tags: [Dream, poetry]", ("dream", "poetry")),
        ("tags:\n  - dream\n  - '#poetry'", ("dream", "poetry")),
        ("tags: dream, poetry", ("dream", "poetry")),
        ("tags: dream poetry", ("dream", "poetry")),
        ("tags: '#dream #poetry'", ("dream", "poetry")),
        ("tag: dream", ("dream",)),
        ("Tags: dream", ("dream",)),
        ("tags: work/pool", ("work/pool",)),
        ("tags:", ()),
        ("tags: null", ()),
        ("tags: []", ()),
        ("tags: [dream, null, dream]", ("dream",)),
        ("tags: [[a, b], c]", ("a", "b", "c")),
        ("tags: [2021, dream]", ("2021", "dream")),
        ("tags: {a: b}", ()),
        ("tags: [dream]\ntag: poetry", ("dream", "poetry")),
    ],
)
def test_front_matter_tags_in_every_form(block: str, tags: tuple[str, ...]) -> None:
    assert note_of(f"---\n{block}\n---\nText\n").tags == tags


def test_inline_tags_are_found_and_a_tag_in_a_sentence_stays_prose() -> None:
    text = "I met #Family/aunts at the #harbour, twice.\n"
    assert entry_of(text).tags == ("family/aunts", "harbour")
    assert prose(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "`#code`",
        "```\n#code\n```",
        "https://example.org/#frag",
        "[[Note#part]]",
        "[x](a.md#part)",
        "# Heading",
        r"\#escaped",
        "#1",
        "#2021",
        "a#b",
        "&#39;",
        "# ",
        "##",
        "<!-- #hidden -->",
        "%% #hidden %%",
        "![[p#part]]",
        "$#x$",
        "#'quoted",
        "(#x)",
        '"#x"',
        "_#x_",
        "$a #x b$",
        "x,#y",
        "<div>\n#x\n</div>",
        "<details>\n<summary>S</summary>\nText #x\n</details>",
    ],
)
def test_what_is_no_tag(text: str) -> None:
    assert entry_of(text + "\n").tags == ()


def test_tags_may_be_in_any_script_and_hold_digits_and_signs() -> None:
    text = "#träume #夢 #y2k #a-b_c/d #1984-book\n"
    assert entry_of(text).tags == ("träume", "夢", "y2k", "a-b_c/d", "1984-book")


def test_a_line_of_tags_only_is_left_out_with_the_blank_line_below() -> None:
    assert kinds("#poetry\n\nThe tide\n  went out.\n") == [("tags", "#poetry\n\n")]
    assert prose("#poetry\n\nThe tide\n  went out.\n") == "The tide\n  went out.\n"
    assert kinds("One.\n#a, #b\nTwo.\n") == [("tags", "#a, #b\n")]
    assert kinds("Tags: #a #b\n") == [("tags", "Tags: #a #b\n")]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("x\u00a0#private", ("private",)),
        ("x\u3000#private", ("private",)),
        ("x\u2003#private", ("private",)),
        ("\u200b#private", ("private",)),
        ("\t#private", ("private",)),
        ("I wrote. #diary#private", ("diary", "private")),
        ("#one/#two", ("one", "two")),
        ("x#a#b", ()),
        ("#2023/05", ("2023/05",)),
        ("# Evening #private", ("private",)),
        ("# #private", ("private",)),
        ("Evening #private\n=======", ("private",)),
        ("| #private | b |", ("private",)),
        ("- #private", ("private",)),
        ("**#private**", ("private",)),
        ("I was ==#private== and ~~#odd~~", ("private", "odd")),
        ("> #private", ("private",)),
        (">#private", ("private",)),
        ("> said\nlazy #private", ("private",)),
        ("<div>\n#x\n</div>\n\n#private", ("private",)),
        ("#a,#b", ("a", "b")),
        ("#private\u00a0#x", ("private", "x")),
        ("It cost $5 and #private then $6", ("private",)),
        ("#PRIVATE", ("private",)),
        ("Mend it %% #sea %% soon", ("sea",)),
        ("Mend it %%#sea%% soon", ("sea",)),
        ("%% #sea %% soon", ()),
        ("Mend it <!-- #sea --> soon", ()),
    ],
)
def test_what_is_a_tag_after_any_white_space_and_joined(text: str, tags: tuple[str, ...]) -> None:
    assert note_of(text + "\n").tags == tags


def test_numbers_after_a_hash_stay_prose() -> None:
    assert prose("#1 #2\n") == "#1 #2\n"


def test_a_tag_in_a_heading_is_a_tag_of_the_entry_as_in_obsidian() -> None:
    assert note_of("# A walk #dream\n\nText\n").tags == ("dream",)
    assert entry_of("## Evening #private\n\nText\n").tags == ("private",)
    days = note_of("## 2021-07-01 Rain #sea\n\nA\n\n## 2021-07-02\n\nB\n")
    assert [entry.tags for entry in days.entries] == [("sea",), ()]


def test_a_tag_in_a_quote_counts() -> None:
    assert entry_of("> said #private\n\nText\n").tags == ("private",)


@pytest.mark.parametrize("name", ["poetry", "#Poem", "poetry/2019", "Gedichte", "poésie", "lyrics"])
def test_names_of_verse(name: str) -> None:
    assert names_verse(name)


@pytest.mark.parametrize("name", ["", "#", "journal", "poetics", "reverse", "journal/poetry"])
def test_other_names(name: str) -> None:
    assert not names_verse(name)


@pytest.mark.parametrize(
    "text",
    [
        # what nobody sees stands before it
        "x\u2060#private",
        "\u200f#private",
        "x\u202f#private",
        # HTML that is over, or never began
        "word\n<b>\n#private",
        "<pre>\nx\n</pre>\n#private",
        "<script>\nx\n</script>\n#private",
        "a<br>#private",
        "I was <font color=red>#private</font> then",
        # where the text is data to some plugin
        "[status:: #private]",
        "(with:: #private)",
        "{{ #private }}",
        "<% #private %>",
        "tags:: private",
        "(tags:: sea, private)",
        # a comment, a conflict's other side
        "%% #private %%",
        "%%\n#private\n%%",
        "A\n%% #private",
        "<<<<<<< HEAD\nA\n=======\n#private\n>>>>>>> main",
        # what stands behind it, in other scripts
        "#private\uff0c\u4eca\u5929",
        "#private\u3002",
        # far from a formula
        "She had $$ then.\n\n#private\n\nAnd $$ now.",
        "- > #private",
        # after an underscore, which Obsidian has come to read
        "I was _#private_ then",
        "snake_#private",
    ],
)
def test_no_place_hides_an_excluded_tag(tmp_path: Path, text: str) -> None:
    rules, whole = RuleSet.load(tmp_path, Rules()), f"{text}\n\nI walked to the river.\n"
    forms = (whole, whole.replace("\n", "\r\n"), whole.replace("\n", "\r"), "\ufeff" + whole)
    for data in (*(form.encode() for form in forms), whole.encode("utf-16")):
        assert rules.judge(note_of(data)).code == "tag"


def test_an_excluded_tag_is_the_same_in_both_forms_of_unicode(tmp_path: Path) -> None:
    rules = RuleSet.load(tmp_path, Rules(exclude_tags=("priv\u00e9",)))
    assert rules.judge(note_of("#prive\u0301 I walked to the river.\n")).code == "tag"
    assert rules.judge(note_of("#Prive\u0301e I walked to the river.\n")).code == ""
