"""What `init` says of each kind of vault, and how long it says training takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from vaultgpt.bases import estimate as timing
from vaultgpt.bases.catalogue import ADVISED
from vaultgpt.bases.estimate import _Machine, estimate, human
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import resolve
from vaultgpt.errors import VaultError
from vaultgpt.options import with_option
from vaultgpt.settings import Settings
from vaultgpt.state import real_vault
from vaultgpt.tasks import init
from vaultgpt.tasks.init import findings
from vaultgpt.vault.census import Census, census
from vaultgpt.vault.reconcile import read_vault

GERMAN = (
    "Gestern bin ich lange am Fluss entlang gegangen und habe an meine Großmutter gedacht, "
    "die immer sagte, dass man das Wetter nicht ändern kann, aber die Jacke. "
)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that the figures were measured on."""
    monkeypatch.setattr(timing, "usable_cores", lambda threads=0: threads or 2)
    monkeypatch.setattr(timing, "guess_device", lambda setting="auto": "cpu")
    monkeypatch.setattr(timing, "_multiplies_bf16", lambda: False)
    monkeypatch.setattr(init, "this_machine", lambda: _Machine(memory_gb=16.8, disk_gb=100.0))


@pytest.fixture
def pebble() -> Base:
    """The embedded base, with the size that the figures below were measured for."""
    return replace(resolve("pebble"), parameters=6_917_376, vocab=8192)


def said_of(vault: Path, base: Base, settings: Settings | None = None) -> str:
    """All findings of a folder, one a line; each is a plain sentence."""
    settings = settings or Settings()
    found = census(read_vault(vault, settings.rules, {}).read)
    lines = findings(found, vault, base, settings)
    assert lines and all(line.strip() == line and line.endswith(".") for line in lines)
    assert all("\n" not in line and len(line) < 420 for line in lines)
    return "\n".join(lines)


def counted(words: int, language: str | None = "en", **more: Any) -> Census:
    """A census without a vault."""
    found: Census = {
        "notes": 100,
        "used": 100,
        "left_out": {},
        "words": words,
        "tags": {},
        "years": {},
        "folders": {"": words},
        "language": language,
        "problems": 0,
        "foreign": {},
    }
    found.update(more)  # type: ignore[typeddict-item]
    return found


def test_a_plain_vault_is_counted_and_told_what_comes_next(vault: Path, pebble: Base) -> None:
    text = said_of(vault, pebble)
    assert "I found 24 notes and use all of them: 3,000 words of your own prose, from 2019" in text
    assert "Words by folder: Dream (1,000), Journal (1,000), Poetry (1,000)." in text
    assert all(f"#{tag} (8)" in text for tag in ("journal", "dream", "poetry"))
    assert "pebble, is a demonstration" in text and "`vaultgpt base smollm2` (Apache 2.0" in text
    assert "Next: `vaultgpt train` learns the whole vault in under a minute" in text
    assert "every night at 03:00" in text and "enough to begin and not much" in text


def test_300_words_are_told_how_many_are_missing(tmp_path: Path, pebble: Base) -> None:
    tiny.tiny_vault(tmp_path / "v", notes=3, words=300)
    text = said_of(tmp_path / "v", pebble)
    assert "1,700 are missing, about 7 pages" in text and "nothing is trained" in text
    assert "Next: `vaultgpt train`" not in text
    assert "1 are missing, about a page" in "\n".join(
        findings(counted(1999), tmp_path, pebble, Settings())
    )


def test_a_german_vault_is_advised_a_base_that_reads_german(tmp_path: Path, pebble: Base) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i}.md").write_text(GERMAN * 5, encoding="utf-8")
    text = said_of(folder, pebble)
    assert "Your notes are in German, and pebble has read no German" in text
    assert "`vaultgpt base qwen3-0.6b` (Apache 2.0, 1.19 GB to fetch, about" in text
    gpt2 = replace(pebble, name="openai-community/gpt2@main")
    assert "openai-community/gpt2@main has read no German" in said_of(folder, gpt2)
    qwen = replace(pebble, name="Qwen/Qwen2.5-0.5B")
    assert "German" not in said_of(folder, qwen)
    german_gpt2 = replace(pebble, name="someone/german-gpt2")
    assert "has read no German" not in said_of(folder, german_gpt2)


