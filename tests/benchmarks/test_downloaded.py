"""Downloaded benchmarks: what is placed, checked, prepared and refused, on miniatures of the published archives."""

import json
import shutil
import signal
import subprocess
import sys
from itertools import islice

import archives
import numpy as np
import pytest

from mola.benchmarks import officehome, pacs, vlcs
from mola.data.fetch.download import Download
from mola.data.splits import manifest
from mola.data.splits.rule import ranked
from mola.types import BadInput


@pytest.fixture
def archive(tmp_path):
    return archives.BUILDERS["pacs"](tmp_path)


@pytest.fixture
def by_hand(tmp_path):
    return archives.unpacked(tmp_path / "by hand", archives.pacs_files())


def make(root, name="pacs", **options):
    return archives.benchmark(name, root / "data", **options)


def prepared(benchmark, path):
    benchmark.place(path)
    benchmark.prepare()
    return benchmark


def refused(call, *args):
    """The one line that a call fails with."""
    with pytest.raises(BadInput) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def arrays(benchmark):
    return {path.name: path.read_bytes() for path in benchmark.folder.glob("*.npy")}


def names(benchmark, part):
    return (benchmark.folder / f"{part}.txt").read_text().splitlines()


# placing and preparing


def test_labels_and_images_belong_to_the_files(tmp_path, archive):
    from mola.data.prepare import images

    benchmark = prepared(make(tmp_path), archive)
    for task in ("photo", "sketch"):
        listed = names(benchmark, f"{task}.valid")
        assert [pacs.CLASSES.index(name.partition("/")[0]) for name in listed] == benchmark.arrays[
            f"{task}.valid.labels"
        ].tolist()
        for name, image in islice(zip(listed, benchmark.arrays[f"{task}.valid.images"], strict=True), 3):
            file = tmp_path / "data/raw/pacs/PACS/kfold" / task / name
            assert np.array_equal(images.read(file, 32), image)


def test_splits_are_stratified_by_the_rank_of_the_path(tmp_path, archive):
    benchmark = prepared(make(tmp_path), archive)
    for part, share in (("train", slice(0, 7)), ("valid", slice(7, 9)), ("test", slice(9, 12))):
        for name in pacs.CLASSES:
            order = ranked([f"{name}/pic_{i:03}.jpg" for i in range(12)], "cartoon/")
            assert [n for n in names(benchmark, f"cartoon.{part}") if n.startswith(f"{name}/")] == order[share]


@pytest.mark.parametrize("top", ["", "PACS", "PACS/kfold"])
def test_the_layouts_of_all_mirrors_give_the_same_arrays(tmp_path, archive, top):
    moved = [
        (name.replace("kfold", top, 1).lstrip("/"), c) for name, c in archives.pacs_files() if name.startswith("kf")
    ]
    other = prepared(make(tmp_path / "other"), archives.zipped(tmp_path / "other.zip", moved))
    assert arrays(other) == arrays(prepared(make(tmp_path), archive))


def test_preparing_again_reads_nothing(tmp_path, archive, monkeypatch):
    benchmark = prepared(make(tmp_path), archive)
    monkeypatch.setattr(type(benchmark), "recipes", None)
    assert make(tmp_path).prepare() == benchmark.folder


def test_each_variant_has_a_folder(tmp_path, archive):
    small = prepared(make(tmp_path, size=16), archive)
    large = make(tmp_path)
    large.prepare()
    assert small.folder != large.folder and small.arrays["photo.test.images"].shape[1] == 16
    assert make(tmp_path, size=16).lengths("test") == large.lengths("test") == dict.fromkeys(pacs.DOMAINS, 21)


