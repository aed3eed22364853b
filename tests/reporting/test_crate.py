"""`mola report --crate`: a folder that says what its files are, and which runs made them."""

import hashlib
import json
from urllib.parse import unquote

import pytest
import synthetic

from mola.reporting.pages.crate import write_crate
from mola.reporting.results.read import read_results
from mola.reporting.write import write_tables
from mola.types import BadInput


@pytest.fixture
def suite(tmp_path):
    """Two methods and a label that an address has to quote."""
    methods = {"shared": {}, "with+plus": {"method": "shared"}}
    return synthetic.make_suite(tmp_path, methods=methods, seeds=2)


def test_every_file_and_every_run_that_counts_is_described_and_every_link_leads_somewhere(suite):
    synthetic.fill(suite, lambda benchmark, method, seed: 0.5)
    write_tables(suite)
    path = write_crate(suite, read_results(suite))
    first = path.read_bytes()
    graph = {one["@id"]: one for one in json.loads(first)["@graph"]}
    root = graph["./"]
    assert graph[path.name]["about"] == {"@id": "./"} and "1.1" in graph[path.name]["conformsTo"]["@id"]
    parts = {unquote(one["@id"]) for one in root["hasPart"]}
    records = {str(p.relative_to(suite.folder)) for p in suite.folder.glob("*/*/seed*/record.json")}
    tables = {"tables/summary.md", "tables/digits.csv", "tables/metrics/shared.json"}
    assert len(records) == 4 and records | tables <= parts
    for one in root["hasPart"]:
        content = (suite.folder / unquote(one["@id"])).read_bytes()
        assert graph[one["@id"]]["sha256"] == hashlib.sha256(content).hexdigest()
    actions = [graph[one["@id"]] for one in root["mentions"]]
    assert {unquote(action["result"]["@id"]) for action in actions} == records
    outside = "http"
    for one in graph.values():
        for value in one.values():
            for link in value if isinstance(value, list) else [value]:
                if isinstance(link, dict) and not link["@id"].startswith(outside):
                    assert link["@id"] in graph, link
    assert write_crate(suite, read_results(suite)).read_bytes() == first


def test_a_run_that_does_not_count_is_no_part(suite):
    synthetic.fill(suite, lambda benchmark, method, seed: 0.5, fingerprint=synthetic.OTHER)
    with pytest.raises(BadInput, match="--crate: expected finished runs to describe, found none that counts"):
        write_crate(suite, read_results(suite))
