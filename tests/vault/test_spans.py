"""The author's prose told apart from everything else, to the character."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vault.helpers import covered, entry_of, kinds, note_of, prose


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("A\n> said she\n> twice\n\nB\n", "quote", "> said she\n> twice\n"),
        ("> [!note] Mind\n> the gap\n", "callout", "> [!note] Mind\n> the gap\n"),
        ("A\n```python\nx = 1\n```\nB\n", "code", "```python\nx = 1\n```\n"),
        ("~~~\n```\n~~~\nB\n", "code", "~~~\n```\n~~~\n"),
        ("A `x = 1` B", "code", "`x = 1`"),
        ("A ``x ` y`` B", "code", "``x ` y``"),
        ("A ![[boat.jpg]] B", "embed", "![[boat.jpg]]"),
        ("A ![a boat](img/boat.png) B", "embed", "![a boat](img/boat.png)"),
        ("See https://example.org/a_(b)?c=d#e.", "url", "https://example.org/a_(b)?c=d#e"),
        ("See www.example.org, or not", "url", "www.example.org"),
        ("See <https://example.org>.", "url", "<https://example.org>"),
        ('A [boat](https://b.org/x "t") B', "url", '](https://b.org/x "t")'),
        ("[1]: https://example.org\n", "url", "[1]: https://example.org\n"),
        ("A obsidian://open?x=y B", "url", "obsidian://open?x=y"),
        ("```dataview\nLIST\n```\n", "dataview", "```dataview\nLIST\n```\n"),
        ("```dataviewjs\nx\n```\n", "dataview", "```dataviewjs\nx\n```\n"),
        ("```tasks\nnot done\n```\n", "dataview", "```tasks\nnot done\n```\n"),
        ("```mermaid\na-->b\n```\n", "dataview", "```mermaid\na-->b\n```\n"),
        ("It is `= this.mood` now", "dataview", "`= this.mood`"),
        ("mood:: low\nText\n", "dataview", "mood:: low\n"),
        ("A [mood:: low] B", "dataview", "[mood:: low]"),
        ("gratitude:: for the long walk that we took\n", "dataview", "gratitude:: "),
        ("A {{title}} B", "template", "{{title}}"),
        ("A <% tp.date.now() %> B", "template", "<% tp.date.now() %>"),
        ("A %%hidden%% B", "comment", "%%hidden%%"),
        ("A\n%%\nmany\n\nlines\n%%\nB", "comment", "%%\nmany\n\nlines\n%%"),
        ("A <!-- no\n\nmore --> B", "comment", "<!-- no\n\nmore -->"),
        ("A <u>word</u> B", "html", "<u>"),
        ("A<br>B", "html", "<br>"),
        ("<iframe src='x'>in</iframe> B", "html", "<iframe src='x'>in</iframe>"),
        ("A $$x^2$$ B", "math", "$$x^2$$"),
        ("A $x_1$ B", "math", "$x_1$"),
        ("A line ^abc123\nB", "comment", "^abc123"),
        (
            "Text:\n\n    def f(x):\n        return x;\n\nB\n",
            "code",
            "    def f(x):\n        return x;\n",
        ),
    ],
)
def test_what_is_not_the_authors_prose(text: str, kind: str, piece: str) -> None:
    assert (kind, piece) in kinds(text)
    covered(note_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "A [[Note|the alias]] and [[Note]] and ==highlight== and a note[^1].\n\n[^1]: Foot.\n",
        "- [ ] buy rope\n- [x] sell boat\n    - inner\n",
        "| a | b |\n|---|---|\n| one | two |\n",
        "It cost $5 and then $6, or 5% to 10%.\n",
        "She left <sigh> and 3 < 4 > 2.\n",
        "A stray ` tick, a [bracket, a ![[thing, {{half, <% half, %% half, $$ half.\n",
        "Two `ticks\n\nin two` paragraphs.\n",
        "The tide\n    goes out\n        goes out\n\n    and in\n",
        "He said: \\`not code\\` \\[not a link\\](no) \\<br\\> \\%% x \\%%\n",
        "Anki {{c1::Paris}} is prose.\n",
        "`Come in,' she said, `and shut the door.' The `door' was open.\n",
        "`Who is it? cried I.  `Nobody, they said.\n",
        "As he says:\n\n        Volat illud;\n\nand it does.\n",
        "Mum:she said. a::b\n",
        "1. One\n\n        deep in a list;\n",
        "***\n\n---\n\n* * *\n",
        "http:// alone, and note: this/that://x\n",
    ],
)
def test_what_stays_prose_to_the_character(text: str) -> None:
    assert prose(text) == text


def test_verse_keeps_line_breaks_and_indents_even_where_it_looks_like_code() -> None:
    text = "#poetry\n\nThe sea (it said);\n\n    sings to me;\n    sings to me;\n\n\tsings;  \n"
    assert prose(text) == text.removeprefix("#poetry\n\n")
    inside = "---\ntags: poetry\n---\n    from home;\n    return;\n"
    assert prose(inside) == "    from home;\n    return;\n"


def test_a_fence_that_is_never_closed_does_not_swallow_the_day() -> None:
    text = "A\n\n```\nB is prose.\n\nC too.\n"
    assert prose(text) == "A\n\nB is prose.\n\nC too.\n"


def test_a_fenced_poem_is_prose() -> None:
    assert prose("```poem\nThe tide\n  is out\n```\n") == "The tide\n  is out\n"


def test_nothing_is_looked_for_inside_code_and_comments() -> None:
    assert kinds("`%%` and `%%`") == [("code", "`%%`"), ("code", "`%%`")]
    assert kinds("```\n%%\n```\nA\n```\n%%\n```\n") == [
        ("code", "```\n%%\n```\n"),
        ("code", "```\n%%\n```\n"),
    ]
    assert kinds("%% `a %% b` c") == [("comment", "%% `a %%")]


def test_masks_of_the_document_are_the_context_and_left_out_kinds_are_gone() -> None:
    text = "---\ntags: a\n---\n# T\n\nA `b` c.\n> q\n%%x%%D\n"
    document, masked = entry_of(text).document()
    assert document == "A `b` c.\n> q\nD\n"
    assert [document[a:b] for a, b in masked] == ["`b`", "> q\n"]


_PIECES = st.sampled_from(
    [
        "---\n",
        "\n",
        "\r\n",
        "# ",
        "## 2021-07-01\n",
        "## 2021-02-30\n",
        "> ",
        "```",
        "~~~\n",
        "`",
        "``",
        "%%",
        "<!--",
        "-->",
        "$$",
        "$",
        "[[",
        "]]",
        "![",
        "](",
        ")",
        "[",
        "]",
        "{{",
        "}}",
        "<%",
        "%>",
        "#a",
        "#a ",
        "^b1",
        "tags: x\n",
        "date: 2021-07-01\n",
        "k:: v",
        "http://",
        "www.",
        "<br>",
        "<svg>",
        "\\",
        "    ",
        "\t",
        " ",
        "a",
        "é",
        "夢",
        "- ",
        "word ",
        "\u2028",
        "\r",
        "\x0c",
        "[^1]: ",
        "[a]: b\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=40).map("".join))
def test_any_mixture_of_marks_is_covered_without_gap_or_overlap(text: str) -> None:
    note = note_of(text)
    covered(note)
    assert note.text == re.sub(r"\r(?!\n)", "\n", text)  # as editors show it


def test_a_lone_return_ends_a_line_as_in_editors() -> None:
    text = "---\rvaultgpt: false\r---\r# The ferry\rIt came.\r\r> said\rlazy\r\rMine.\r"
    note = note_of(text)
    assert note.properties["vaultgpt"] is False and note.entries[0].title == "The ferry"
    assert note.entries[0].prose == "It came.\n\n\nMine.\n" and len(note.text) == len(text)


def test_two_dollars_far_apart_are_money() -> None:
    text = "It took $$ then.\n\nA page of mine.\n\nAnd $$ now.\n"
    assert prose(text) == text
    assert kinds("A\n$$\nx\n\ny\n$$\nB\n") == [("math", "$$\nx\n\ny\n$$")]


_FOREIGN = st.sampled_from(
    [
        "```py\ncode = 1\n```",
        "> said by another\n> and more of it",
        "> [!note] One\n> of theirs",
        "%% hidden %%",
        "%%\nhidden\n\nlong\n%%",
        "<!-- hidden -->",
        "$$\nx^2\n$$",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "![[picture.png]]",
        "#sea #summer",
        "key:: value",
        "<% tp.date.now() %>",
        "- an item\n- another",
        "# A heading #sea",
        "Setext\n------",
        "***",
        "<div>\nraw\n</div>",
        "[^1]: A note below.",
        "https://example.org/a_b",
        "He paid 10 % of it, 3 * 4 < 5 and `so",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_FOREIGN, max_size=12), st.booleans(), st.booleans())
def test_no_prose_that_a_reader_sees_is_lost(
    between: list[str], properties: bool, windows: bool
) -> None:
    """1. Paragraphs with all kinds of closed markup between them. Result: each is prose, whole."""
    mine = [f"On day {n} I rowed out alone, and it rained." for n in range(len(between) + 1)]
    blocks = [block for pair in zip(mine, between, strict=False) for block in pair] + mine[-1:]
    text = "---\ntags: [a]\n---\n" * properties + "\n\n".join(blocks) + "\n"
    seen = prose(text.replace("\n", "\r\n") if windows else text)
    assert [paragraph for paragraph in mine if paragraph not in seen] == []


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.binary(max_size=200))
def test_any_text_and_any_bytes_are_read(text: str, data: bytes) -> None:
    covered(note_of(text.encode("utf-8", "replace")))
    covered(note_of(data))


_FLOODS = [
    "[",
    "`",
    "` ``",
    ">",
    "> ",
    "%%",
    "%%a",
    "<",
    "<a ",
    "<!--",
    "<%",
    "<svg>",
    "$$",
    "$a",
    "{{",
    "#a ",
    "](",
    "[a](",
    "![[a",
    "![",
    "http://",
    "://",
    "www.a",
    "a::\nb",
    "```\n",
    "## 2021-01-01 `a`\n",
    "\ta;\n\n",
    " ",
    "\n",
    "\\",
    "[a::",
    "tags: #a ",
    "^a ",
    "---\n",
    "(a::",
    "((",
    "[a:: [[",
    "<<<<<<<\n",
    "<<<<<<<\n=======\n",
    ":LOGBOOK:\n",
    "ChatGPT said:\n",
    "AI: x\nMe: y\n",
    "\U0001f4cc a\n\n",
    "- kindle://a\n",
    "<div>\n",
    "> a\nb\n",
    "a\n===\n\n",
    "#a#",
    "+++ a\n",
    "---\na: b\n",
    "#+BEGIN_QUOTE\n",
    "vaultgpt: false\n",
    "```\nvaultgpt: false\n```\n",
    "<pre>\n",
    "<b>\n\n",
    "## ChatGPT summary\n",
    "- > a\n",
    "a\n- b | c\n\nd\n",
    "==========\n",
    "1/1/2021\n\n",
    "%%#a%%",
    "tags:: a\n",
    "{{#a}}",
]


@pytest.mark.parametrize("flood", _FLOODS)
def test_a_flood_of_one_mark_stays_linear(flood: str) -> None:
    def seconds(size: int) -> float:
        data = (flood * (size // len(flood)) + "x\n").encode()
        best = 1e9
        for _ in range(2):
            began = time.process_time()
            covered_note = note_of(data)
            best = min(best, time.process_time() - began)
        assert covered_note.text
        return best

    small, large = seconds(20_000), seconds(160_000)
    assert large < 24 * small + 0.05  # eight times the text; quadratic would be 64 times