def test_another_archive_is_prepared_anew(tmp_path, archive):
    prepared(make(tmp_path), archive)
    benchmark = prepared(make(tmp_path), archives.zipped(tmp_path / "larger.zip", archives.pacs_files(13)))
    assert benchmark.lengths("train")["photo"] == 7 * (13 * 60 // 100)
    assert sum(len(names(benchmark, f"photo.{split}")) for split in ("train", "valid", "test")) == 7 * 13


def test_a_folder_by_hand_gives_the_same_arrays(tmp_path, archive, by_hand):
    packed, loose = prepared(make(tmp_path), archive), prepared(make(tmp_path / "loose"), by_hand)
    loose.fetch()
    assert arrays(packed) == arrays(loose)
    assert not (tmp_path / "loose/data/raw/pacs/PACS").exists()  # it was not copied
    record = json.loads((tmp_path / "loose/data/raw/pacs/PACS.zip.folder.json").read_text())
    assert record["licence"] == "none stated" and "research only" in record["terms"]


def test_of_a_folder_by_hand_only_what_changed_is_made_anew(tmp_path, by_hand):
    benchmark = prepared(make(tmp_path), by_hand)
    before = {path.name: path.stat().st_mtime_ns for path in benchmark.folder.glob("*.npy")}
    photo = by_hand / "kfold/photo/dog" / names(benchmark, "photo.valid")[0].partition("/")[2]
    manifest = (benchmark.folder / "manifest.json").stat().st_mtime_ns
    assert make(tmp_path).prepare() and (benchmark.folder / "manifest.json").stat().st_mtime_ns == manifest
    photo.write_bytes(archives.drawn("another", 3))
    make(tmp_path).prepare()
    changed = {p.name for p in benchmark.folder.glob("*.npy") if p.stat().st_mtime_ns != before[p.name]}
    assert changed == {"photo.valid.images.npy", "photo.valid.labels.npy"}


def test_a_folder_with_the_archive_in_it_is_the_archive(tmp_path, archive):
    prepared(make(tmp_path), archive.parent)
    assert (tmp_path / "data/raw/pacs/PACS.zip").is_file()


def test_an_archive_replaces_a_folder_by_hand(tmp_path, archive, by_hand):
    benchmark = prepared(make(tmp_path), by_hand)
    shutil.rmtree(by_hand)
    assert "placed by hand, found nothing; place it again" in refused(make(tmp_path).fetch)
    prepared(benchmark, archive)
    benchmark.fetch()


def test_what_it_is_called_does_not_matter(tmp_path, archive):
    prepared(make(tmp_path), archive.rename(tmp_path / "download (1)"))


def test_an_own_mirror_comes_first(tmp_path):
    plain, mirrored = make(tmp_path, "officehome"), make(tmp_path, "officehome", mirror="https://server.example/data/")
    assert mirrored.sources[0].mirrors == (
        "https://server.example/data/OfficeHomeDataset_10072016.zip",
        *plain.sources[0].mirrors,
    )
    official = make(tmp_path, "officehome", official=True).sources[0]
    assert official.checksums == {"2016-10-07": "md5:b1c14819770c4448fd5b6d931031c91c"}
    assert plain.sources[0].checksums == {}


def test_a_kill_while_preparing_costs_little(tmp_path, archive):
    whole = prepared(make(tmp_path / "whole"), archive)
    make(tmp_path).place(archive)
    # the process kills itself at a row that is safe, so that a fast machine can't end it first
    script = (
        "import os, signal, sys; sys.path[:0] = ['tests/benchmarks']; from pathlib import Path; import archives\n"
        "from mola.data.prepare import npy_writer; npy_writer.SAFE = 1; update = npy_writer.SafeRows.update\n"
        "def killed(safe_rows, rows, writers):\n"
        "    update(safe_rows, rows, writers)\n"
        "    if safe_rows.path.name.startswith('rows@cartoon.train'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "npy_writer.SafeRows.update = killed\n"
        "archives.benchmark('pacs', Path(sys.argv[1])).prepare()"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "data")], check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = make(tmp_path).folder
    first = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(first) == 12  # of photo and art_painting, all splits
    assert "found some of them; run `mola prepare -b pacs`" in refused(lambda: make(tmp_path).arrays)
    benchmark = make(tmp_path)
    benchmark.prepare()
    assert arrays(benchmark) == arrays(whole)
    assert all((folder / name).stat().st_mtime_ns == time for name, time in first.items())


