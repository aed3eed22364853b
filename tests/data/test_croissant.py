"""`mola croissant`: what a file says of a benchmark is what the benchmark is."""

import csv
import hashlib
import json

import numpy as np
import pytest

from mola import registry
from mola.data.croissant import write_croissant
from mola.data.splits.manifest import manifest_path
from mola.types import BadInput

# images of the user have no split before there are some
NAMES = [n for n in registry.names("benchmarks") if not registry.load("benchmarks", n).divides_by_itself]


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_described_with_its_sources_and_splits(tmp_path, name):
    benchmark = registry.create("benchmarks", name, tmp_path / "data", options={})
    path = tmp_path / f"{name}.json"
    write_croissant(benchmark, path)
    content = json.loads(path.read_text())
    assert content["@type"] == "sc:Dataset" and content["name"] == name and content["license"]
    assert [work["name"] for work in content["isBasedOn"]] == [source.name for source in benchmark.sources]
    (splits,) = content["distribution"]
    manifest = (tmp_path / splits["contentUrl"]).read_bytes()
    assert splits["sha256"] == hashlib.sha256(manifest).hexdigest()
    ids = json.loads(manifest_path(name).read_text()).get("ids", {})
    assert len(content["recordSet"]) == bool(ids), "of downloaded data no list of files may be copied"
    if ids:
        columns = {field["source"]["extract"]["column"] for field in content["recordSet"][0]["field"]}
        items = list(csv.DictReader(manifest.decode().splitlines()))
        assert columns == items[0].keys()
        for task, by_split in ids.items():
            for split, expected in by_split.items():
                actual = [int(one["item"]) for one in items if (one["task"], one["split"]) == (task, split)]
                assert actual == expected


def test_prepared_arrays_are_described_byte_for_byte(tmp_path, data_root):
    benchmark = registry.create("benchmarks", "digits", data_root, options={})
    write_croissant(benchmark, tmp_path / "elsewhere" / "digits.json")
    files = json.loads((tmp_path / "elsewhere" / "digits.json").read_text())["distribution"][1:]
    assert {file["name"] for file in files} == {*benchmark.manifest.arrays}
    for file in files:
        array = (tmp_path / "elsewhere" / file["contentUrl"]).resolve()
        assert file["sha256"] == hashlib.sha256(array.read_bytes()).hexdigest()
        assert file["description"].startswith(" × ".join(map(str, np.load(array).shape)))


def test_images_of_the_users_own_need_their_split_first(tmp_path):
    benchmark = registry.create("benchmarks", "image_folder", tmp_path, options={"root": str(tmp_path)})
    with pytest.raises(BadInput, match="expected the split manifest of 'image_folder', found none"):
        write_croissant(benchmark, tmp_path / "x.json")
