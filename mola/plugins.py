"""Methods, balancers, benchmarks and backbones of the user's own: which there are, where they lie, and how they are
imported.

They lie in folders beside a suite's configuration, ``methods/``, ``balancers/`` and ``benchmarks/``, or in installed
packages, which offer them as entry points of the groups ``mola.methods``, ``mola.balancers`` and ``mola.benchmarks``.
The configuration's folder is put at the end of ``sys.path``, so that what lies there is ``methods.task_bias``, and may
import its siblings (``from methods._helper import f``, ``from ._helper import f``) and modules that lie beside the
suite (``import my_layers``), but hides nothing that is installed. A process works for one suite at a time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal

from mola.source import PACKAGE, is_local, module_file
from mola.types import BadInput

Kind = Literal["methods", "balancers", "benchmarks"]
KINDS: tuple[Kind, ...] = ("methods", "balancers", "benchmarks")


@dataclass(frozen=True)
class Plugin:
    """A method, a balancer or a benchmark that is not of this package.

    module:    dotted name of its module.
    attribute: the name of its class as an entry point gives it; "": the class is named like the part.
    origin:    where it is from, for people: a path, or a package with its version.
    place:     its file, where a folder beside the suite has it.
    """

    kind: Kind
    name: str
    module: str
    attribute: str
    origin: str
    place: Path | None = None

    @property
    def file(self) -> Path:
        """Its source. Raises BadInput where there is none, or where an import would take another module."""
        actual = module_file(self.module)
        if actual is None or (self.place is not None and not actual.samefile(self.place)):
            hidden = f"{actual}, which hides it" if actual else "none"
            raise BadInput(f"{self.origin}: expected to be imported as {self.module}, found {hidden}")
        return actual


class _Suite:
    """Whose plugins this process knows."""

    folder: Path | None = None
    # whether sys.path has the folder for our sake alone
    is_added = False
    # what lies there, as it was when it was first looked for: a large suite asks for every row
    known: ClassVar[dict[Kind, tuple[tuple[Plugin, ...], dict[str, list[Plugin]]]]] = {}


def look_in(folder: Path | None) -> bool:
    """Look for plugins in the folder of a suite's configuration, and in no other; None: in none. Returns whether that
    was another folder, so that what is remembered of modules by their names has to be forgotten.
    """
    new = folder.absolute() if folder else None
    _Suite.known.clear()
    if new == _Suite.folder:
        return False
    _leave()
    _Suite.folder = new
    if new is not None and new.resolve() not in [Path(place).resolve() for place in sys.path]:
        sys.path.append(str(new))
        _Suite.is_added = True
    return True


def folder() -> Path | None:
    """The folder of the suite's configuration."""
    return _Suite.folder


def candidates(kind: Kind) -> dict[str, list[Plugin]]:
    """Name → the plugins that are called so, each from another place; those in the suite's folder first."""
    installed = _installed(kind)
    if kind not in _Suite.known or _Suite.known[kind][0] is not installed:
        every: dict[str, list[Plugin]] = {}
        for plugin in [*_in_folder(kind), *installed]:
            every.setdefault(plugin.name, []).append(plugin)
        _Suite.known[kind] = installed, every
    return _Suite.known[kind][1]


def is_ours(module: str) -> bool:
    """Whether a module is one of a plugin: it lies below the suite's folder or in a package that offers plugins. Those
    are read as the package's own are.
    """
    top = module.partition(".")[0]
    if top == PACKAGE:
        return False
    if top in {plugin.module.partition(".")[0] for kind in KINDS for plugin in _installed(kind)}:
        return True
    path = module_file(module)
    return path is not None and _is_below(path, _Suite.folder)


def places() -> tuple[Path, ...]:
    """Where code is a plugin's: the suite's folder, and the folders or files of packages that offer plugins."""
    tops = {plugin.module.partition(".")[0] for kind in KINDS for plugin in _installed(kind)}
    files = [module_file(top) for top in sorted(tops)]
    folders = [path.parent if path.name == "__init__.py" else path for path in files if path]
    return (*([_Suite.folder] if _Suite.folder else []), *folders)


def shown(path: Path) -> str | None:
    """How messages call a Python file of a plugin: from the suite's folder, or from where its package lies; None for a
    file that is no plugin's, or none at all.
    """
    if path.suffix not in (".py", ".json") or not path.is_file():
        return None
    for place in places():
        is_suite = place == _Suite.folder
        if path == place or _is_below(path, place, installed=not is_suite):
            start = place.resolve() if is_suite else place.resolve().parent
            return str(path.resolve().relative_to(start))
    return None


def imported(plugin: Plugin) -> ModuleType:
    """Its module. Raises BadInput where an import would take another one, and whatever its code raises."""
    _ = plugin.file
    return importlib.import_module(plugin.module)


def _in_folder(kind: Kind) -> Iterator[Plugin]:
    if _Suite.folder is None:
        return
    for path in sorted((_Suite.folder / kind).glob("*.py")):
        if not path.stem.startswith("_"):
            yield Plugin(kind, path.stem, f"{kind}.{path.stem}", "", str(Path(kind, path.name)), path)


@cache
def _installed(kind: Kind) -> tuple[Plugin, ...]:
    """By entry points of installed packages."""
    from importlib.metadata import entry_points

    known: dict[tuple[str, str], Plugin] = {}
    for entry in entry_points(group=f"{PACKAGE}.{kind}"):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module
        # an environment may list a package twice: as it is installed, and by the folder on sys.path
        key = (entry.name, entry.value)
        known.setdefault(key, Plugin(kind, entry.name, entry.module, entry.attr, package))
    return tuple(known.values())


def _is_below(path: Path, folder: Path | None, installed: bool = False) -> bool:
    """Whether a file lies in a folder and is neither this package's nor, unless ``installed`` counts, Python's or an
    installed distribution's.
    """
    # modules that are made up have names of files that are none: torch.ops is "_ops.py"
    if folder is None or not path.is_absolute():
        return False
    path = path.resolve()
    if not path.is_relative_to(folder.resolve()) or path.is_relative_to(Path(__file__).resolve().parent):
        return False
    return installed or is_local(path)


def _leave() -> None:
    """Forget the modules that only the last suite's folder had: the next one may have others of the same names."""
    if not _Suite.is_added or _Suite.folder is None:
        return
    tops = {
        name.partition(".")[0]
        for name, module in sys.modules.items()
        if (file := getattr(module, "__file__", None)) and _is_below(Path(file), _Suite.folder)
    }
    for name in [name for name in sys.modules if name.partition(".")[0] in tops | {*KINDS}]:
        del sys.modules[name]
    sys.path.remove(str(_Suite.folder))
    _Suite.is_added = False
