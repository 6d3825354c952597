"""Where the cursor stands decides what a continuation may do: what it would break, it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultgpt.settings import Rules
from vaultgpt.vault.at_cursor import AtCursor, EditorNote, read_editor
from vaultgpt.vault.place import Insertion, Place


def read(marked: str, may_skip: bool = False) -> AtCursor:
    text, at = marked.replace("¦", ""), marked.index("¦")
    note = EditorNote("A walk.md", text, at, may_skip=may_skip)
    return read_editor(Path("/nowhere"), Rules(), note)


def put(place: Place, text: str) -> str:
    """What is inserted, and the same however the text comes in pieces."""
    whole = Insertion(place).add(text, last=True)
    for size in (1, 2, 3, 7):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        insertion = Insertion(place)
        parts = [insertion.add(p, last=n == len(pieces) - 1) for n, p in enumerate(pieces)]
        assert "".join(parts) == whole
    return whole


def inserted(marked: str, text: str) -> str:
    """The note after `text` was taken at the cursor, `¦`."""
    found = read(marked)
    assert found.judgement.used, found.judgement.why
    return marked.replace("¦", put(found.place, text))


TWO = "It rained.\n\nThen it stopped."


@pytest.mark.parametrize(
    ("marked", "text", "after"),
    [
        # a paragraph of its own
        ("## Evening¦\n\nMore.", "It rained.", "## Evening\n\nIt rained.\n\nMore."),
        ("# A title¦", TWO, f"# A title\n\n{TWO}"),
        ("x\n\n## Evening ##¦", "It rained.", "x\n\n## Evening ##\n\nIt rained."),
        ("#dream #sea¦", "It rained.", "#dream #sea\n\nIt rained."),
        ("A line. ^id-1¦", "It rained.", "A line. ^id-1\n\nIt rained."),
        ("```\ncode\n```¦", "It rained.", "```\ncode\n```\n\nIt rained."),
        ("$$\nx\n$$¦", "It rained.", "$$\nx\n$$\n\nIt rained."),
        ("One.\n\n---¦", "It rained.", "One.\n\n---\n\nIt rained."),
        ("mood:: calm¦", "It rained.", "mood:: calm\n\nIt rained."),
        ("## Evening\n¦", "It rained.", "## Evening\nIt rained."),
        ("# A title\n\n¦\n", "It rained.", "# A title\n\nIt rained.\n"),
        # a separator
        ("I woke.¦", "It rained.", "I woke. It rained."),
        ("I woke.¦", " It rained.", "I woke. It rained."),
        ("I woke.¦", "” she said.", "I woke.” she said."),
        ("I woke!)¦", "It rained.", "I woke!) It rained."),
        ("I woke,¦", "and rose.", "I woke, and rose."),
        ('I woke.¦', '"Come," she said.', 'I woke. "Come," she said.'),
        ('"I woke.¦', '" she said.', '"I woke." she said.'),
        ("In 3.¦", "5 days", "In 3.5 days"),
        ("I wo¦", "ke.", "I woke."),
        ("I woke. ¦", "It rained.", "I woke. It rained."),
        ("我醒了。¦", "下雨了。", "我醒了。下雨了。"),
        # quotes and callouts
        ("> I woke¦", " and\nrose.", "> I woke and\n> rose."),
        ("> I woke¦", f" late. {TWO}", "> I woke late. It rained.\n>\n> Then it stopped."),
        ("> I woke¦", " and\n> rose.", "> I woke and\n> rose."),
        (">I woke¦", " and\nrose.", ">I woke and\n> rose."),
        ("> > I woke¦", " and\nrose.", "> > I woke and\n> > rose."),
        ("> [!note] Day¦", "It rained.\nLong.", "> [!note] Day\n> It rained.\n> Long."),
        ("> [!note]¦", "It rained.", "> [!note]\n> It rained."),
        ("> [!note] Day\n> I woke¦", " and\nrose.", "> [!note] Day\n> I woke and\n> rose."),
        ("> ## Day¦", "It rained.", "> ## Day\n>\n> It rained."),
        ("> a\n\nI woke¦", " and\nrose.", "> a\n\nI woke and\nrose."),
        # lists
        ("- one\n- two¦", " more\n- three", "- one\n- two more\n- three"),
        ("- one\n- two¦", " more\nand on", "- one\n- two more\n  and on"),
        ("1. one¦", " more\nand on\n2. two", "1. one more\n   and on\n2. two"),
        ("- one\n\t- two¦", " more\nand\n- three", "- one\n\t- two more\n\t  and\n\t- three"),
        ("- one\n  text¦", " more\nand on", "- one\n  text more\n  and on"),
        ("- one\n\n  text¦", f". {TWO}", "- one\n\n  text. It rained.\n\n  Then it stopped."),
        ("- [ ] one¦", " more\nand on\n- [ ] two", "- [ ] one more\n  and on\n- [ ] two"),
        ("> - one¦", " more\nand\n- two", "> - one more\n>   and\n> - two"),
        ("- one\n    - two¦", "\n        - three", "- one\n    - two\n        - three"),
        ("- one\n\nText¦", " more\nand on", "- one\n\nText more\nand on"),
        ("I woke\n  and rose¦", " and\nwent", "I woke\n  and rose and\nwent"),
        # tables
        ("| a | b¦ |", " more\nand | c", "| a | b more |"),
        ("a | b\n--|--\nc¦ | d", " more\nand", "a | b\n--|--\nc more | d"),
        ("| a |\n|---|\n| It rained.¦ |", "Long.", "| a |\n|---|\n| It rained. Long. |"),
        ("[[a|b]] and¦", " more\nand", "[[a|b]] and more\nand"),
    ],
)  # fmt: skip
def test_what_is_taken_stands_well_where_the_cursor_was(marked: str, text: str, after: str) -> None:
    assert inserted(marked, text) == after


@pytest.mark.parametrize(
    ("marked", "why"),
    [
        ("```py\nx = ¦1\n```", "code"),
        ("```py\nx = 1¦", "code"),
        ("```py¦", "code"),
        ("Text\n\n    x = foo(1);¦\n    y = bar(2);\n", "code"),
        ("> She said\n>\n> ```py\n> x = 1¦\n> ```", "code"),
        ("> [!note] Day\n> ```py¦\n> x = 1\n> ```", "code"),
        ("an `inl¦ine` word", "code"),
        ("$$\nx^2¦\n$$", "formula"),
        ("the sum $x^¦2$ is", "formula"),
        ("---\nmood: calm¦\n---\nText", "properties"),
        ("One %%hid¦den%% two", "comment"),
        ("<!-- hid¦den -->", "comment"),
        ("```dataview\nLIST¦\n```", "Dataview"),
        ("One [mood:: ca¦lm] two", "Dataview"),
        ("<% tp.fi¦le %> and then twenty words", "template"),
        ("[text](http://exa¦mple.org) two", "link"),
        ("![[ba¦ths.png]]", "embed"),
        ("# A ti¦tle", "heading"),
        ("x\n\n## Even¦ing", "heading"),
        ("A title¦\n===\n\nText", "at the end of that line"),
        ("x\n\nEvening¦\n---\n\nIt rained", "at the end of that line"),
        ("x\r\n\r\nEvening¦\r\n---\r\n", "at the end of that line"),
        ("x\n\n2021-03-04¦\n---\n\nText", "at the end of that line"),
        ("---\ntags: a\n---\nTitle¦\n===\nText", "at the end of that line"),
        ("x\n\nEven¦ing\n===\n", "heading"),
        ("x\n\nEvening\n==¦=\n", "heading"),
        ("#dre¦am #sea", "tags"),
        ("x\n\n¦#dream #sea\n", "in front of a mark"),
        ("x\n\n¦```py\nx = 1\n```", "in front of a mark"),
        ("x\n\n¦$$\nx^2\n$$", "in front of a mark"),
        ("x\n\n¦> She said", "in front of a mark"),
        ("> She said\n¦> that", "in front of a mark"),
        ("> [!no¦te] Day\n> I woke", "in front of a mark"),
        ("x\n\n¦- one", "in front of a mark"),
        ("- [¦ ] one", "in front of a mark"),
        ("1¦. one", "in front of a mark"),
        ("x\n\n¦| a | b |\n|---|---|", "in front of a mark"),
        ("x\n\n¦---\n\ny", "in front of a mark"),
    ],
)
def test_nothing_is_written_where_no_prose_may_stand_and_the_reason_is_told(
    marked: str, why: str
) -> None:
    found = read(marked)
    assert not found.judgement.used and (found.text, found.suffix) == ("", "")
    assert why in found.judgement.why and found.judgement.why.endswith(".")


@pytest.mark.parametrize(
    ("marked", "after"),
    [
        ("A title¦\n===", "A title\n===\n\nRain."),
        ("One.\n\nA title¦ \n---\n\nTwo.", "One.\n\nA title \n---\n\nRain.\n\nTwo."),
        ("One.\r\n\r\nLater¦\r\n--- \r\n", "One.\r\n\r\nLater\r\n--- \n\nRain.\r\n"),
        ("---\ntags: a\n---\nTitle¦\n=\nTwo", "---\ntags: a\n---\nTitle\n=\n\nRain.\nTwo"),
        ("x\n\n2021-03-04 😀¦\n---\n\nY", "x\n\n2021-03-04 😀\n---\n\nRain.\n\nY"),
    ],
)
def test_who_can_put_text_elsewhere_writes_on_below_a_heading_s_underline(
    marked: str, after: str
) -> None:
    found, text = read(marked, may_skip=True), marked.replace("¦", "")
    at = marked.index("¦") + found.place.skip
    assert found.judgement.used and found.place.skip > 1
    assert text[:at] + put(found.place, "Rain.") + text[at:] == after
    assert found.text == read(f"{text[:at]}¦{text[at:]}").text
    assert found.suffix == text[at:]


@pytest.mark.parametrize(
    "marked",
    [
        "One.\n\n¦\n---\n",
        "One\ntwo¦\n---\n",
        "- one¦\n---\n",
        "> one¦\n---\n",
        "# A title¦\n---\n",
        "A title\n===¦ \n",
        "I woke.¦\n\n---\n",
    ],
)
def test_elsewhere_the_text_stands_at_the_cursor(marked: str) -> None:
    assert read(marked, may_skip=True) == read(marked) and read(marked).place.skip == 0


def test_beside_such_a_place_the_text_goes_on() -> None:
    for marked in ("an `inline`¦ word", "$x^2$¦ is", "%%hidden%%¦", "[a](http://b)¦", "a ![[b]]¦"):
        assert read(marked).judgement.used and not read(marked).place.one_line


def test_in_an_empty_line_below_a_quote_or_a_table_it_does_not_become_a_part_of_that() -> None:
    assert inserted("> She said\n¦", "It rained.") == "> She said\n\nIt rained."
    assert inserted("> She said\n¦\nAnd I", "It rained.") == "> She said\n\nIt rained.\nAnd I"
    table = "| a | b |\n|---|---|\n| x | y |\n"
    assert inserted(f"{table}¦", "It rained.") == f"{table}\nIt rained."
    assert read("> ```py\n> x = 1\n> ```\n> She said¦").judgement.used, "the code is closed"
    assert read("> ```py\n\n> She said¦").judgement.used, "that was another quote"
    assert read(">¦ She said").judgement.used and read("- ¦one").judgement.used


def test_in_verse_and_in_a_fenced_poem_lines_are_lines() -> None:
    assert (
        inserted(
            "#poem\n\n    The tide¦",
            "\n    went out",
        )
        == "#poem\n\n    The tide\n    went out"
    )
    assert inserted("```poem\nThe tide¦\n```", "\nwent out") == "```poem\nThe tide\nwent out\n```"


def test_the_prompt_of_a_quote_is_plain_and_what_follows_a_heading_begins_a_paragraph() -> None:
    assert read("One.\n\n> She said\n> that¦").text == "One.\n\nShe said\nthat"
    assert read("> [!note]- Day\n> I woke¦").text == "Day\nI woke"
    assert read("> old\n\nI woke¦").text == "> old\n\nI woke"
    assert read("One.\n\n## Evening¦").text == "One.\n\n## Evening\n\n"
    assert read("One.\n\nEvening\n---¦\n\nIt").text == "One.\n\nEvening\n---\n\n"
    assert inserted("One.\n\nEvening\n===¦\n\nIt", "Rain.").startswith(
        "One.\n\nEvening\n===\n\nRain.\n\nIt"
    )
    assert inserted("- one¦\n---\n", " two") == "- one two\n---\n", "a rule, below a list"
    assert read("# A title¦").text == "" and read("#dream¦").text == ""
    assert read("I woke.¦").text == "I woke."


def test_an_empty_answer_stays_empty_and_a_plain_place_changes_nothing() -> None:
    for place in (Place(), Place("\n\n"), Place("\n> ", "> "), Place(" "), Place(one_line=True)):
        assert put(place, "") == "" if place != Place() else put(place, " a\n") == " a\n"
    assert put(Place("\n\n"), "\n\nIt rained.") == "\n\nIt rained."
    assert put(Place(one_line=True), "| x") == "" and put(Place(one_line=True), "a\nb") == "a"
