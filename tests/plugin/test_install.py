"""Putting the built plugin into a vault: what is written, merged, and never touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaultgpt.errors import NotFound, VaultError
from vaultgpt.tasks.plugin import _BUILT, _FILES, install_plugin

PACKAGE = Path(__file__).parents[2] / "obsidian-plugin"


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    (tmp_path / ".obsidian").mkdir()
    return tmp_path


def listed(vault: Path) -> object:
    return json.loads((vault / ".obsidian" / "community-plugins.json").read_text("utf-8"))


def test_the_files_in_the_vault_are_those_of_the_package(vault: Path) -> None:
    answer = install_plugin(vault)
    folder = vault / ".obsidian" / "plugins" / "vaultgpt"
    assert answer["folder"] == str(folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(_FILES)
    for name in _FILES:
        assert (folder / name).read_bytes() == (_BUILT / name).read_bytes()


def test_the_package_carries_the_manifest_and_styles_of_the_sources() -> None:
    for name in ("manifest.json", "styles.css"):
        assert (_BUILT / name).read_bytes() == (PACKAGE / name).read_bytes()
    assert (_BUILT / "main.js").stat().st_size < 90_000


def test_other_plugins_stay_listed_and_a_second_install_adds_nothing(vault: Path) -> None:
    (vault / ".obsidian" / "community-plugins.json").write_text('["dataview"]', "utf-8")
    assert "turn community plugins on" in install_plugin(vault)["sentence"]
    assert listed(vault) == ["dataview", "vaultgpt"]
    assert install_plugin(vault)["first"] is False
    assert listed(vault) == ["dataview", "vaultgpt"]


def test_the_plugins_own_data_survives_an_update(vault: Path) -> None:
    install_plugin(vault)
    data = vault / ".obsidian" / "plugins" / "vaultgpt" / "data.json"
    data.write_text('{"length": "page"}', "utf-8")
    install_plugin(vault)
    assert data.read_text("utf-8") == '{"length": "page"}'


def test_a_folder_without_obsidian_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        install_plugin(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plugin_list_that_is_damaged_is_left_untouched(vault: Path) -> None:
    path = vault / ".obsidian" / "community-plugins.json"
    path.write_text("{", "utf-8")
    with pytest.raises(VaultError):
        install_plugin(vault)
    assert path.read_text("utf-8") == "{"
    assert not (vault / ".obsidian" / "plugins").exists()
