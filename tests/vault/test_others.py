"""Other people's words, by the marks that tools leave; and prose that only looks like theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vault.helpers import covered, kinds, note_of, prose, write
from vaultgpt.settings import Rules
from vaultgpt.vault.rules import RuleSet

MINE = "I walked to the river today and it was low.\n"
UUID = "65f1c0de-1234-4abc-8def-0123456789ab"


def code(vault: Path, path: str, text: str = MINE, rules: Rules | None = None) -> str:
    return RuleSet.load(vault, rules or Rules()).judge(note_of(text, path)).code


@pytest.mark.parametrize(
    ("text", "left"),
    [
        # a quote goes on where no line break parts it, as CommonMark and Obsidian read it
        ("> first line\nsecond line\n\nMine.\n", "Mine.\n"),
        ("> first line\nsecond\nthird\n> fourth\nfifth\n\nMine.\n", "Mine.\n"),
        ("> [!quote] Who\n> first\nsecond\n\nMine.\n", "Mine.\n"),
        ("> first\n>\nMine.\n", "Mine.\n"),
        ("> ## Heading\nMine.\n", "Mine.\n"),
        ("> ```\n> code\n> ```\nMine.\n", "Mine.\n"),
        ("> first\n## Mine\n", "## Mine\n"),
        ("> first\n- Mine.\n", "- Mine.\n"),
        ("> first\n---\nMine.\n", "---\nMine.\n"),
        # Dataview in brackets and parentheses
        ("A (mood:: low) B\n", "A  B\n"),
        ("A [with:: [[Ann]]] B\n", "A  B\n"),
        ("A [with:: [[Ann]], [[Bo|B]]] B\n", "A  B\n"),
        ("A (at:: the pier (old)) B\n", "A  B\n"),
        ("A (he said: no) B (a::b\n", "A (he said: no) B (a::b\n"),
        # Logseq
        (
            "- TODO Mend\n  :LOGBOOK:\n  CLOCK: [2023-01-01 Sun 10:00]\n  :END:\n- Mine.\n",
            "- TODO Mend\n- Mine.\n",
        ),
        (f"- As I said (({UUID})) then.\n", "- As I said  then.\n"),
        (f"- Mine.\n  id:: {UUID}\n  collapsed:: true\n", "- Mine.\n"),
        ("- Mine ((twice)).\n", "- Mine ((twice)).\n"),
        # a conflict of git: its marks and the other side
        (
            "A\n<<<<<<< HEAD\nMine.\n=======\nTheirs.\n>>>>>>> main\nB\n",
            "A\nMine.\nB\n",
        ),
        (
            "<<<<<<< HEAD\nMine.\n||||||| base\nOld.\n=======\nTheirs.\n>>>>>>> 1a2b3c\nB\n",
            "Mine.\nB\n",
        ),
        ("Title\n=======\nMine.\n", "Mine.\n"),
        ("<<<<<<< HEAD\nMine.\n", "<<<<<<< HEAD\nMine.\n"),
        # readers' highlights
        (
            "Mine.\n\n- A line. ([Location 12](https://readwise.io/to_kindle?x=1))\n- Mine.\n",
            "Mine.\n\n- Mine.\n",
        ),
        (
            "A line of the book\nand one more. ([View Highlight](https://read.readwise.io/read/01))\n\nMine.\n",
            "\nMine.\n",
        ),
        (
            "A line \u2014 location: [1](kindle://book?action=open&asin=B0) ^ref-1\n\nMine.\n",
            "\nMine.\n",
        ),
        ("> \U0001f4cc A line\n> \u23f1 2022-01-01 10:00:00\n\nMine.\n", "\nMine.\n"),
        ("- \U0001f4cc A line\n    - \u23f1 2022-01-01\n- Mine.\n", "- Mine.\n"),
        ("\U0001f4cc A line\nof the book\n\nMine.\n", "\nMine.\n"),
        # a quote in a list
        ("- > said\n- Mine.\n", "- - Mine.\n"),
        ("1. > said\n   > more\n\nMine.\n", "1. \nMine.\n"),
        ("* > said\nlazy\n\nMine.\n", "* \nMine.\n"),
        ("- [ ] > said\n\nMine.\n", "- [ ] \nMine.\n"),
        # Org's blocks in Logseq, and its drawers in small letters
        ("#+BEGIN_QUOTE\nsaid\n#+END_QUOTE\nMine.\n", "Mine.\n"),
        ("- Mine.\n  #+begin_src py\n  x\n  #+end_src\n", "- Mine.\n"),
        ("#+BEGIN_QUOTE\nMine.\n", "#+BEGIN_QUOTE\nMine.\n"),
        ("- TODO Mend\n  :logbook:\n  CLOCK: x\n  :end:\n- Mine.\n", "- TODO Mend\n- Mine.\n"),
        ("A [\u23f0:: ten] B (1st:: x)\n\n\U0001f600:: good\nC\n", "A  B \n\nC\n"),
        ("*mood*:: low\nMine.\n", "Mine.\n"),
        # a Kindle's own list
        (
            "A Book\n- Your Highlight on page 5 | Added on Sunday\n\nA line.\n==========\nMine.\n",
            "Mine.\n",
        ),
        ("I pay for https://readwise.io/login.\n", "I pay for .\n"),
    ],
)
def test_what_others_wrote_is_told_to_the_character(text: str, left: str) -> None:
    for form in (text, text.replace("\n", "\r\n")):
        assert prose(form).replace("\r", "").strip() == left.strip()
        covered(note_of(form))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Mine.\n\n## AI\n\nSure! Here it is.\n", "Mine.\n\n"),
        (
            "## User\n\nMine.\n\n## AI\n\nSure!\n\n## User\n\nMine too.\n",
            "## User\n\nMine.\n\n## User\n\nMine too.\n",
        ),
        (
            "You said:\nMine.\n\nChatGPT said:\nSure!\n\n# A heading\n\nMore.\n",
            "You said:\nMine.\n\n",
        ),
        ("ChatGPT said:\n\nSure!\n", ""),
        (
            "**user**: Mine.\n\n**ai**: Sure!\n\nMore.\n\n**user**: Mine.\n",
            "**user**: Mine.\n\n**user**: Mine.\n",
        ),
        (
            "A\n\n# role::user\n\nMine.\n\n# role::assistant\n\nSure!\n",
            "A\n\n# role::user\n\nMine.\n\n",
        ),
        (
            "**Me:** Mine.\n\n**Claude:** Sure!\n\n**Me:** Mine.\n",
            "**Me:** Mine.\n\n**Me:** Mine.\n",
        ),
        (
            "**User**\n\nMine.\n\n**Assistant**\n\nSure!\n\n**User**\n\nMine.\n",
            "**User**\n\nMine.\n\n**User**\n\nMine.\n",
        ),
        ("Human: Mine.\nAssistant: Sure!\nHuman: Mine.\n", "Human: Mine.\nHuman: Mine.\n"),
        ("## ChatGPT\n\nSure!\n\n## Evening\n\nMine.\n", "## Evening\n\nMine.\n"),
        ("**GPT-4o:** Sure!\n\nMine.\n", "\nMine.\n"),
        ("## 2021-03-14\n\nA\n\nChatGPT said:\nSure!\n\n## 2021-03-15\n\nB\n", "A\n\nB\n"),
        ("Du hast gesagt:\nMine.\n\nChatGPT hat gesagt:\nJa!\n", "Du hast gesagt:\nMine.\n\n"),
        ("Vous avez dit :\nMine.\n\nChatGPT a dit\u00a0:\nOui\n", "Vous avez dit :\nMine.\n\n"),
        ("Dijiste:\nMine.\n\nChatGPT dijo:\nS\u00ed\n", "Dijiste:\nMine.\n\n"),
        ("\u4f60\u8bf4\uff1a\nMine.\n\nChatGPT \u8bf4\uff1a\nA\n", "\u4f60\u8bf4\uff1a\nMine.\n\n"),
        ("User\uff1aMine.\nAI\uff1aSure\n", "User\uff1aMine.\n"),
        (
            "## \U0001f464 User\n\nMine.\n\n## \U0001f916 Assistant\n\nSure\n",
            "## \U0001f464 User\n\nMine.\n\n",
        ),
        ("*You:* Mine.\n\n*ChatGPT:* Sure\n", "*You:* Mine.\n\n"),
        (
            "- **Me**: Mine.\n- **ChatGPT**: Sure\n- **Me**: Mine.\n",
            "- **Me**: Mine.\n- **Me**: Mine.\n",
        ),
        (
            "### role::user\nMine.\n### role::assistant<span> (x)</span>\nSure\n",
            "### role::user\nMine.\n",
        ),
        ("## Me\nMine.\n## Claude Opus 4.5\nSure\n", "## Me\nMine.\n"),
        ("## AI Summary\nSure\n\n## Evening\nMine.\n", "## Evening\nMine.\n"),
        ("## ChatGPT's answer\nSure\n\n## Evening\nMine.\n", "## Evening\nMine.\n"),
        ("## Summary (AI)\nSure\n\n## Evening\nMine.\n", "## Evening\nMine.\n"),
        ("## Antwort von ChatGPT\nJa\n\n## Abend\nMine.\n", "## Abend\nMine.\n"),
        (
            "https://chatgpt.com/c/1\n\n## Prompt:\nMine.\n\n## Response:\nSure\n",
            "\n\n## Prompt:\nMine.\n\n",
        ),
    ],
)
def test_answers_of_an_assistant_are_not_the_authors(text: str, left: str) -> None:
    assert prose(text) == left
    covered(note_of(text))
    assert all(kind in ("quote", "date_heading", "url", "html") for kind, _ in kinds(text))


@pytest.mark.parametrize(
    "text",
    [
        "AI is a fad, he said.\n",
        "AI: a fad or the future?\n",
        "Claude said:\nNo.\n",
        "## Claude\n\nWe met at the pier.\n",
        "## AI and I\n\nMine.\n",
        "**Gemini:** my sign.\n",
        "**AI**\n\nIt took my job.\n",
        "I: one. You: two.\n",
        "ChatGPT said it would rain.\n",
        "Me: why?\n",
        "## Prompt\nWhat I saw.\n\n## Response\nA heron.\n",
        "## AI ethics\n\nMine.\n",
        "## Question\nWhy?\n## Answer\nBecause.\n",
        "- AI: the fad.\n- VR: the other.\n",
    ],
)
def test_talk_of_assistants_and_of_people_stays_prose(text: str) -> None:
    assert prose(text) == text


@pytest.mark.parametrize(
    "path",
    [
        "copilot-conversations/Chat@20240101.md",
        "copilot/copilot-conversations/x.md",
        "smart-chats/x.md",
    ],
)
def test_folders_of_chats_are_left_out(tmp_path: Path, path: str) -> None:
    assert code(tmp_path, path) == "chat"
    assert code(tmp_path, path, rules=Rules(clippings=True)) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nepoch: 1700000000000\nmodelKey: gpt-4\n---\n" + MINE, "chat"),
        ("---\ntags: [copilot-conversation]\n---\n" + MINE, "chat"),
        ("---\ndoc_type: weread-highlights-reviews\nbookId: '1'\n---\n" + MINE, "excerpt"),
        ("---\nisbn: 9780140449136\n---\n" + MINE, "excerpt"),
        ("---\nbookId: 12\n---\n" + MINE, "excerpt"),
        ("---\nISBN-13: 9780140449136\n---\n" + MINE, "excerpt"),
        ("---\nkindle-sync:\n  bookId: '41240'\n  title: X\n---\n" + MINE, "excerpt"),
        ("# X\n\n![rw-book-cover](https://x.org/a.jpg)\n\n" + MINE, "excerpt"),
        ("# X\n* [Kindle link](kindle://book?action=open&asin=B0)\n\n" + MINE, "excerpt"),
        ("---\nisbn:\ndoc_type: ''\n---\n" + MINE, ""),
        ("---\nauthor: Ann\n---\n" + MINE, ""),
        ("---\ntitle: Fwd: it\nsource: https://a.org\n---\n" + MINE, "clipping"),
        ("+++\nsource = 'https://a.org'\n+++\n" + MINE, "clipping"),
        ("\n---\nvaultgpt: false\n---\n" + MINE, "vaultgpt: false"),
        ("---\ntags: [private]\ntags: [journal]\n---\n" + MINE, "tag"),
        ("x\u00a0#private\n" + MINE, "tag"),
        ("#diary#private\n" + MINE, "tag"),
        ("(#private) and $a #private b$\n" + MINE, ""),
    ],
)
def test_whose_text_a_note_is(tmp_path: Path, text: str, expected: str) -> None:
    assert code(tmp_path, "Walk.md", text) == expected


@pytest.mark.parametrize(
    "name",
    [
        "a (SFConflict ann@example.org 2015-03-07-11-30-28).md",
        "a_DiskStation_Nov-26-1530-2021_Conflict.md",
        "a_DiskStation_Nov-26-1530-2021_Conflict(1).md",
        "a_DiskStation_Nov-26-1530-2021_CaseConflict.md",
        "a.Conflict.md",
        "a.Conflict(2).md",
        "a_conflict-20210314-123456.md",
        "a (Conflicted copy phone 202103141230).md",
        "a [conflicted].md",
        "conflict-files-obsidian-git.md",
        "a.conflict1.md",
        "a (In Konflikt stehende Kopie von Ann 2021-03-14).md",
        "a (Copie en conflit de Ann 2021-03-14).md",
        "a (copia en conflicto de Ann 2021-03-14).md",
        "a (Ann \u7684\u51b2\u7a81\u526f\u672c 2021-03-14).md",
        "a (Ann \u306e\u7af6\u5408\u30b3\u30d4\u30fc 2021-03-14).md",
    ],
)
def test_copies_that_a_conflict_left_are_out(tmp_path: Path, name: str) -> None:
    assert code(tmp_path, f"Journal/{name}") == "conflict copy"


@pytest.mark.parametrize(
    "name",
    [
        "Conflict.md",
        "The conflict of 1914.md",
        "War (conflict of 1914).md",
        "My_Conflict_with_Ann.md",
    ],
)
def test_a_note_about_a_conflict_is_a_note(tmp_path: Path, name: str) -> None:
    assert code(tmp_path, f"Journal/{name}") == ""


def test_a_conflict_in_a_note_is_a_problem() -> None:
    text = "<<<<<<< HEAD\nMine.\n=======\nTheirs.\n>>>>>>> main\n"
    assert note_of(text).problem == "it holds a conflict of git that is not resolved"


LONG = "The river was low and the boats lay on their sides in the mud. " * 18  # 252 words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LONG + "<%+ tp.date.now() %>\n", ""),
        (LONG + "Dear {{name}}, come.\n", ""),
        (LONG + "<% tp.date.now() %>\n", ""),
        ("# <% tp.file.title %>\n\nWhat went well today? What did not?\n", "template"),
        ("# {{title}}\n\n{{date}}\n\n" + MINE * 5, "template"),
        ("<%+ tp.date.now() %>\n" + MINE, ""),
    ],
)
def test_one_placeholder_in_a_page_of_prose_makes_no_template(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert code(tmp_path, "Walk.md", text) == expected


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A\n%%\nhidden\n\nhidden too\n", "A\n"),
        ("A\n%% hidden\n", "A\n"),
        ("It was 10 %% off\n\nB\n", "It was 10 %% off\n\nB\n"),
        ("A\n%% x %%\nB\n", "A\n\nB\n"),
        ("A\n%%\nx\n%%\nB\n", "A\n\nB\n"),
    ],
)
def test_a_comment_that_nothing_closes_hides_the_rest_as_in_obsidian(text: str, left: str) -> None:
    assert prose(text) == left


def test_setext_headings_are_headings() -> None:
    note = note_of("The ferry\n=========\n\nIt came.\n", "x.md")
    assert note.entries[0].title == "The ferry" and note.entries[0].prose == "It came.\n"
    days = note_of("2021-07-01\n----------\nA\n\n2021-07-02\n----------\nB\n")
    assert [entry.date for entry in days.entries] == ["2021-07-01", "2021-07-02"]
    assert [entry.prose for entry in days.entries] == ["A\n\n", "B\n"]
    assert len(note_of("- a\n---\n\n- b\n---\n").entries) == 1


def test_every_reason_is_told_by_the_rules_of_a_vault(tmp_path: Path) -> None:
    write(tmp_path, ".obsidian/app.json", json.dumps({}))
    judged = RuleSet.load(tmp_path, Rules()).judge(note_of("---\nisbn: 1\n---\n" + MINE))
    assert judged.why == "Its front matter has `isbn`: excerpts of somebody else's text."
