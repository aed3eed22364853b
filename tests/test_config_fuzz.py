"""Whatever a configuration file holds: a suite, or one short line. Nothing else is raised, nothing takes long."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mola import config
from mola.types import BadInput

ROOT = Path(__file__).parent.parent
VALID = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "config").glob("*.yaml"))]
VALID.append(
    {
        "suite": "s",
        "seeds": 2,
        "results": "r s",
        "data": "d",
        "device": "cpu",
        "compare_to": "a",
        "reference": None,
        "paper_numbers": "p.yaml",
        "balancer": {"name": "gradvac", "beta": 0.5},
        "watch": {"routing": 1},
        "tune": {"trials": 2, "space": {"lr": {"low": 0.1, "high": 1,
        "log": True}, "batch_size": [1, 2], "momentum": None}},
        "benchmarks": {"digits": {"limit": 8, "balancer": "sum", "backbone": {"options": {"x": 1}}}, "glyphs": None},
        "methods": {"a": {"method": "mola_grad", "group": "g",
        "training": {"lr": 1}, "rank": {"x": 1}}, "shared": {}},
    }
)  # fmt: skip
KEYS = sorted(
    {key for suite in VALID for key in suite} | set(config.Training.model_fields) | {"name", "low", "options"}
)
NASTY = st.sampled_from(
    [
        "", "..", ".", "/", "--help", "a\nb", "a\n", "x$(touch P)",
        "a;touch P;", "a b", "é", "{x}", "{", "\0", "\ud800", "'",
        "x" * 5000, "x/" * 3000, "tables", "nan", "inf", "1e999",
        "9" * 5000, "null", "2020-99-99", "[", "(", "__class__",
        0, -1, 1, 2**31, 2**63 - 1, 2**63, 10**9, 10**60, True, False, None, 1e308, -0.0, 1e-320, float("nan"),
        float("inf"), [], {}, [[]], [None], [True], [1,
        1], [2**63], [-1], [0.5], ["1"], {"name": None}, {"name": "sum"},
        {"low": 1}, {"low": 1, "high": 1e308}, {"low": "a",
        "high": []}, {"x" * 400: 1}, {"a\nb": 1}, {"": 1}, {"é": {}},
    ]
)  # fmt: skip
LEAVES = NASTY | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.dates()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
# pieces that YAML gives a meaning to
PIECES = st.sampled_from(
    [
        "suite: ", "seeds: ", "methods:", "benchmarks: ", "digits", "shared", "\n",
        "\n  ", "\n- ", "- ", ": ", " ", "{", "}",
        "[", "]", ", ", "&a ", "*a", "<<: ",
        "!!", "!!float ", "!!set ", "!!python/name:os.system ", "!<", "> ", "| ", "|2",
        '"', "'", "\\x0", "\\ud800", "#", "%YAML 1.1\n", "%TAG ! x\n",
        "---\n", "...", "? ", "=", "~", "2020-99-99", "1:1", "0x",
        "0b", ".inf", "1e5", "1_0", "9" * 5000, "\t", "\r",
        "\x85", "\u2028", "\ufeff", "\0", "@", "`", "-", "x" * 400,
    ]
)  # fmt: skip


def one_line_or_a_suite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        assert isinstance(config.load(path), config.Suite)
    except BadInput as error:
        message = str(error)
        assert str(path)[:90] in message and len(message) <= 294 and message.isprintable(), message


def fuzz(share: float):
    """A part of all examples."""
    profile = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}
    return settings(max_examples=round(EXAMPLES * share), **profile)


EXAMPLES = 1000


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "suite.yaml"


@fuzz(0.2)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(path, content):
    one_line_or_a_suite(path, content)


@fuzz(0.3)
@given(pieces=st.lists(PIECES, max_size=25))
def test_pieces_of_yaml(path, pieces):
    one_line_or_a_suite(path, "".join(pieces).encode("utf-8", "surrogatepass"))


def places(value, at=()):
    """The places of all values in nested mappings and lists."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*at, key))


def mutated(suite, changes):
    """The suite with values replaced, keys renamed, keys added, and keys left out."""
    suite = copy.deepcopy(suite)
    for choice, kind, key, value in changes:
        at = [place for place in places(suite) if place]
        if not at:
            break
        *above, last = at[choice % len(at)]
        holder = suite
        for step in above:
            holder = holder[step]
        if kind == "drop" or (kind == "rename" and not isinstance(holder, dict)):
            del holder[last]
        elif kind == "rename":
            holder[key] = holder.pop(last)
        elif kind == "add" and isinstance(holder[last], dict):
            holder[last][key] = value
        else:
            holder[last] = value
    return suite


@fuzz(0.5)
@given(
    suite=st.sampled_from(VALID),
    changes=st.lists(
        st.tuples(
            st.integers(0, 400),
            st.sampled_from(["set", "set", "add", "rename", "drop"]),
            st.sampled_from(KEYS) | st.text(max_size=8) | NASTY.filter(lambda v: v.__hash__ is not None),
            VALUES,
        ),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
@example(VALID[-1], [(1, "set", "", 10**9)])
def test_mutated_suites(path, suite, changes):
    text = yaml.safe_dump(mutated(suite, changes), sort_keys=False, allow_unicode=True)
    one_line_or_a_suite(path, text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "content",
    [
        b"suite: a\0",
        b"\xff\xfe\x00\x01",
        b"suite: !!float x",
        b"a: &a [*a]",
        b"[" * 3000,
        b"seeds: " + b"9" * 5000,
        b"suite: s\nseeds: 1000000000\nbenchmarks: {digits: }\nmethods: {shared: }\n",
        b"suite: s\nseeds: [" + b"1, " * 9999 + b"-1]\nbenchmarks: {digits: }\nmethods: {shared: }\n",
        b"suite: s\nseeds: 1\nresults: " + b"r" * 5000 + b"\nreference:\nbenchmarks: {digits: }\nmethods: {shared: }\n",
        b"suite: s\nseeds: 1\nreference:\nbenchmarks: {digits: }\nmethods: {'a\n\n  b': {method: shared}}\n",
    ],
    ids=["nul", "utf-16", "tag", "itself", "brackets", "digits", "seeds", "negative-seed", "long-name", "line-break"],
)
def test_a_process_answers_in_one_line(tmp_path, content):
    (tmp_path / "suite.yaml").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", "status", "-c", "suite.yaml"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done
    assert len(done.stderr.splitlines()) == 1 and len(done.stderr) <= 301, done.stderr
    assert done.stderr.startswith("mola: ") and "suite.yaml" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]
