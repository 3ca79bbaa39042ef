"""Who may import what: imports go one way, and heavy ones wait until used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxdistill

PACKAGE = Path(jaxdistill.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    "tensorflow",
    "orbax",
    "tensorflow_datasets",
    "matplotlib",
    "pydicom",
    "nibabel",
    "torch",
)

# A room, and the rooms it may not know. `cli` alone stands above `run`.
CLOSED = {
    "distillers": ("networks", "data", "run", "cli"),
    "networks": ("data", "distillers", "run", "cli"),
    "data": ("networks", "distillers", "run", "cli"),
    "run": ("cli",),
    "": ("run", "cli"),  # the files beside the rooms
}
PURE = ("types", "errors", "unroll", "losses", "augment", "training", "population")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(path: Path, anywhere: bool = True) -> set[str]:
    """Full names of what a file imports, in functions too or only at its top."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if anywhere else iter(tree.body)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_importing_the_package_stays_light():
    """Not `absl.flags`: optax and flax bring it with their logging."""
    code = (
        "import sys, jaxdistill; "
        f"print([m for m in {HEAVY!r} if m in sys.modules], end='')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "[]"), done.stderr


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path):
    closed = CLOSED.get(room(path), ())
    if name_of(path) == "__init__.py":
        closed = ("run", "cli")
    found = {
        name
        for name in imports(path)
        for other in closed
        if within(name, f"jaxdistill.{other}")
    }
    assert not found


@pytest.mark.parametrize("name", PURE)
def test_the_pure_core_knows_no_room(name):
    found = imports(PACKAGE / f"{name}.py")
    rooms = ("networks", "data", "distillers", "run", "cli")
    assert not [n for n in found for r in rooms if within(n, f"jaxdistill.{r}")]


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("flax", lambda path: room(path) == "networks"),
        ("orbax", lambda path: name_of(path) == "run/checkpoint.py"),
        ("tensorflow", lambda path: False),
        ("torch", lambda path: False),
        ("tensorflow_datasets", lambda path: room(path) in ("data", "cli")),
        ("ml_collections", lambda path: room(path) in ("run", "cli")),
        ("absl", lambda path: room(path) in ("run", "cli")),
        ("matplotlib", lambda path: room(path) == "run"),
        ("sklearn", lambda path: False),
    ],
)
def test_who_imports_a_package(package, allowed):
    users = [p for p in FILES if any(within(n, package) for n in imports(p))]
    assert [name_of(p) for p in users if not allowed(p)] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_annotations_are_checked_in_tests(path):
    """Postponed annotations would switch jaxtyping's checks off."""
    assert "__future__.annotations" not in imports(path)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_packages_wait_inside_functions(path):
    at_top = imports(path, anywhere=False)
    if name_of(path) == "run/checkpoint.py":
        at_top = {n for n in at_top if not within(n, "orbax")}
    assert not [n for n in at_top for h in HEAVY if within(n, h)]
