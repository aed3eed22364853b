"""What a result depends on, as one hash: the code that a run executes, its settings, the split manifest, and the
content of the files that the settings name.

Records and their index hold it, and the workflow compares it with that of now. So editing the trainer retrains, editing
a method retrains that method, and editing the tables, a comment or a docstring retrains nothing.
Sources and files are read once per process: take the fingerprint before importing what trains, and let
``check_unchanged`` say afterwards whether what was imported is what was hashed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from mola.experiment import imports
from mola.experiment.normal_form import pruned, written
from mola.faults import named
from mola.source import PACKAGE, ROOT, Import, is_local, located, modules_along
from mola.types import BadInput

# Modules that decide which runs there are, or read and write files around them, but compute nothing in them: what they
# do to a run stands in its settings, so the closure leaves them out, with what they import. EXECUTED are exceptions.
PLANNING = (
    "mola.config",
    "mola.sections",
    "mola.section_checks",
    "mola.registry",
    "mola.plugins",
    "mola.faults",
    "mola.guards",
    "mola.options",
    "mola.options_source",
    "mola.old_keys",
    "mola.source",
    "mola.plain",
    "mola.pretrained",
    "mola.shipped",
    "mola.yaml_file",
    "mola.cli",
    "mola.cli.*",
    "mola.terminal",
    "mola.files",
    "mola.experiment.*",
    "mola.tuning.*",
    # what it brings is checked apart, by the identity of the prepared data
    "mola.data.fetch.*",
    "mola.data.user.*",
)
EXECUTED = {"mola.experiment.run", "mola.tuning.budget", "mola.tuning.space", "mola.tuning.trial"}

# What reading a source as Python may raise.
UNPARSED = (SyntaxError, ValueError, RecursionError, MemoryError)

# Files whose modules this process imported unchanged: a later edit does not reach it.
_checked: set[Path] = set()


def fingerprint(
    settings: Mapping[str, object], modules: Iterable[str], manifest: str, files: Mapping[str, Path] | None = None
) -> dict[str, str]:
    """``{"code", "settings", "manifest", "all"}``: sha256 of each part, and of them together; with ``"files"`` where
    there are any.

    settings: what the run is given, as plain data.
    modules:  dotted names of where a run starts; all that they import counts, but for installed packages.
    manifest: sha256 of the committed split manifest.
    files:    local files that the run reads, by the key that names each in the settings; their content counts.
    Raises BadInput where a file cannot be read.
    """
    parts = {
        "code": _code(frozenset(modules), ROOT, tuple(sys.path)),
        "settings": _sha256(json.dumps(settings, sort_keys=True, default=str)),
        "manifest": manifest,
    }
    if files:
        parts["files"] = _sha256(json.dumps({key: _content(key, path) for key, path in files.items()}, sort_keys=True))
    return {**parts, "all": _sha256("".join(parts.values()))}


def closure(modules: Iterable[str]) -> dict[str, Path]:
    """Name and file of every module that the given ones import, themselves and the packages around them included.

    Modules of this package count, those of packages that the given ones are in, and others that belong neither to
    Python nor to an installed distribution: a method's own helpers, on ``sys.path``. Left out are PLANNING modules that
    are not given themselves, and imports under ``if TYPE_CHECKING:``.
    """
    given = set(modules)
    packages = frozenset(name.partition(".")[0] for name in given)
    files: dict[str, Path] = {}
    waiting = list(given)
    while waiting:
        for name, path in _along(waiting.pop(), packages):
            if name not in files and (name in given or not _is_planning(name)):
                files[name] = path
                waiting += _imported(name, _text(path), path.name == "__init__.py")
    return dict(sorted(files.items()))


def check_unchanged(modules: Iterable[str], files: Mapping[str, Path] | None = None) -> None:
    """Import all that the modules execute. Raise BadInput where its code, or the content of a file, is no longer what
    this process hashed.

    Modules that were unchanged once are not read again: an edit after the import does not reach this process.
    """
    given = set(modules)
    depends = closure(given)
    for name, path in depends.items():
        if name.partition(".")[0] == PACKAGE:
            importlib.import_module(name)
        elif name in given:
            with named(path):
                importlib.import_module(name)
    for name, path in depends.items():
        if path not in _checked:
            source = _read(path)
            if source != _text(path) and _normal_form(name, source) != _normal_form(name, _text(path)):
                raise BadInput(f"{path}: expected the code that this run was planned with, found another; start again")
            if name in sys.modules:
                _checked.add(path)
    for key, path in (files or {}).items():
        if _digest(key, path) != _content(key, path):
            raise BadInput(f"{key}: expected {path} as this run was planned with it, found other content; start again")


def forget() -> None:
    """Read everything anew: for tests that edit files."""
    _checked.clear()
    for cached in (_code, _text, _content, located):
        cached.cache_clear()


@cache
def _code(modules: frozenset[str], root: Path, places: tuple[str, ...]) -> str:
    """Of a closure. It depends on the root and on ``sys.path``, which are given for the cache alone."""
    return _sha256("".join(f"# {name}\n{_normal_form(name, _text(path))}" for name, path in closure(modules).items()))


def _along(target: str, packages: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """The modules that are imported on the way to a dotted name, but for Python's and those of installed packages that
    are none of ``packages``: of ``a.b.c`` a, a.b, and where c is lazily offered by a.b, those on the way to it.
    """
    name, package = "", None
    for name, path in modules_along(target, ROOT):
        if name.partition(".")[0] not in {PACKAGE, *packages} and not is_local(path):
            return
        package = path if path.name == "__init__.py" else None
        if path.suffix:
            yield name, path
    missing = target[len(name) + 1 :].partition(".")[0]
    if package and missing and missing in (offered := _exports(name, _text(package))):
        yield from _along(offered[missing], packages)


def _is_planning(name: str) -> bool:
    return name not in EXECUTED and any(fnmatchcase(name, pattern) for pattern in PLANNING)


@cache
def _imported(name: str, source: str, is_package: bool) -> frozenset[str]:
    try:
        tree = pruned(source, all_imports=True)
    except UNPARSED:
        return frozenset()
    if name == PACKAGE:
        # what its functions import lazily counts for those that ask for it (see _along)
        tree.body = [*imports.running(tree).body, *[s for s in tree.body if isinstance(s, Import)]]
    return frozenset(imports.imported(tree, name, is_package))


@cache
def _exports(name: str, source: str) -> dict[str, str]:
    try:
        return imports.exports(source, name)
    except UNPARSED:
        return {}


@cache
def _normal_form(name: str, source: str) -> str:
    """What counts of a module; a source that is no Python counts as it is.

    Of the root package that is what runs when it is imported: a new name that it offers changes no result.
    """
    try:
        tree = pruned(source)
        return written(imports.running(tree) if name == PACKAGE else tree)
    except UNPARSED:
        return source


def _read(path: Path) -> str:
    """A module's source, in the encoding that it declares; empty where it is gone."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return path.read_text(encoding="latin-1")
    except OSError:
        return ""


def _digest(key: str, path: Path) -> str:
    """sha256 of a file, read in pieces."""
    if path.exists() and not path.is_file():
        raise BadInput(f"{key}: expected a file, found {path}, which is none")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{key}: expected a file that can be read, found {path} ({error.strerror})") from None


# as they were when this process first read them
_text = cache(_read)
_content = cache(_digest)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
