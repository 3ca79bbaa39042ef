"""Who may import what: imports go one way, and heavy ones wait until used."""

import ast
import functools
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

# The house from the ground up: a room may know those above it in this list alone.
ROOMS = (
    "errors",
    "types",
    "ranges",
    "settings",
    "foreign",
    "data",
    "networks",
    "augment",
    "engine",
    "evaluation",
    "distillation",
    "segmentation",
    "selfsupervised",
    "sharing",
    "run",
    "jobs.settings",
    "jobs.judging",
    "jobs.distil",
    "jobs.compare",
    "jobs.study",
    "jobs.ship",
    "jobs.segment",
    "jobs.lessons",
    "jobs.selftrain",
    "jobs.labels",
    "cli",
)
# Neighbours that never see each other, though one stands above the other.
APART = {
    "networks": ("data",),
    "distillation": ("networks",),
    "segmentation": ("networks", "distillation"),
    "selfsupervised": ("networks", "distillation", "segmentation"),
    "run": ("data", "networks", "augment", "evaluation", "distillation", "sharing"),
    "jobs.ship": ("jobs.distil", "jobs.compare", "jobs.study"),
    "jobs.segment": tuple(r for r in ROOMS if "jobs" in r and "settings" not in r),
}
FACE = ("__init__.py", "jobs/__init__.py")  # of the whole house, and of a floor


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    """The room that a file stands in, by its name in `ROOMS`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[: 2 if parts[0] == "jobs" else 1])


@functools.cache
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


def known_to(path: Path) -> set[str]:
    """The rooms that a file imports from, but for its own."""
    found = {
        other
        for name in imports(path)
        for other in ROOMS
        if within(name, f"jaxdistill.{other}")
    }
    return found - {room(path)}


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
def test_a_file_stands_in_a_room_and_imports_go_down(path):
    if name_of(path) in FACE:
        assert not known_to(path) & {"run", "cli", *(r for r in ROOMS if "jobs" in r)}
        return
    at = ROOMS.index(room(path))
    assert known_to(path) <= set(ROOMS[:at]) - set(APART.get(room(path), ()))


def test_no_file_is_imported_by_what_it_imports():
    """Rooms have files that know each other one way alone, too."""
    modules = {
        "jaxdistill." + name_of(p).removesuffix(".py").replace("/", "."): p
        for p in FILES
        if p.name != "__init__.py"
    }
    below = {
        module: {m for m in modules if any(within(n, m) for n in imports(path))}
        for module, path in modules.items()
    }
    while free := [m for m, known in below.items() if not known & set(below)]:
        for module in free:
            del below[module]
    assert not below, "these import each other in a circle"


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("flax", lambda path: room(path) == "networks"),
        ("orbax", lambda path: name_of(path) == "run/checkpoint.py"),
        ("tensorflow", lambda path: False),
        ("torch", lambda path: False),
        ("tensorflow_datasets", lambda path: room(path) in ("data", "cli")),
        ("ml_collections", lambda path: room(path) in ("jobs.settings", "cli")),
        ("absl", lambda path: room(path) == "cli"),
        ("matplotlib", lambda path: room(path).startswith(("run", "jobs"))),
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
