"""What is said of a language that the base has not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from vaultgpt.daemon.threads import LedgerThread
from vaultgpt.daemon.vault_mirror import VaultMirror
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.rows import GenerationRow
from vaultgpt.settings import Settings, load_settings, save_option
from vaultgpt.state import create_state
from vaultgpt.tasks.language import unread, unread_text
from vaultgpt.tasks.scan import scanned
from vaultgpt.tasks.status import STATUS, Figures, figures, told_problems
from vaultgpt.tasks.vault_service import Desk, Here
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.note import read_text

EXAMPLE = Path(__file__).parents[2] / "examples" / "vault"
PEBBLE = Settings().base
GERMAN = (
    "Gestern Abend bin ich noch einmal am Fluss entlanggegangen, obwohl es schon dunkel war. Die "
    "Laternen standen im Nebel, und ich hörte nur meine eigenen Schritte. Ich habe an meine Mutter "
    "gedacht und an den Garten, in dem sie jeden Sommer Bohnen zog."
)
FRENCH = (
    "Hier soir je suis encore allé marcher le long du fleuve, bien qu'il fît déjà nuit. Les "
    "lampadaires se perdaient dans la brume et je n'entendais que mes pas. J'ai pensé à ma mère, "
    "et au jardin où elle semait des haricots chaque été."
)
SPANISH = (
    "Anoche volví a caminar junto al río, aunque ya estaba oscuro. Las farolas se perdían en la "
    "niebla y solo oía mis propios pasos. Pensé en mi madre y en el huerto donde cada verano "
    "sembraba judías."
)
RUSSIAN = (
    "Вчера вечером я снова гулял вдоль реки, хотя было уже темно. Фонари терялись в тумане, и я "
    "слышал только свои шаги. Я думал о матери и о саде, где она каждое лето сажала бобы."
)


@pytest.mark.parametrize(
    ("text", "language"),
    [(GERMAN, "German"), (FRENCH, "French"), (SPANISH, "Spanish"), (RUSSIAN, "Russian")],
)
def test_a_paragraph_in_another_language_is_told(text: str, language: str) -> None:
    for written in (text, text.upper(), f"I wrote this on the train.\n\n{text}"):
        said = unread_text(PEBBLE, written)
        assert said is not None and f"This looks like {language}, and pebble" in said
        assert "only English" in said and "`vaultgpt base`" in said
    assert unread_text("HuggingFaceTB/SmolLM2-135M", text) is not None
    assert unread_text("Qwen/Qwen3-0.6B-Base", text) is None
    assert unread_text("somebody/some-model", text) is None, "nobody knows what it has read"


def test_no_entry_of_an_english_vault_is_taken_for_another_language() -> None:
    entries = [
        entry
        for path in sorted(EXAMPLE.rglob("*.md"))
        for entry in read_text(path.name, path.read_text("utf-8"), DailyFormat()).entries
    ]
    assert len(entries) > 100
    assert not [entry.path for entry in entries if unread_text(PEBBLE, entry.prose)]


def test_too_little_text_a_quotation_and_names_say_nothing() -> None:
    assert unread_text(PEBBLE, "") is None
    assert unread_text(PEBBLE, "Gestern war ich am Fluss.") is None
    mixed = "She said “Ich bin ein Berliner” and we laughed, since that is what he had said then. "
    assert unread_text(PEBBLE, mixed * 3) is None
    assert unread("pebble", None) is None


@pytest.mark.parametrize(
    "text",
    [
        " ".join(
            f"https://www.{name}.com/{name}"
            for name in ("ash", "birch", "cedar", "elm", "fir", "oak")
        ),
        "import os\nimport sys\nfrom os import path\nfor i in range(10):\n    os.mkdir(i)\n"
        "    os.chdir(i)\nprint(os.getcwd(), i)",
        "San Juan de los Lagos, Santa Maria del Mar, Playa del Carmen, Puerto de las Nieves, Las "
        "Palmas, Los Angeles, Castillo del Rey, Sierra de los Filabres",
        "Anna Schmidt, Peter von der Heide, Hans auf dem Berg, Otto von Bismarck, Ludwig van "
        "Beethoven, Karl von der Tann, Max Planck, Ida von Stein",
        "Charles le Brun, Clos de la Roche, les Amoureuses, Domaine du Tertre, le Montrachet, les "
        "Charmes, Côte du Rhône, Madame de la Tour",
    ],
)
def test_addresses_code_and_names_are_in_no_language(text: str) -> None:
    assert unread_text(PEBBLE, text) is None


@pytest.mark.parametrize(("text", "told"), [(GERMAN, True), (None, False)])
def test_status_says_it_of_a_whole_vault_and_opens_no_note_for_it(
    tmp_path: Path, text: str | None, told: bool
) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for n, path in enumerate(sorted((EXAMPLE / "Journal").rglob("*.md"))[:12]):
        (folder / f"{n}.md").write_text(text or path.read_text("utf-8"), "utf-8")
    state = create_state(folder)
    service = Here(state)
    assert not any("This looks like" in said for said in service.ask(STATUS, None)["problems"])
    with Ledger.open(state) as ledger:
        scanned(Desk(state, load_settings(state.config), ledger, 1e9), lambda _event: None)
    status = service.ask(STATUS, None)
    assert status["language"] == ("de" if told else "en")
    assert any("This looks like German" in said for said in status["problems"]) is told


OTHER = "Qwen/Qwen3-0.6B-Base"  # reads German


async def test_it_goes_by_the_base_that_writes_until_the_chosen_one_has_learned(
    tmp_path: Path,
) -> None:
    """1. A voice of pebble writes. 2. `vaultgpt base X` chooses a base that reads German.
    3. A voice of X is active.

    Result: what is said of a German text goes by pebble until 3, and says that X is to learn.
    """
    (tmp_path / "v").mkdir()
    state = create_state(tmp_path / "v")
    chosen = [PEBBLE]

    def follow(name: str, base: str) -> None:
        with Ledger.open(state) as ledger:
            ends = (1.0, True, "kept", 0, True, 100)
            row = GenerationRow(name, int(name[1:]), "fresh", None, base, {"f": base}, *ends)
            ledger.generations.add(row, [])
            ledger.generations.activate(name, 1.0)

    reader = LedgerThread(state, "ledger-read")
    mirror = VaultMirror(
        state,
        lambda: replace(Settings(), base=chosen[0]),
        reader,
        reader,
        lambda _active: None,
        lambda: 1.0,
    )
    assert await mirror.base() == PEBBLE
    follow("g000001", PEBBLE)
    chosen[0] = OTHER
    save_option(state.config, "base", OTHER)
    assert await mirror.base() == PEBBLE
    said = unread_text(PEBBLE, GERMAN, OTHER)
    assert said is not None and "pebble" in said.partition(".")[0]
    assert "Qwen3" in said and "`vaultgpt train`" in said and "`vaultgpt base`" not in said
    with Ledger.open(state) as ledger:
        told = {**figures(Desk(state, load_settings(state.config), ledger, 1e9)), "language": "de"}
    assert (told["base"], told["writes_on"]) == (OTHER, PEBBLE)
    assert told_problems(cast(Figures, told))["language"] == said
    follow("g000002", OTHER)
    await mirror.follow()
    assert await mirror.base() == OTHER and unread_text(OTHER, GERMAN, OTHER) is None
    reader.close()
