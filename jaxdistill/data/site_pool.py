"""Cases of all sites to one checked `SitePool`, and settings that its sources share."""

import csv
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Annotated, TypeVar

from tqdm import tqdm

from jaxdistill.data.case_files import Files, Reading, read_case
from jaxdistill.data.labels import Labels
from jaxdistill.data.pool import located
from jaxdistill.data.prints import digest_of
from jaxdistill.data.tree import Tree, open_tree
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded, read_bytes
from jaxdistill.foreign.names import shown
from jaxdistill.ranges import OneOf
from jaxdistill.types import Case, SitePool

Key = TypeVar("Key")

BadCases = Annotated[
    str, OneOf(("refuse", "skip")), "what happens to cases that cannot be used"
]
MOST_TABLE = 1 << 24  # bytes
SKIP = "data.bad_cases='skip' leaves such cases out"


def open_sites(path: str | os.PathLike, root: str | os.PathLike, holding: str) -> Tree:
    """The folder or zip at a path, else at that path under the data root."""
    return open_tree(located(path, root), holding)


def read_sites(
    name: str,
    tree: Tree,
    listing: tuple[Sequence[Files], Sequence[str]],
    labels: Labels,
    reading: Reading,
    *,
    bad_cases: str = "refuse",
    mirrored: bool = True,
) -> SitePool:
    """All usable cases in order, and a sentence for each one that is not.

    `listing` are the files of cases, and sentences on files that belong to none. Raises
    the first of all sentences unless such cases are to be skipped. What was not looked
    at, such as links, is warned of, and so are cases of one image.
    """
    listed, faults = listing
    for sentence in tree.passed:
        warnings.warn(sentence, stacklevel=3)

    def attempt(files: Files) -> Case | InputError:
        try:
            return read_case(tree, files, labels, reading)
        except InputError as error:
            return error

    # Unpacking and Pillow's codecs release the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        results = workers.map(attempt, listed)
        found = list(tqdm(results, f"reading {name}", len(listed), disable=None))
    sentences = [*faults, *(str(one) for one in found if isinstance(one, InputError))]
    if sentences and bad_cases == "refuse":
        more = f"; {len(sentences) - 1} more cases are bad" if sentences[1:] else ""
        raise InputError(f"{sentences[0]}{more}; {SKIP}")
    cases = [one for one in found if isinstance(one, Case)]
    for sentence in _repeated(cases):
        warnings.warn(sentence, stacklevel=3)
    return make_site_pool(name, cases, labels.names, sentences, mirrored=mirrored)


def make_site_pool(
    name: str,
    cases: Sequence[Case],
    class_names: tuple[str, ...],
    skipped: Sequence[str] = (),
    *,
    mirrored: bool = True,
) -> SitePool:
    """A `SitePool` of at least two cases with names of their own and equal channels."""
    if len(cases) < 2:
        why = f" ({skipped[0]})" if skipped else ""
        raise InputError(
            f"{name} has {len(cases)} usable cases{why}; one to train on and one to "
            "validate with are needed: add cases or mend those that were skipped"
        )
    names = [case.name for case in cases]
    for case in cases:
        if names.count(case.name) > 1:
            raise InputError(
                f"{name} has two cases called {case.name!r}; predictions are filed by "
                "name: rename one"
            )
        if case.image.shape[-1] != cases[0].image.shape[-1]:
            raise InputError(
                f"case {case.name!r} of {name} has {case.image.shape[-1]} channels but "
                f"{cases[0].name!r} has {cases[0].image.shape[-1]}; all cases need the "
                "same: add the missing files or remove the case"
            )
    return SitePool(name, tuple(cases), class_names, tuple(skipped), mirrored)


def _repeated(cases: Sequence[Case]) -> Iterator[str]:
    same = defaultdict(list)
    for case in cases:
        same[digest_of(case.image)].append(case.name)
    for names in same.values():
        if len(names) > 1:
            yield (
                f"{' and '.join(map(shown, names))} hold the same image: a patient who "
                "is learned from and judged by makes scores look better"
            )


def read_table(path: str | os.PathLike, *columns: str) -> dict[str, str]:
    """The two columns of a CSV file as a dictionary; a first line may name them.

    Raises `InputError` for a file that cannot be read, a line of other than two words,
    or a first word that comes twice.
    """
    try:
        lines = read_bytes(expanded(path), MOST_TABLE).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} cannot be read as text ({error}): name a CSV file with the "
            f"columns {','.join(columns)}"
        ) from error
    mark = ";" if lines and ";" in lines[0] else ","
    table: dict[str, str] = {}
    for number, row in enumerate(_rows(lines, mark, path), 1):
        words = [word.strip() for word in row]
        if not any(words) or (number == 1 and words[0].lower() == columns[0]):
            continue
        if len(words) != 2 or not all(words) or words[0] in table:
            what = "names a case twice" if words[0] in table else "is not of two words"
            raise InputError(
                f"line {number} of {path} {what}; each line is "
                f"{','.join(columns)}: correct it"
            )
        table[words[0]] = words[1]
    return table


def _rows(lines: list[str], mark: str, path: str | os.PathLike) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=mark)
    except csv.Error as error:
        raise InputError(
            f"{shown(path)} is no CSV file ({error}): save it again"
        ) from error


def file_once(
    tree: Tree, table: dict[Key, PurePosixPath], key: Key, file: PurePosixPath
) -> None:
    """Put a file into a table, `InputError` where its key is taken."""
    if key in table:
        raise InputError(
            f"{tree.name(file)} and {tree.name(table[key])} are of one case; each file "
            "needs a case of its own: rename or remove one"
        )
    table[key] = file
