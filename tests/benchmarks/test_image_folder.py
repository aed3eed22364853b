"""Images of a user: what is refused and how, and that the split manifest is the truth from then on."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from own_images import CLASSES, pixels, saved, write_folder, write_list

from mola.benchmarks.image_folder import ImageFolder
from mola.config import load
from mola.data.prepare import images
from mola.experiment import run, spec
from mola.experiment.inputs import write_inputs
from mola.source import ROOT
from mola.types import BadInput, Findings, shown


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("own") / "photos", 12)


@pytest.fixture
def photos(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "photos")


def created(tmp_path, root, **options):
    return ImageFolder.create(
        tmp_path / "data", root=str(root), **{"manifest": str(tmp_path / "mine.splits.json"), "size": 16, **options}
    )


def prepared(tmp_path, root, **options):
    benchmark = created(tmp_path, root, **options)
    benchmark.fetch()
    benchmark.prepare()
    return benchmark


def refused(call, *args):
    with pytest.raises(BadInput) as error:
        call(*args)
    return shown(error.value)


def content(benchmark):
    return {path.name: path.read_bytes() for path in benchmark.folder.glob("*.npy")}


# what becomes of images


def test_every_image_stands_in_one_split_with_its_class(tmp_path, photos):
    benchmark = prepared(tmp_path, photos)
    assert [(task.name, task.outputs) for task in benchmark.tasks] == [("indoors", 3), ("out_doors", 3)]
    assert benchmark.heterogeneity == "domain"
    listed = [file for splits in benchmark.manifest.ids.values() for files in splits.values() for file in files]
    there = [path.relative_to(photos).as_posix() for path in photos.glob("*/*/*")]
    assert sorted(listed) == sorted(there)
    # 12 of each class: 60/20/20 percent are 7.2, 2.4, 2.4
    assert {split: benchmark.lengths(split) for split in ("train", "valid", "test")} == {
        split: dict.fromkeys(("indoors", "out_doors"), 3 * number)
        for split, number in (("train", 7), ("valid", 3), ("test", 2))
    }
    for task, splits in benchmark.manifest.ids.items():
        for split, files in splits.items():
            labels = benchmark.arrays[f"{task}.{split}.labels"].tolist()
            assert [CLASSES[label] for label in labels] == [file.split("/")[1] for file in files]
            assert labels[:3] == [0, 1, 2], "classes take turns"
            row = next(i for i, file in enumerate(files) if file.endswith(".webp")) if split == "train" else 0
            if files[row].endswith((".webp", ".tif", ".bmp")):
                assert np.array_equal(
                    benchmark.arrays[f"{task}.{split}.images"][row], images.read(photos / files[row], 16)
                )
    assert benchmark.remarks()[0] == "data: images of the user, split 60/20/20 of every class, by seed 0"
    assert benchmark.remarks()[1].startswith("data: images without colours: indoors ")


def test_the_options_of_the_split(tmp_path, photos):
    shares = {"train": 50, "valid": 25, "test": 25}
    one, other, again = (
        prepared(tmp_path / str(i), photos, split=shares, seed=seed) for i, seed in enumerate((0, 1, 0))
    )
    assert one.lengths("train")["indoors"] == 3 * 6
    assert one.manifest.files == again.manifest.files != other.manifest.files
    assert one.splits_sha256 == again.splits_sha256 != other.splits_sha256
    with pytest.raises(ValueError, match="expected train, valid and test, 100 together"):
        created(tmp_path, photos, split={"train": 60, "test": 40})
    with pytest.raises(ValueError, match="expected train, valid and test, 100 together"):
        created(tmp_path, photos, split={"train": 60, "valid": 20, "test": 30})


@pytest.mark.parametrize("kind", ["photos", "flip", "none"])
def test_augmentation(tmp_path, drawn, kind):
    benchmark = prepared(tmp_path, drawn, augment=kind)
    batch = next(iter(benchmark.batches("train", size=36, seed=0, epoch=0, sampling="proportional")))
    stored = {row.tobytes() for key, array in benchmark.arrays.items() if key.endswith("train.images") for row in array}
    mirrored = {np.frombuffer(row, np.uint8).reshape(16, 16, 3)[:, ::-1].tobytes() for row in stored}
    drawn_rows = [row.permute(1, 2, 0).contiguous().numpy().tobytes() for row in batch.x]
    plain = sum(row in stored for row in drawn_rows)
    turned = sum(row in mirrored for row in drawn_rows)
    assert {"none": plain == 36, "flip": plain + turned == 36 and plain and turned, "photos": plain < 6}[kind]


def test_copies_stay_together_in_all_formats_and_domains(tmp_path, photos):
    # three images of a class, each ten times: as they are, in another format, and in the other domain
    shutil.rmtree(photos / "indoors/cup")
    for key in range(30):
        ending = ".png" if key % 2 else ".bmp"
        saved(photos / f"indoors/cup/{key:02}{ending}", pixels(key % 3, 0))
    saved(photos / "out doors/cup/copy.tif", pixels(0, 0))
    benchmark = prepared(tmp_path, photos)
    split_of = {
        file: split
        for splits in benchmark.manifest.ids.values()
        for split, files in splits.items()
        for file in files
        if "cup" in file
    }
    for first in range(3):
        same = [f"indoors/cup/{key:02}{'.png' if key % 2 else '.bmp'}" for key in range(first, 30, 3)]
        same += ["out doors/cup/copy.tif"] if first == 0 else []
        assert len({split_of[file] for file in same}) == 1
    assert len({split_of[f"indoors/cup/{key:02}{'.png' if key % 2 else '.bmp'}"] for key in range(3)}) == 3
    assert "data: 28 images are copies of others; copies are in one split" in benchmark.remarks()


# what is refused


def test_everything_that_is_wrong_is_said_at_once(tmp_path, photos):
    for number in range(12):
        (photos / f"indoors/cup/empty{number:02}.jpg").touch()
    (photos / "out doors/key/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (photos / "indoors/loose.png").write_bytes(b"")
    (photos / "indoors/nothing").mkdir()
    saved(photos / "indoors/shoe/1.png", pixels(500, 7))
    saved(photos / "indoors/hat/twice.bmp", pixels(0, 0))
    benchmark = created(tmp_path, photos)
    text = refused(benchmark.fetch)
    assert text == refused(benchmark.prepare)
    for part in (
        f"{photos}: found 6 things to put right; nothing was prepared\n",
        "  images outside of <domain>/<class>/: 1\n    indoors/loose.png\n",
        "  folders of a class without an image: 1\n    indoors/nothing/\n",
        "  files that can't be read: 13\n    indoors/cup/empty00.jpg: an empty file\n",
        "    indoors/cup/empty09.jpg: an empty file\n    … and 3 more\n",
        "`missing_classes: allow` takes it as it is): 1\n    out_doors: shoe\n",
        "  copies of one image in two classes of a task: 1\n    indoors/hat/twice.bmp, indoors/cup/000.png\n",
        "  classes of fewer than 3 images or groups, one for each split: 1\n    indoors: shoe: 1 image",
    ):
        assert part in text, text
    assert not (tmp_path / "mine.splits.json").exists() and not list((tmp_path / "data").glob("*/*.npy"))
    with pytest.raises(Findings):
        created(tmp_path, photos).fetch()


def test_unreadable_files_are_all_named_by_the_command(tmp_path, photos):
    (photos / "indoors/cup/a.png").write_text("no image")
    (photos / "indoors/hat/b.png").touch()
    suite = {
        "suite": "own", "data": str(tmp_path / "data"), "results": str(tmp_path / "results"), "seeds": 1,
        "reference": None, "benchmarks": {"mine": {"benchmark": "image_folder", "root": str(photos), "size": 16}},
        "methods": {"shared": None},
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(suite))
    for command in ("fetch", "prepare"):
        words = [sys.executable, "-m", "mola.cli", command, "-c", str(tmp_path / "own.yaml")]
        words[2] = "mola" if (ROOT / "mola/__main__.py").exists() else words[2]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "can't be read: 2\n    indoors/cup/a.png: 8 bytes that can't be read" in done.stderr
        assert "indoors/hat/b.png: an empty file" in done.stderr


def test_a_class_that_a_domain_lacks_may_be_allowed(tmp_path, photos):
    shutil.rmtree(photos / "out doors/key")
    assert "out_doors: key" in refused(created(tmp_path, photos).fetch)
    benchmark = prepared(tmp_path, photos, missing_classes="allow")
    assert [task.outputs for task in benchmark.tasks] == [3, 3]
    assert set(benchmark.arrays["out_doors.train.labels"]) == {0, 1}
    assert "data: out_doors lacks key" in benchmark.remarks()


def test_without_a_root_there_is_one_line(tmp_path):
    benchmark = ImageFolder.create(tmp_path)
    assert benchmark.tasks == () and benchmark.splits_sha256 == ""
    for call in (benchmark.fetch, benchmark.prepare, benchmark.check_raw):
        assert refused(call) == "image_folder.root: expected a folder of images or a CSV list, found none"
    nowhere = created(tmp_path, tmp_path / "no")
    assert "expected folders <domain>/<class>/ with images, found none" in refused(nowhere.check_raw)
    assert "whose images are used where they are" in refused(benchmark.place, tmp_path)


# lists


def rows(number=90, tasks=("one", "two"), **more):
    return [
        {"image": f"pictures/{i}.png", "task": tasks[i % len(tasks)], "label": "xyz"[i // len(tasks) % 3]}
        | {key: value(i) for key, value in more.items()}
        for i in range(number)
    ]


def test_groups_of_a_list_are_not_divided(tmp_path):
    benchmark = prepared(tmp_path, write_list(tmp_path / "list.csv", rows(group=lambda i: f"p{i // 6}")))
    of_group = {}
    for splits in benchmark.manifest.ids.values():
        for split, files in splits.items():
            for file in files:
                assert of_group.setdefault(int(file[9:-4]) // 6, split) == split
    assert "data: 15 groups of images, none in two splits" in benchmark.remarks()
    assert set(of_group.values()) == {"train", "valid", "test"}


def test_a_list_may_say_the_splits(tmp_path):
    given = {0: "train", 1: "valid", 2: "test"}
    path = write_list(tmp_path / "list.csv", rows(split=lambda i: given[i // 6 % 3]))
    benchmark = prepared(tmp_path, path)
    for splits in benchmark.manifest.ids.values():
        for split, files in splits.items():
            assert {given[int(file[9:-4]) // 6 % 3] for file in files} == {split}
    assert benchmark.remarks()[0] == "data: images of the user, split by its list"


def test_splits_of_a_list_that_divide_copies_or_groups_are_refused(tmp_path):
    given = {0: "train", 1: "valid", 2: "test"}
    some = rows(split=lambda i: given[i // 6 % 3], group=lambda i: f"p{i // 18}" if i < 18 else f"q{i}")
    path = write_list(tmp_path / "list.csv", some)
    shutil.copy(tmp_path / "pictures/30.png", tmp_path / "pictures/36.png")
    text = refused(created(tmp_path, path).fetch)
    assert "  copies of one image in two splits: 1\n    pictures/36.png (train), pictures/30.png (test)" in text
    assert "  groups in two splits: 12\n    group p0: pictures/6.png (valid), pictures/0.png (train)\n" in text


def test_splits_of_a_list_that_lack_classes_are_refused(tmp_path):
    path = write_list(tmp_path / "list.csv", rows(split=lambda i: "test" if i % 5 == 0 else "train"))
    text = refused(created(tmp_path, path).fetch)
    assert "tasks whose splits lack classes: 2\n    one: expected two classes in valid, found none" in text
    other = write_list(tmp_path / "other.csv", rows(split=lambda i: "valid" if i // 2 % 3 == 2 else "train"))
    assert "one: expected all classes in train, found x, y" in refused(created(tmp_path, other).fetch)


def test_classes_whose_groups_are_too_few_are_refused(tmp_path):
    path = write_list(tmp_path / "list.csv", rows(group=lambda i: "same" if i // 2 % 3 == 0 else f"p{i}"))
    text = refused(created(tmp_path, path).fetch)
    assert "classes of fewer than 3 images or groups, one for each split: 2\n    one: x: 15 images in 1 group\n" in text


def test_tasks_of_several_kinds_of_classes(tmp_path):
    some = rows(60, ("cups",)) + [{**row, "task": "sizes", "label": "large" if i % 2 else "small"} for i, row in
                                  enumerate(rows(60, ("cups",)))]  # fmt: skip
    benchmark = prepared(tmp_path, write_list(tmp_path / "list.csv", some))
    assert [(task.name, task.outputs) for task in benchmark.tasks] == [("cups", 3), ("sizes", 2)]
    assert benchmark.heterogeneity == "multi-input task"
    of_file = {}
    for splits in benchmark.manifest.ids.values():
        for split, files in splits.items():
            assert all(of_file.setdefault(file, split) == split for file in files), (
                "an image of two tasks is in one split"
            )


# the manifest


def test_the_manifest_is_the_truth_from_then_on(tmp_path, photos):
    first = prepared(tmp_path, photos)
    path = tmp_path / "mine.splits.json"
    text, written = path.read_text(), path.stat().st_mtime_ns
    again = prepared(tmp_path, photos)
    assert path.stat().st_mtime_ns == written and again.identity == first.identity
    assert json.loads(text)["arrays"]["16"].keys() == {name.removesuffix(".npy") for name in content(first)}
    # another machine: the same arrays of the same manifest, whatever the seed of today's rule would give
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.splits.json").write_text(text)
    elsewhere = prepared(other, photos)
    assert (other / "mine.splits.json").read_text() == text and content(elsewhere) == content(first)


def change_added(photos):
    saved(photos / "indoors/cup/new.png", pixels(900, 0))


def change_removed(photos):
    next((photos / "indoors/hat").iterdir()).unlink()


def change_content(photos):
    saved(photos / "out doors/key/1000.png", pixels(901, 2))


@pytest.mark.parametrize(
    ("change", "what"), [(change_added, "1 added"), (change_removed, "1 removed"), (change_content, "1 changed")]
)
def test_changes_are_one_line_until_the_split_is_renewed(tmp_path, photos, change, what):
    old = prepared(tmp_path, photos)
    change(photos)
    for call in ("fetch", "check_raw"):
        text = refused(getattr(created(tmp_path, photos), call))
        assert text.startswith(f"{photos}: expected the images that the split manifest names, found {what}; to divide")
        assert "\n" not in text and "mola prepare -b image_folder --renew-split" in text
    assert created(tmp_path, photos).identity == old.identity, "what is prepared stays"
    renewed = created(tmp_path, photos)
    renewed.renew_splits()
    renewed.fetch()
    renewed.prepare()
    assert renewed.identity != old.identity
    created(tmp_path, photos).check_raw()
    assert created(tmp_path, photos).splits_sha256 == renewed.splits_sha256 != old.splits_sha256


def test_deleting_the_manifest_renews_too(tmp_path, photos):
    prepared(tmp_path, photos)
    change_added(photos)
    (tmp_path / "mine.splits.json").unlink()
    assert sum(prepared(tmp_path, photos).lengths(s)["indoors"] for s in ("train", "valid", "test")) == 37


def test_a_changed_list_is_noticed(tmp_path):
    def changed(some):
        write_list(tmp_path / "list.csv", some)
        return refused(created(tmp_path, tmp_path / "list.csv").check_raw)

    some = rows(group=lambda i: f"p{i // 6}")
    prepared(tmp_path, write_list(tmp_path / "list.csv", some))
    other = {"x": "y", "y": "z", "z": "x"}
    relabelled = [{**row, "label": other[row["label"]]} if i < 2 else row for i, row in enumerate(some)]
    assert "found 2 with another label or split" in changed(relabelled)
    assert "with other groups" in changed([{**row, "group": "p"} for row in some])
    assert "found 1 removed" in changed(some[1:])
    write_list(tmp_path / "list.csv", some)
    created(tmp_path, tmp_path / "list.csv").check_raw()


def test_other_options_than_the_manifest_has_are_refused(tmp_path, photos):
    prepared(tmp_path, photos)
    for options in ({"seed": 1}, {"split": {"train": 50, "valid": 25, "test": 25}}, {"classes": "per_task"}):
        (key, value), *_ = options.items()
        text = refused(created(tmp_path, photos, **options).fetch)
        assert text.startswith(f"image_folder.{key}: expected ") and "\n" not in text
        assert str(value)[:4] in text and "--renew-split" in text


def test_entries_that_share_a_split_are_divided_anew_together(tmp_path, photos):
    entry = {"benchmark": "image_folder", "root": str(photos), "size": 16}
    suite = {
        "suite": "own", "data": "data", "seeds": 1, "reference": None, "methods": {"shared": None},
        "benchmarks": {"mine": entry, "large": {**entry, "size": 24}, "other": {**entry, "seed": 1}},
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))

    def prepare(*words):
        command = [sys.executable, "-m", "mola.cli", "prepare", "-c", "own.yaml", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    prepare()
    before = [path.read_text() for path in (tmp_path / f"own.{label}.splits.json" for label in ("mine", "other"))]
    change_added(photos)
    output = prepare("-b", "large", "--renew-split")
    assert "mine: divided anew, too, as it shares own.mine.splits.json with large\n" in output
    assert "large: prepared in" in output and "\nmine: prepared in" in output and "other" not in output
    after = [path.read_text() for path in (tmp_path / f"own.{label}.splits.json" for label in ("mine", "other"))]
    assert "indoors/cup/new.png" in after[0] and after[1] == before[1]
    assert set(json.loads(after[0])["arrays"]) == {"16", "24"} and json.loads(after[0])["made_with"].keys() == {
        "numpy",
        "pillow",
    }


@pytest.mark.parametrize("text", ["", "{", "[]", '{"benchmark": "digits"}'])
def test_a_damaged_manifest_is_one_line(tmp_path, photos, text):
    (tmp_path / "mine.splits.json").write_text(text)
    assert "mine.splits.json: expected a split manifest of images, found: " in refused(created, tmp_path, photos)


def test_sizes_and_tasks_share_one_manifest(tmp_path, photos):
    part = prepared(tmp_path, photos, tasks=["out_doors"])
    assert {name.split(".")[0] for name in content(part)} == {"out_doors"}
    assert created(tmp_path, photos).splits_sha256 == "", "the other task is not prepared"
    before = {path.name: path.stat().st_mtime_ns for path in part.folder.glob("*.npy")}
    whole = prepared(tmp_path, photos)
    assert whole.folder == part.folder
    assert before.items() < {path.name: path.stat().st_mtime_ns for path in part.folder.glob("*.npy")}.items()
    large = prepared(tmp_path, photos, size=24)
    assert large.folder != whole.folder and set(large.manifest.arrays) == {"16", "24"}
    assert large.manifest.files == whole.manifest.files
    for old in (part, whole):
        again = created(tmp_path, photos, tasks=[task.name for task in old.tasks])
        assert again.splits_sha256 == old.splits_sha256 and again.arrays


def test_arrays_that_other_software_makes_differently_are_refused(tmp_path, photos):
    prepared(tmp_path, photos)
    path = tmp_path / "mine.splits.json"
    known = json.loads(path.read_text())
    known["arrays"]["16"]["indoors.test.images"] = "0" * 64
    known["made_with"]["pillow"] = "1.0"
    path.write_text(json.dumps(known))
    assert "run `mola prepare -b image_folder`" in refused(lambda: created(tmp_path, photos).arrays)
    text = refused(created(tmp_path, photos).prepare)
    assert "indoors.test.images of 16 pixels: expected sha256 000" in text and "was made with pillow 1.0" in text


def test_a_file_that_changes_while_it_is_prepared_is_noticed(tmp_path, photos):
    benchmark = created(tmp_path, photos)
    benchmark.fetch()
    change_content(photos)
    assert "1000.png: expected the file that was checked" in refused(benchmark.prepare)
    assert not (tmp_path / "mine.splits.json").exists()


# in a suite


@pytest.fixture
def own_suite(tmp_path, photos, suite_file):
    def write(photos=photos, **options):
        entry = {"benchmark": "image_folder", "root": str(photos), "size": 16, **options}
        return load(suite_file(benchmarks={"mine": entry}, data=str(tmp_path / "data"), seeds=1))

    return write


def planned(suite):
    return spec.experiment(suite, next(iter(suite.benchmarks)), "shared")


def test_it_is_trained_and_resumed_with_its_manifest_beside_the_configuration(tmp_path, own_suite, photos):
    torch.set_num_threads(1)
    suite = own_suite()
    experiment = planned(suite)
    write_inputs([experiment])
    assert experiment.fingerprint["manifest"] == "" and experiment.data_identity is None
    data = experiment.data
    data.fetch()
    data.prepare()
    assert (tmp_path / "suite.mine.splits.json").is_file()
    experiment = planned(own_suite())
    assert experiment.fingerprint["manifest"] == data.splits_sha256
    record = run.train(experiment, 0)
    assert record.status == "done" and list(record.test) == ["indoors", "out_doors"]
    assert record.data == data.identity and record.fingerprint.manifest == data.splits_sha256
    assert not {"root", "manifest"} & record.settings["benchmark_options"].keys()
    moved = photos.rename(tmp_path / "elsewhere")
    assert planned(own_suite(moved)).stale(record, 0) is None, "where the images lie is no part of a run"
    assert planned(own_suite(tmp_path / "gone")).stale(record, 0) is None, "nor that they are there at all"
    spec.check_raw(own_suite(moved), ["mine"])
    (tmp_path / "suite.mine.splits.json").rename(tmp_path / "kept.json")
    assert planned(own_suite(moved, manifest=str(tmp_path / "kept.json"))).stale(record, 0) is None
    assert planned(own_suite(moved, manifest=str(tmp_path / "kept.json"), seed=3)).stale(record, 0)


def test_entries_that_are_split_alike_share_a_manifest(suite_file, photos, tmp_path):
    photographs = {"benchmark": "image_folder", "root": str(photos)}
    entries = {
        "mine": photographs,
        "few": {**photographs, "train": 5, "size": 32, "tasks": ["indoors"]},
        "other": {**photographs, "seed": 1},
        "fixed": {**photographs, "manifest": "x.json"},
        "digits": {"limit": 16},
    }
    suite = load(suite_file(benchmarks=entries))
    manifests = {label: entry.options.get("manifest") for label, entry in suite.benchmarks.items()}
    mine, other = (str(tmp_path / f"suite.{name}.splits.json") for name in ("mine", "other"))
    assert manifests == {"mine": mine, "few": mine, "other": other, "fixed": "x.json", "digits": None}


def test_planning_reads_no_pixels_and_imports_no_torch(own_suite, monkeypatch, tmp_path):
    suite = own_suite()
    monkeypatch.setattr("mola.data.prepare.photos.decoded", None)
    monkeypatch.setattr("mola.data.user.inspection._inspected", None)
    assert [task.outputs for task in planned(suite).data.tasks] == [3, 3]
    spec.check_raw(suite, ["mine"])
    assert planned(suite).fingerprint
    code = (
        "import sys, pathlib, mola.config\nfrom mola.experiment import spec\n"
        "suite = mola.config.load(pathlib.Path(sys.argv[1]))\n"
        "spec.check_raw(suite, suite.benchmarks)\n[e.fingerprint for e in spec.experiments(suite)]\n"
        "assert not {'torch', 'PIL', 'pandas', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "suite.yaml")], check=True, cwd=ROOT)


def test_images_are_opened_once(tmp_path, photos, monkeypatch):
    created(tmp_path, photos).fetch()
    opened = []
    from mola.data.user import inspection

    original = inspection._inspected
    monkeypatch.setattr(inspection, "_inspected", lambda path: opened.append(path) or original(path))
    prepared(tmp_path, photos)
    assert opened == []
    change_added(photos)
    refused(created(tmp_path, photos).fetch)
    change_content(photos)
    refused(created(tmp_path, photos).fetch)
    assert [path.name for path in opened] == ["1000.png"], "those that the manifest does not name are not opened"


def test_comparing_results_of_own_images_needs_no_images(own_suite, tmp_path, photos):
    from mola.reporting.results.snapshots import snapshot
    from mola.reporting.tables.compare import compare

    torch.set_num_threads(1)
    suite = own_suite(tasks=["out_doors"])
    planned(suite).data.prepare()
    run.train(planned(own_suite(tasks=["out_doors"])), 0)
    shutil.rmtree(photos)
    one = snapshot(str(suite.folder), suite.folder, drafts=True)
    (table,) = compare(one, one)
    assert table.labels == ("shared",) and "mine: " in table.caption
