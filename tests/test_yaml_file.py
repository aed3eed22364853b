"""Any bytes are a mapping of plain data or one short line, within a moment."""

import os

import pytest

from mola import yaml_file
from mola.types import BadInput

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 150))
REFUSED = {
    "nothing": (b"", "expected a mapping of keys, found nothing"),
    "a list": (b"- a\n", "expected a mapping of keys, found list"),
    "text": (b"suite", "expected a mapping of keys, found str"),
    "NUL": (b"suite: a\0b", "unacceptable character"),
    "an escaped NUL": (b'suite: "a\\0b"', "suite: expected text without control characters, found 'a\\x00b'"),
    "a lone surrogate": (b'suite: "\\ud800"', "suite: expected text without control characters"),
    "no character": (b'suite: "\\UFFFFFFFF"', ""),
    "no UTF-8": (b"suite: \xff\xfe", "can't decode byte 0xff"),
    "UTF-16": ("suite: a".encode("utf-16"), "can't decode byte 0xff"),
    "UTF-16 and more": (b"\xff\xfe\x00\x01", "can't decode byte 0xff"),
    "a wrong float": (b"suite: !!float x", "line 1: 'x' can't be read as float"),
    "a wrong int": (b"suite: !!int zz", "line 1: 'zz' can't be read as int"),
    "a wrong bool": (b"suite: !!bool zz", "line 1: 'zz' can't be read as bool"),
    "a wrong timestamp": (b"suite: !!timestamp nope", "line 1: 'nope' can't be read as timestamp"),
    "Python": (b"suite: !!python/object/apply:os.system ['ls']", "could not determine a constructor for the tag"),
    "a tag that nobody knows": (b"suite: !x%FFy z", ""),
    "a set": (b"suite: !!set {a, b}", "suite: expected text or a number, found a set"),
    "bytes": (b"suite: !!binary aGVsbG8=", "suite: expected text or a number, found a bytes"),
    "no date": (b"x: 1\na: 2020-99-99", "line 2: '2020-99-99' can't be read as timestamp; put text in quotes"),
    "a date": (b"a: {b: 2020-12-31}", "a.b: expected text or a number, found a date; put dates in quotes"),
    "a directive": (b"%YAML " + b"9" * 5000 + b".1\n---\na: 1", ""),
    "itself": (b"a: &a [*a]", "line 1: expected at most 20000 values, found more, or an alias to itself"),
    "itself merged": (b"a: &a {<<: *a}", "an alias to itself"),
    "itself as key": (b"&a {*a : 1}", "expected text as key"),
    "laughs": (LAUGHS.encode(), "expected at most 20000 values"),
    "merged laughs": (MERGES.encode(), "expected at most 20000 values"),
    "a chain of aliases": (CHAIN.encode(), "expected at most 32 levels"),
    "a longer one": (b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (i, i, i - 1) for i in range(1, 9000)), ""),
    "brackets": (b"[" * 3000, "line 1: expected at most 32 levels"),
    "braces": (b"{a: " * 2000, "line 1: expected at most 32 levels"),
    "dashes": (b"- " * 3000, "line 1: expected at most 32 levels"),
    "a MiB of brackets": (b"[" * (1 << 20), "line 1: expected at most 32 levels"),
    "a long text for every alias": (b"a: &a " + b"x" * 500_000 + b"\nb: [" + b"*a, " * 10_000 + b"]", "64 characters"),
    "a long integer": (b"a: " + b"9" * 5000, "can't be read as int"),
    "an integer of 65 bits": (b"a: 9223372036854775808", "a: expected an integer of at most 64 bits"),
    "a long hexadecimal integer": (b"a: 0x" + b"f" * 500, "a: expected an integer of at most 64 bits"),
    "digits of base 60": (b"a: " + b"1:" * 500_000 + b"1", "can't be read as int"),
    "very many values": (b"a: [" + b"'', " * 50_000, "line 1: expected at most 20000 values, found more"),
    "infinity": (b"a: [.inf]", "a: expected a finite number, found inf"),
    "too large a float": (b"a: 1.0e+999", "a: expected a finite number, found inf"),
    "NaN": (b"a: .nan", "a: expected a finite number, found nan"),
    "a key that stands twice": (b"a: {b: 1}\nc: {d: 1,\n d: 2}", "line 3: key 'd' stands twice"),
    "a long key that stands twice": ((b"k" * 900 + b": 1\n") * 2, "stands twice"),
    "no key": (b"~: 1", "line 1: expected text as key, found '~'; put it in quotes"),
    "a number as key": (b"a: {1: 1}", "line 1: expected text as key, found '1'; put it in quotes"),
    "a word that YAML reads as true": (b"on: 1", "line 1: expected text as key, found 'on'"),
    "a list as key": (b"[a, b]: 1", "expected text as key"),
    "a control character in a key": (b'"a\\eb": 1', "expected text as key"),
    "two documents": (b"a: 1\n---\nb: 2", "line 2: but found another document"),
    "tabs": (b"a:\n\t- b", "line 2: found character '\\t' that cannot start any token"),
    "an open bracket": (b"suite: [a\nseeds: 1\n", "line 2"),
    "an alias to nothing": (b"a: *b", "line 1: found undefined alias 'b'"),
    "2 MiB": (b"# " + b"x" * (1 << 21), "expected at most 1 MiB, found more"),
}  # fmt: skip


def refused(path) -> str:
    with pytest.raises(BadInput) as caught:
        yaml_file.read(path)
    message = str(caught.value)
    assert message.startswith("configuration file '")
    assert len(message) <= 294 and message.isprintable(), message
    return message


@pytest.mark.parametrize("content", REFUSED, ids=lambda name: name.replace(" ", "-"))
def test_bytes_that_are_no_configuration(tmp_path, content):
    data, part = REFUSED[content]
    path = tmp_path / "suite.yaml"
    path.write_bytes(data)
    message = refused(path)
    assert str(path) in message and part in message, message


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, part in (
        (tmp_path / "nowhere.yaml", "no such file"),
        (tmp_path, "expected a file, found a folder"),
        (tmp_path / "pipe", "expected a file, found a pipe, device or socket"),
        ("/dev/zero", "expected a file, found a pipe, device or socket"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path / ("x" * 5000), "file name too long"),
        (tmp_path / "a\0b", "embedded null byte"),
    ):
        assert part in refused(tmp_path / path)


def test_plain_data_is_read_as_it_stands(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "\ufeffbase: &base {x: 1, y: [a, ~, true, 1.5, 2e-3, -7, 0x1f]}\n"
        "other: {<<: *base, x: 2}\n'2020-12-31': '2020-12-31'\ntext: >\n  two\n  lines\n"
    )
    values = ["a", None, True, 1.5, "2e-3", -7, 31]
    assert yaml_file.read(path) == {
        "base": {"x": 1, "y": values},
        "other": {"x": 2, "y": values},
        "2020-12-31": "2020-12-31",
        "text": "two lines\n",
    }