# the paper's splits, and the layouts


def test_jigens_folders_are_the_splits(tmp_path):
    archive = archives.BUILDERS["vlcs"](tmp_path)
    ours, paper = prepared(make(tmp_path, "vlcs"), archive), make(tmp_path, "vlcs", split="paper")
    paper.prepare()
    for benchmark, folders in ((ours, ("train", "crossval", "test")), (paper, ("train", "crossval", "crossval"))):
        for split, folder in zip(("train", "valid", "test"), folders, strict=True):
            part = f"sun.{'test' if benchmark is paper and split == 'valid' else split}"
            assert {name.partition("/")[0] for name in names(benchmark, part)} == {folder}
            assert len(benchmark.arrays[f"sun.{split}.labels"]) == benchmark.lengths(split)["sun"]
    assert ours.lengths("valid") == paper.lengths("valid") == paper.lengths("test") == dict.fromkeys(vlcs.TASKS, 20)
    valid, test = (next(iter(paper.batches(split, size=16, seed=0, epoch=0))).x for split in ("valid", "test"))
    assert valid.equal(test)


def test_domainbeds_vlcs_is_split_by_rank(tmp_path):
    archive = archives.tarred(tmp_path / "VLCS.tar.gz", archives.domainbed_files())
    benchmark = prepared(make(tmp_path, "vlcs", layout="domainbed"), archive)
    assert benchmark.lengths("train") == dict.fromkeys(vlcs.TASKS, 35)
    order = ranked([f"bird/{i}.jpg" for i in range(12)], "VOC2007/")
    assert [n for n in names(benchmark, "pascal.valid") if n.startswith("bird")] == order[7:9]
    assert "expected 'ours'" in refused(lambda: make(tmp_path, "vlcs", layout="domainbed", split="paper"))


def test_another_layout_is_refused(tmp_path):
    archive = archives.tarred(tmp_path / "VLCS.tar.gz", archives.domainbed_files())
    benchmark = make(tmp_path, "vlcs")
    benchmark.place(archive)
    assert "expected a folder of domain 'PASCAL', found " in refused(benchmark.prepare)


def test_officehomes_own_split_is_one_shuffle_of_all_domains(tmp_path):
    archive = archives.BUILDERS["officehome"](tmp_path)
    paper = prepared(make(tmp_path, "officehome", split="paper", size=8), archive)
    actual = {
        split: {f"{folder}/{n}" for task, folder in officehome.DOMAINS.items() for n in names(paper, f"{task}.{split}")}
        for split in ("train", "test")
    }
    assert len(actual["train"]) == 1170 and len(actual["test"]) == 130 and not actual["train"] & actual["test"]
    assert len({paper.lengths("test")[task] for task in officehome.DOMAINS}) > 1  # it is not stratified
    assert "Real_World/Bed/00003.jpg" in actual["train"] | actual["test"]
    assert paper.lengths("valid") == paper.lengths("test")


def test_a_split_of_other_meaning_is_remarked(tmp_path):
    assert make(tmp_path, official=True).remarks() == ()
    assert make(tmp_path).remarks() == ("data: not the published archive",)
    assert "the reported split" in make(tmp_path, "vlcs", split="paper", official=True).remarks()[0]


# what is refused


def without(path):
    return [(name, content) for name, content in archives.pacs_files() if not name.startswith(path)]


def test_a_missing_class_folder(tmp_path):
    archive = archives.zipped(tmp_path / "a.zip", without("kfold/cartoon/horse/"))
    benchmark = make(tmp_path)
    benchmark.place(archive)
    assert "kfold/cartoon: expected a folder of class 'horse', found none" in refused(benchmark.prepare)
    assert not list(benchmark.folder.glob("*.npy")) and archive.is_file()


def test_a_missing_domain(tmp_path):
    benchmark = make(tmp_path)
    benchmark.place(archives.zipped(tmp_path / "a.zip", without("kfold/sketch/")))
    assert "expected a folder of domain 'sketch', found art_painting, cartoon, photo" in refused(benchmark.prepare)


