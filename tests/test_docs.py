"""The documents name what is there: files, folders, commands, pages and headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vaultgpt.cli import app
from vaultgpt.corpus.words import LEAST_WORDS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
WHERE = (ROOT, ROOT / "vaultgpt", ROOT / "docs", ROOT / "tests")
SUFFIXES = ("py", "md", "yml", "toml", "ts", "json")
# What users have, not the repository; and what stands for any of a kind.
THEIRS = re.compile(
    r"NAME|^/|^(memory|runtime|vaults|lines|config|vocab|tokenizer)\."
    r"|^(?:vault\.json|json\.py|models/|engine/)$"
)
COMMANDS = {info.name for info in app.registered_commands}
COMMANDS |= {group.name for group in app.registered_groups}


def named_files(page: Path) -> set[str]:
    """What stands in backticks and looks like a file or folder of the repository."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = re.findall(r"`([\w./-]+)`", text)
    return {
        name
        for name in found
        if (name.rsplit(".", 1)[-1] in SUFFIXES or name.endswith("/")) and not THEIRS.search(name)
    }


def exists(name: str) -> bool:
    if any((place / name).exists() for place in WHERE):
        return True
    return "/" not in name and any(
        found for place in ("vaultgpt", "tests") for found in (ROOT / place).rglob(name)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    missing = {file for file in named_files(page) if not exists(file)}
    assert not missing, f"{page.name} names {sorted(missing)}"


def test_a_benchmark_that_a_page_has_one_run_is_there() -> None:
    for page in PAGES:
        for name in re.findall(r"python -m (benchmarks[\w.]*\w)", page.read_text(encoding="utf-8")):
            place = ROOT / name.replace(".", "/")
            assert place.with_suffix(".py").exists(), f"{page.name}: {name}"


def test_each_of_the_two_flows_is_eight_hops_in_files() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for title in ("From a saved note to a trained voice", "From a hotkey to text"):
        part = text.split(f"## {title}\n")[1].split("\n## ")[0]
        hops = re.split(r"^\d\. ", part, flags=re.MULTILINE)[1:]
        assert len(hops) == 8
        for hop in hops:
            assert re.search(r"`\w+/\w+\.py`", hop), hop


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        path, _, heading = target.partition("#")
        aim = page if not path else page.parent / path
        assert aim.exists(), f"{page.name}: {target}"
        if heading:
            said = re.findall(r"^#+ (.+)$", aim.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in said}
            assert heading in slugs, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    said = re.findall(r"(?:^    |`)(?:.venv/bin/)?vaultgpt ([a-z]+)\b(?! \d)", text, re.MULTILINE)
    assert set(said) <= COMMANDS, f"{page.name}: {set(said) - COMMANDS}"


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index("make demo") < text.index("make test") < 400
    assert len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split()) < 800


def test_the_readme_says_what_the_demo_and_a_first_voice_take_as_the_commands_do() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{LEAST_WORDS:,} words" in readme.partition("## Install")[2].partition("## Your")[0]
    assert "It takes a minute with the tiny model, then at most four with" in readme
    said = CliRunner().invoke(app, ["demo", "--help"], env={"COLUMNS": "200"}).output
    assert "in about a minute" in said and "in four minutes more" in said
