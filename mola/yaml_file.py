"""Reads a YAML file of plain data: text, numbers, true, false, null, lists, and mappings whose keys are text.

Whatever the bytes are, the answer is a mapping or one line that says what is wrong with the file.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

from mola.plain import DEPTH, VALUES, check
from mola.types import BadInput, one_line

LARGEST = 1 << 20  # bytes of a file
BAD_YAML = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError)


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises BadInput, in one short line, for every other content."""
    place = f"configuration file '{one_line(path, 150)}'"
    try:
        # the pure Python parser: it stops at the depth given here, where libyaml's recursion is not ours to limit
        loader = _Loader(_text(path))
        node = loader.get_single_node()
        _count(node, {})
        content = loader.construct_document(node) if node is not None else None
        check(content)
    except OSError as error:
        raise BadInput(f"{place}: {(error.strerror or str(error)).lower()}") from None
    except BadInput as error:
        raise BadInput(one_line(f"{place}: {error}")) from None
    except BAD_YAML as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f", line {mark.line + 1}" if mark else ""
        if isinstance(error, RecursionError):
            problem = f"expected at most {DEPTH} levels, found more"
        raise BadInput(one_line(f"{place}{line}: {problem or error or type(error).__name__}")) from None
    if not isinstance(content, dict):
        kind = "nothing" if content is None else type(content).__name__
        raise BadInput(f"{place}: expected a mapping of keys, found {kind}")
    return content


def _text(path: Path) -> str:
    """The content of a regular file. A pipe or a device may never end, so it is not opened."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise BadInput(f"expected a file, found a {'folder' if stat.S_ISDIR(mode) else 'pipe, device or socket'}")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise BadInput("expected at most 1 MiB, found more")
    return content.decode("utf-8-sig")


def _count(node: yaml.Node | None, counted: dict[int, int]) -> int:
    """The values below a node with every alias written out, which is the work that merge keys can ask for."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = VALUES  # as long as it is open: an alias to itself has no end
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        counted[id(node)] = 1 + sum(_count(part, counted) for part in inner)
    if counted[id(node)] > VALUES:
        raise yaml.MarkedYAMLError(
            problem=f"expected at most {VALUES} values, found more, or an alias to itself", problem_mark=node.start_mark
        )
    return counted[id(node)]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice (YAML keeps the last, and a row of the tables would vanish without a word), keys
    that are no text, and what is nested too deep.
    """

    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > DEPTH or self.nodes > 2 * VALUES:
            limit = f"{DEPTH} levels" if self.depth > DEPTH else f"{VALUES} values"
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"expected at most {limit}, found more", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node, keys = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                problem = f"expected text as key, found {one_line(repr(key.value), 80)}; put it in quotes"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.value in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{one_line(key.value, 80)}' stands twice", problem_mark=key.start_mark
                )
            keys.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        try:
            # "1:1:1:…" is a number in base 60, whose digits take PyYAML minutes
            if isinstance(node, yaml.ScalarNode) and kind != "str" and len(node.value) > 1000:
                raise ValueError
            return super().construct_object(node, deep)
        # PyYAML's own answers to !!int zz, !!bool zz and !!timestamp nope
        except (ValueError, LookupError, AttributeError) as error:
            problem = f"{one_line(repr(node.value), 80)} can't be read as {kind}; put text in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error