def test_a_vault_of_clippings_has_no_voice_to_learn(tmp_path: Path, pebble: Base) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for i in range(5):
        front = f"---\nsource: https://example.org/{i}\n---\n"
        (folder / f"{i}.md").write_text(front + tiny.prose(200, i), encoding="utf-8")
    text = said_of(folder, pebble)
    assert "These are clippings: somebody else's words" in text and "5 clippings" in text
    assert "rules.clippings true" in text and "Next:" not in text
    (folder / "mine.md").write_text(tiny.prose(2500), encoding="utf-8")
    assert "Most of this vault is clipped from elsewhere" in said_of(folder, pebble)


def test_an_empty_folder_and_one_without_notes_say_so(tmp_path: Path, pebble: Base) -> None:
    assert said_of(tmp_path, pebble).startswith("This folder is empty.")
    (tmp_path / ".obsidian").mkdir()
    (tmp_path / ".obsidian" / "app.json").write_text("{}")
    assert said_of(tmp_path, pebble).startswith("This folder is empty.")
    (tmp_path / "Diary.docx").write_bytes(b"PK")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "Letters.docx").write_bytes(b"PK")
    text = said_of(tmp_path, pebble)
    assert "no Markdown note (.md) here, only 2 other files (.docx)" in text


def test_a_file_and_a_missing_folder_are_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("x")
    with pytest.raises(VaultError) as error:
        real_vault(tmp_path / "note.md")
    assert "is a file, not a folder" in str(error.value)
    with pytest.raises(VaultError) as error:
        real_vault(tmp_path / "nothing")
    assert "There is no folder" in str(error.value)


def test_blank_notes_and_excluded_ones_have_their_own_sentences(
    tmp_path: Path, pebble: Base
) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.md").write_text("")
    assert "hardly any prose in these notes yet" in said_of(folder, pebble)
    for i in range(3):
        (folder / f"{i}.md").write_text(f"---\ntags: private\n---\n{tiny.prose(100)}")
    text = said_of(folder, pebble)
    assert "Every note is left out by a rule" in text and "3 tagged private" in text


def test_what_was_left_out_and_what_was_unreadable_are_named(pebble: Base, tmp_path: Path) -> None:
    reasons = {"template": 52, "empty": 30, "clipping": 1, "few words": 6, "symlink": 2}
    found = counted(5000, notes=191, left_out=reasons, problems=3)
    text = "\n".join(findings(found, tmp_path, pebble, Settings()))
    assert "Left out: 52 templates, 30 without prose, 6 with hardly a word, 2 behind" in text
    assert "1 for other reasons" in text
    assert "3 notes have something that could not be read" in text
    one = counted(5000, problems=1)
    assert "One note has something" in "\n".join(findings(one, tmp_path, pebble, Settings()))


def test_a_large_vault_is_told_of_the_sample_and_the_time(pebble: Base, tmp_path: Path) -> None:
    text = "\n".join(findings(counted(262_000), tmp_path, pebble, Settings()))
    assert "a first voice from a sample in about 3 minutes" in text
    assert "the whole vault then takes up to 4 minutes" in text
    text = "\n".join(findings(counted(5_000_000), tmp_path, pebble, Settings()))
    assert "very large vault" in text and "overnight" in text
    qwen = replace(pebble, name="Qwen/Qwen2.5-0.5B", parameters=494_032_768, vocab=151_936)
    text = "\n".join(findings(counted(400_000), tmp_path, qwen, Settings()))
    assert "Qwen/Qwen2.5-0.5B is large for this machine's processor" in text
    assert "`vaultgpt base smollm2`" in text


def test_an_unknown_language_and_a_chat_model_are_said(pebble: Base, tmp_path: Path) -> None:
    text = "\n".join(findings(counted(9000, None), tmp_path, pebble, Settings()))
    assert "can't tell the language" in text
    chat = replace(pebble, name="HuggingFaceTB/SmolLM2-135M-Instruct")
    text = "\n".join(findings(counted(9000), tmp_path, chat, Settings()))
    assert "tuned to answer questions" in text


