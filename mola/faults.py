"""Errors in the code of plugins, each in one line that names the file and the line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from mola import plugins
from mola.types import BadInput, one_line


class PluginError(BadInput):
    """An error in the code of a plugin; its message begins with ``methods/task_bias.py:31``."""


def line_of(error: BaseException) -> str | None:
    """An error that a plugin's code raised, in one line with the place; None for one that came about elsewhere."""
    if isinstance(error, SyntaxError) and error.filename and (name := plugins.shown(Path(error.filename))):
        return f"{name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    for file, line in reversed(frames):
        if name := plugins.shown(Path(file)):
            return f"{name}:{line}: {words(error)}"
    return None


def words(error: BaseException) -> str:
    """An error's kind and the first line of its message."""
    return one_line(f"{type(error).__name__}: {error}".strip().partition("\n")[0].removesuffix(": "), 200)


@contextmanager
def named(file: Path | None = None, line: int | None = None) -> Iterator[None]:
    """Turn an error that a plugin's code raises inside into a PluginError. Bad input passes, which has words of its
    own.

    file, line: the place of what no line of the plugin raised; None: such errors pass, too.
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        place = None if file is None else f"{plugins.shown(file) or file}{'' if line is None else f':{line}'}"
        message = line_of(error) or (place and f"{place}: {words(error)}")
        if message is None:
            raise
        raise PluginError(message) from error


def naming(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, or generator function, with its errors named."""
    if inspect.isgeneratorfunction(inspect.unwrap(function)):

        @functools.wraps(function)
        def items(*arguments: Any, **options: Any) -> Any:
            with named():
                yield from function(*arguments, **options)

        return items

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            with named():
                return function(*arguments, **options)
        except PluginError as error:
            cause = error.__cause__
            # what the method calls refuses its input so: timm's transformers, images of another size
            if isinstance(cause, AssertionError) and not _raised_by_plugin(cause):
                raise cause from None
            raise

    return call


def definition(cls: type, name: str = "") -> tuple[Path, int]:
    """File and line of a class's statement, or of the function ``name`` of it that runs, where a plugin has that."""
    for owner in cls.__mro__ if name else ():
        code = getattr(inspect.unwrap(owner.__dict__[name]), "__code__", None) if name in owner.__dict__ else None
        if code is not None and plugins.shown(Path(code.co_filename)):
            return Path(code.co_filename), code.co_firstlineno
    return Path(inspect.getfile(cls)), inspect.getsourcelines(cls)[1]


def _raised_by_plugin(error: BaseException) -> bool:
    frames = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and plugins.shown(Path(frames[-1])) is not None
