"""The house keeps its floors: imports point down only, and torch stays where it is allowed."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parent.parent / "vaultgpt"

# A module may import modules of lower floors, and of its own floor where that is its own package.
FLOORS = [
    {"errors"},
    {"files", "options", "arithmetic", "children"},
    {"wire"},
    {"settings", "state"},
    {"corpus"},
    {"vault"},
    {"importing"},
    {"generation_folders"},
    {"ledger"},
    {"bases"},
    {"training", "mirror"},
    {"workers"},
    {"report"},
    {"rounds"},
    {"tasks"},
    {"server"},
    {"daemon"},
    {"commands"},
    {"cli", "__main__"},
]
FLOOR_OF = {name: height for height, names in enumerate(FLOORS) for name in names}
TORCH = {"torch", "transformers", "peft"}
# Below these packages torch may be imported; nowhere else, nor in the named files.
TORCH_PACKAGES = {"training", "mirror", "arithmetic.py"}
TORCH_FREE = {
    "training/plan.py",
    "training/selection.py",
    "training/bootstrap.py",
    "training/gate.py",
    "training/round.py",
    "training/sealing.py",
    "training/__init__.py",
    "mirror/__init__.py",
}
# What a public field holds, or a public function returns, and nobody else names.
FIELD_TYPES = {"vaultgpt.vault.entry.Span"}
BOUNDS = {
    "rooms": 25,
    "files": 229,
    "lines_a_file": 201,
    "public_names": 1073,
    "names_a_thousand_lines": 23.5,
    "shared_names": 502,
    "arrows": 148,
    "loose_dicts": 2,
}
LEAF_DATA = {"pebble", "plugin_build", "_examples"}


def modules() -> list[Path]:
    return [
        p for p in sorted(PACKAGE.rglob("*.py")) if p.relative_to(PACKAGE).parts[0] not in LEAF_DATA
    ]


def floor_name(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Every module that the file imports, at top level or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    name = floor_name(path)
    if name == "__init__":
        return
    assert name in FLOOR_OF, f"{name} has no floor: give it one in FLOORS and in the architecture"
    for module in imported(path):
        parts = module.split(".")
        if parts[0] != "vaultgpt" or len(parts) < 2 or parts[1] not in FLOOR_OF:
            continue
        other = parts[1]
        same = other == name or FLOOR_OF[other] < FLOOR_OF[name]
        siblings = FLOOR_OF[other] == FLOOR_OF[name] and name not in {"training", "mirror"}
        assert same or siblings, (
            f"{path.name} ({name}) imports {module}, which is above or beside it"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_torch_is_imported_only_by_training_and_the_mirror(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    allowed = relative.split("/")[0] in TORCH_PACKAGES and relative not in TORCH_FREE
    if not allowed:
        found = {m.split(".")[0] for m in imported(path)} & TORCH
        assert not found, f"{relative} imports {found}"


def test_one_file_knows_how_an_adapter_is_written() -> None:
    """Its tensors' names and its file's: whoever else wants it asks `PeftAdapter.read`."""
    spelt = re.compile(r"lora_[AB(]|base_model\\?\.model|adapter_model")
    knowing = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        if isinstance(node.value, str) and spelt.search(node.value)
    }
    assert knowing == {"generation_folders.py"}


def test_no_file_outgrows_a_few_screens() -> None:
    long = {
        p.relative_to(PACKAGE).as_posix(): n
        for p in modules()
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, f"split these: {long}"


def test_no_function_outgrows_two_screens() -> None:
    long = {
        f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno} {node.name}": n
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (n := (node.end_lineno or 0) - node.lineno + 1) > 80
    }
    assert not long, f"part these: {long}"


def test_every_module_says_what_it_is_in_at_most_six_lines() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            continue
        doc = ast.get_docstring(ast.parse(text))
        assert doc, f"{path} has no module docstring"
        assert len(doc.splitlines()) <= 6, f"{path}: the module docstring is too long"


def test_no_test_imports_a_benchmark() -> None:
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        assert not [m for m in imported(path) if m.split(".")[0] == "benchmarks"], path


def test_no_two_classes_share_a_name_nor_with_a_public_alias() -> None:
    """Underscores and case don't count."""
    found = Counter[str]()
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        aliases = {
            n for n in _house().public_names(tree) if re.match("[A-Z]", n) and not n.isupper()
        }
        found.update(name.replace("_", "").lower() for name in classes | aliases)
    assert not {name for name, n in found.items() if n > 1}, "name each after what it is"


def test_no_two_files_share_a_name_but_a_command_and_its_task() -> None:
    rooms: dict[str, list[str]] = {}
    for path in modules():
        if path.name != "__init__.py":
            rooms.setdefault(path.name, []).append(path.parent.relative_to(PACKAGE).as_posix())
    shared = {name: of for name, of in rooms.items() if len(of) > 1}
    assert {tuple(of) for of in shared.values()} == {("commands", "tasks")}, shared


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_a_page_about_the_house_names_files_that_stand(page: str) -> None:
    text = (PACKAGE.parent / page).read_text(encoding="utf-8")
    names = {path.name for path in [*PACKAGE.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]}
    for named in set(re.findall(r"`([\w/]+\.py)`", text)):
        place = Path(named.removeprefix("vaultgpt/"))
        if place.stem == "NAME":
            continue
        alone = len(place.parts) == 1
        assert place.name in names, f"{page} names {named}"
        assert alone or (PACKAGE / place).is_file() or (PACKAGE.parent / place).is_file(), named


def test_a_public_name_is_used_outside_its_module() -> None:
    """In the package, a test, a benchmark or a script; the command line finds commands itself."""
    texts = {path: path.read_text(encoding="utf-8") for path in _python_files()}
    imports = {path: imported(path) for path in texts}
    alone: list[str] = []
    for path in modules():
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        module = module.removesuffix(".__init__")
        commands = path.parent.name == "commands"
        for name in _house().public_names(ast.parse(texts[path])):
            word = re.compile(rf"\b{name}\b")
            used = any(
                f"{module}.{name}" in imports[other]
                or ((module in imports[other] or module in text) and word.search(text))
                for other, text in texts.items()
                if other not in (path, Path(__file__))
            )
            if not (used or commands or name == "main"):
                alone.append(f"{module}.{name}")
    assert set(alone) <= FIELD_TYPES, f"begin with an underscore: {set(alone) - FIELD_TYPES}"


def test_the_house_stays_within_its_bounds() -> None:
    """As docs/architecture.md has them."""
    found = _house().House(PACKAGE.parent).count()
    over = {key: found[key] for key, most in BOUNDS.items() if found[key] > most}
    assert not over, f"fold, hide or split: {over} of {BOUNDS}"
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for key, most in BOUNDS.items():
        row = next(
            line for line in page.splitlines() if line.startswith(f"| {_house().LABELS[key]} |")
        )
        assert row.endswith(f"| {most:,} at most |"), row


@cache
def _house() -> ModuleType:
    """scripts/house, which counts."""
    loader = SourceFileLoader("house", str(PACKAGE.parent / "scripts" / "house"))
    made = ModuleType(loader.name)
    made.__file__ = loader.path
    loader.exec_module(made)
    return made


def _python_files() -> list[Path]:
    """The package, and what may use it."""
    root = PACKAGE.parent
    return [
        *modules(),
        *(p for room in ("tests", "benchmarks", "scripts") for p in (root / room).rglob("*.py")),
    ]