def test_the_schedule_in_the_last_sentence_is_the_vaults_own(pebble: Base, tmp_path: Path) -> None:
    off = with_option(Settings(), "schedule.nightly", "off")
    paused = with_option(Settings(), "training.pause", True)
    silent = with_option(off, "schedule.trigger_words", 0)
    for settings, words in (
        (off, "whenever 1,500 new words"),
        (paused, "training.pause is true"),
        (silent, "when you say `vaultgpt train`"),
    ):
        assert words in findings(counted(9000), tmp_path, pebble, settings)[-1]


def test_a_gpu_is_promised_no_figure(
    pebble: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "guess_device", lambda setting="auto": "cuda")
    text = "\n".join(findings(counted(262_000), tmp_path, pebble, Settings()))
    assert "on your GPU" in text and "not measured" in text and "about 6" not in text


def test_the_estimate_agrees_with_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pebble = estimate(1000, 6_917_376, cores=2, device="cpu")
    assert pebble.tokens_per_s == pytest.approx(3500, rel=0.02)
    gpt2 = estimate(1000, 124_439_808, vocab=50_257, cores=2, device="cpu")
    assert 150 < gpt2.tokens_per_s < 260 and gpt2.measured
    small, large = (estimate(w, 6_917_376, cores=2, device="cpu") for w in (3000, 3_000_000))
    assert small.in_one and not large.in_one and large.first_s == 180.0
    assert large.full_s < estimate(3_000_000, 6_917_376, cores=2, device="cpu", foreign=True).full_s
    assert large.full_s > estimate(3_000_000, 6_917_376, cores=8, device="cpu").full_s
    monkeypatch.setattr(timing, "_multiplies_bf16", lambda: True)
    smol = estimate(1000, 134_515_008, vocab=49_152, cores=2, device="cpu")
    assert smol.tokens_per_s == pytest.approx(350, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "under a minute"),
        (58, "about a minute"),
        (170, "about 3 minutes"),
        (3500, "about an hour"),
        (7300, "about 2 hours"),
        (40 * 3600, "about 2 days"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert human(seconds) == words


@pytest.mark.parametrize(
    ("language", "machine", "short"),
    [
        ("en", _Machine(8.0, 50.0), "smollm2"),
        ("de", _Machine(8.0, 50.0), "qwen3-0.6b"),
        ("de", _Machine(4.8, 50.0), "granite4-350m"),
        ("fi", _Machine(4.8, 50.0), None),
        ("fi", _Machine(4.8, 50.0, card_gb=12.0), "qwen3-0.6b"),
        (None, _Machine(8.0, 50.0), "qwen3-0.6b"),
        ("en", _Machine(8.0, 0.5), None),
        ("en", _Machine(2.0, 50.0), None),
    ],
)
def test_the_offered_base_reads_the_language_and_fits_the_machine(
    language: str | None, machine: _Machine, short: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "this_machine", lambda: machine)
    base = resolve("pebble")
    found = init.offered(counted(9000, language), base)
    assert (found.short if found else None) == short
    assert init.offered(counted(500, language), base) is None  # nothing is learned yet
    assert init.offered(counted(9000, language), replace(base, name="org/own")) is None


def test_the_table_in_the_documentation_is_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_multiplies_bf16", lambda: True)
    text = (Path(__file__).parents[2] / "docs" / "bases.md").read_text(encoding="utf-8")
    for known in ADVISED:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{known.name}`"))
        for fact in (f"{round(known.parameters / 1e6)} M", f"{known.gigabytes} GB", known.licence):
            assert fact in row
        for words, cell in zip((30_000, 250_000), row.split("|")[-3:-1], strict=True):
            time = estimate(words, known.parameters, vocab=50_000, cores=2, device="cpu")
            said = human(time.full_s).removeprefix("about ")
            assert cell.strip() == said.replace("an hour", "1 hour")