def test_a_class_too_many(tmp_path, by_hand):
    (by_hand / "kfold/photo/cat").mkdir()
    assert "kfold/photo: expected 7 folders of classes, found also 'cat'" in refused(make(tmp_path).place, by_hand)


def test_too_few_images_for_three_splits(tmp_path, by_hand):
    for i in range(2, 12):
        (by_hand / f"kfold/photo/dog/pic_{i:03}.jpg").unlink()
    assert "kfold/photo/dog: expected at least 3 images, found 2" in refused(make(tmp_path).place, by_hand)


def test_a_wrong_count(tmp_path, by_hand):
    message = refused(make(tmp_path, official=True).place, by_hand)
    assert "kfold/photo/dog: expected 189 images, found 12" in message and "official: false" in message


def test_a_wrong_count_of_a_domain(tmp_path):
    folder = archives.unpacked(tmp_path / "by hand", archives.officehome_files())
    message = refused(make(tmp_path, "officehome", official=True).place, folder)
    assert "Product: expected 4439 images, found 325" in message


def test_right_counts_are_taken(tmp_path, by_hand, monkeypatch):
    rule = json.loads(manifest.manifest_path("pacs").read_text())
    rule["counts"] = {domain: dict.fromkeys(pacs.CLASSES, 12) for domain in pacs.DOMAINS}
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    (tmp_path / "pacs.json").write_text(json.dumps(rule))
    assert prepared(make(tmp_path, official=True), by_hand).folder.name == "pacs-32-ours"


def test_a_refused_folder_changes_nothing(tmp_path, archive):
    benchmark = prepared(make(tmp_path), archive)
    assert "expected a folder of domain 'photo', found nothing" in refused(benchmark.place, _empty(tmp_path))
    make(tmp_path).fetch()
    assert make(tmp_path).prepare() == benchmark.folder


def _empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_an_unreadable_image(tmp_path):
    bad = "kfold/sketch/house/pic_004.jpg"
    files = [(name, content[:200] if name == bad else content) for name, content in archives.pacs_files()]
    benchmark = make(tmp_path)
    benchmark.place(archives.zipped(tmp_path / "a.zip", files))
    assert f"{bad}: expected an image, found 200 bytes that can't be read" in refused(benchmark.prepare)
    assert (benchmark.folder / "photo.train.images.npy").is_file()  # the good part is kept
    assert "found some of them" in refused(lambda: make(tmp_path).arrays)
    prepared(benchmark, archives.BUILDERS["pacs"](tmp_path))
    assert benchmark.arrays["sketch.train.images"].any()


@pytest.mark.parametrize(("cut", "reason"), [(slice(0, 50_000), "truncated or damaged"), (slice(0, 0), "")])
def test_a_truncated_archive(tmp_path, archive, cut, reason):
    archive.write_bytes(archive.read_bytes()[cut])
    message = refused(make(tmp_path).place, archive)
    assert "PACS.zip: expected a whole file, found " in message and reason in message
    assert not (tmp_path / "data/raw/pacs/PACS.zip").exists()


def test_a_web_page_instead_of_an_archive(tmp_path, archive):
    archive.write_text("<!DOCTYPE html><title>Sign in</title>")
    assert "HTML" in refused(make(tmp_path).place, archive)


def test_a_wrong_checksum(tmp_path):
    archive = archives.BUILDERS["officehome"](tmp_path)
    message = refused(make(tmp_path, "officehome", official=True).place, archive)
    assert "expected md5:b1c14819770c4448fd5b6d931031c91c (2016-10-07), found md5:" in message


def test_nothing_there(tmp_path):
    assert "nowhere: expected the file PACS.zip, found nothing" in refused(make(tmp_path).place, tmp_path / "nowhere")
    assert refused(make(tmp_path).prepare).endswith("found none; run `mola fetch -b pacs` with the same --config")
    assert "expected prepared arrays, found none; run `mola prepare -b pacs`" in refused(lambda: make(tmp_path).arrays)
    assert refused(make(tmp_path).sizes, "train").endswith("; run `mola prepare -b pacs` with the same --config")


def test_a_root_that_cant_be_written(tmp_path, archive, by_hand):
    (tmp_path / "data").write_text("a file")
    for call, *given in ((make(tmp_path).place, archive), (make(tmp_path).place, by_hand), (make(tmp_path).prepare,)):
        assert f"{tmp_path}/data/" in (message := refused(call, *given)) and ": expected to write " in message


def test_arrays_of_another_recipe_or_rule(tmp_path, archive, monkeypatch):
    benchmark = prepared(make(tmp_path), archive)
    monkeypatch.setattr(type(benchmark), "version", 2)
    assert "manifest.json: expected version 2, found 1; run `mola prepare" in refused(lambda: make(tmp_path).arrays)
    monkeypatch.undo()
    text = manifest.manifest_path("pacs").read_text()
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    (tmp_path / "pacs.json").write_text(text.replace("60", "61"))
    assert "manifest.json: expected rule " in refused(lambda: make(tmp_path).arrays)


def test_arrays_of_other_raw_data_than_is_there_now(tmp_path, archive, by_hand):
    prepared(make(tmp_path), archive)
    make(tmp_path).place(archives.zipped(tmp_path / "larger.zip", archives.pacs_files(13)))
    message = refused(lambda: make(tmp_path).arrays)
    assert "manifest.json: expected arrays of source 'pacs' as it is now, sha256:" in message
    assert ", found those of sha256:" in message and "run `mola prepare -b pacs`" in message
    make(tmp_path).place(by_hand)
    assert f"as it is now, folder {by_hand}, placed " in refused(make(tmp_path).sizes, "train")
    make(tmp_path).prepare()
    assert make(tmp_path).sizes("train")["photo"] == 49


def test_arrays_whose_raw_file_was_changed_by_hand(tmp_path, archive):
    benchmark = prepared(make(tmp_path), archive)
    (benchmark.raw.folder / "PACS.zip").unlink()
    archives.zipped(benchmark.raw.folder / "PACS.zip", archives.pacs_files(13))
    message = refused(lambda: make(tmp_path).arrays)
    assert (
        "PACS.zip: expected verified data, found a file that was not checked as it is now; run `mola fetch" in message
    )


def test_prepared_arrays_alone_are_enough(tmp_path, archive):
    benchmark = prepared(make(tmp_path), archive)
    shutil.rmtree(benchmark.raw.folder)
    assert make(tmp_path).arrays["photo.test.images"].any() and make(tmp_path).identity == benchmark.identity


def test_a_missing_or_changed_array(tmp_path, archive):
    benchmark = prepared(make(tmp_path), archive)
    path = benchmark.folder / "photo.train.images.npy"
    content = path.read_bytes()
    path.unlink()
    assert "photo.train.images.npy: expected a prepared array, found none; run `mola prepare" in refused(
        lambda: make(tmp_path).arrays
    )
    path.write_bytes(content[:-1])
    assert "photo.train.images.npy: expected the array that was prepared, found another size or time; run" in refused(
        lambda: make(tmp_path).arrays
    )
    make(tmp_path).prepare()
    assert path.read_bytes() == content


def test_a_file_for_one_of_several_sources_needs_its_name(tmp_path, archive, monkeypatch):
    two = [Download(n, "a page", "free", "", file=f"{n}.zip", terms="t", mirrors=("m",)) for n in ("a", "b")]
    benchmark = make(tmp_path)
    benchmark.sources = benchmark.raw.sources = tuple(two)
    assert "PACS.zip: expected a.zip or b.zip, found another name" in refused(benchmark.place, archive)
    assert "expected a folder with a.zip, b.zip, found none of them" in refused(benchmark.place, _empty(tmp_path))
    benchmark.place(archive.rename(archive.with_name("b.zip")))
    assert (benchmark.raw.folder / "b.zip").is_file()
