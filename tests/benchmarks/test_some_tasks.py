"""``tasks: […]``: a part of a benchmark is the whole one without the other tasks, and needs none of their data."""

import json
import shutil

import archives
import miniature_medical
import numpy as np
import pytest
import torch

from mola import registry
from mola.benchmarks._single_input import SingleInput
from mola.config import load
from mola.experiment import run, spec
from mola.types import BadInput


@pytest.fixture(params=registry.names("benchmarks"))
def benchmark_(request, data_root):
    return archives.benchmark(request.param, data_root)


def part(benchmark, tasks, **options):
    return archives.benchmark(benchmark.name, benchmark.folder.parent, tasks=tasks, **options)


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}


def refused(call, *args, **options):
    with pytest.raises(BadInput) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_it_is_the_whole_without_the_other_tasks(benchmark_):
    names = [task.name for task in benchmark_.tasks[:-3:-1]]
    some = part(benchmark_, names)
    assert [task.name for task in some.tasks] == names, "in the order that is given"
    assert set(some.tasks) <= set(benchmark_.tasks) and some.folder == benchmark_.folder
    assert set(some.arrays) <= set(benchmark_.arrays)
    assert {key.partition(".")[0] for key in some.arrays} == set(some.groups)
    for split in ("train", "valid", "test"):
        assert some.sizes(split) == {name: benchmark_.sizes(split)[name] for name in names}

    def samples(benchmark, split):
        drawn = {}
        for batch in benchmark.batches(split, size=64, seed=0, epoch=0, sampling="proportional"):
            assert batch.tasks == tuple(task.name for task in benchmark.tasks)
            for name in set(batch.y) & set(names):
                for x, y in zip(batch.x[batch.rows(name)], batch.y[name], strict=True):
                    drawn.setdefault(name, set()).add((x.numpy().tobytes(), y.numpy().tobytes()))
        return drawn

    assert samples(some, "valid") == samples(benchmark_, "valid")
    ours, whole = samples(some, "train"), samples(benchmark_, "train")
    for name in names:
        # whole batches: a few samples wait for another epoch
        assert len(ours[name] & whole[name]) > len(ours[name]) // 3
    assert set(next(iter(some.batches("train", size=8, seed=0, epoch=0))).y) == set(names)


def test_the_identity_is_that_of_the_chosen_arrays(benchmark_):
    every = [task.name for task in benchmark_.tasks]
    assert part(benchmark_, every).identity == benchmark_.identity == part(benchmark_, every[::-1]).identity
    same = part(benchmark_, every[:1]).identity == benchmark_.identity
    assert same == isinstance(benchmark_, SingleInput), "there every image has every task"


def test_wrong_names_are_one_line(benchmark_):
    first, second = (task.name for task in benchmark_.tasks[:2])
    message = refused(part, benchmark_, [first, second[:-1] + "#"])
    assert f"{benchmark_.name}.tasks: '{second[:-1]}#' is no task of it, did you mean '" in message
    assert message.endswith(", ".join(task.name for task in benchmark_.tasks))
    assert refused(part, benchmark_, [first, second, first]).endswith(f"every task once, found '{first}' twice")
    assert "found an empty list" in refused(part, benchmark_, [])


TWO = ["pneumoniamnist", "bloodmnist"]


@pytest.fixture(scope="module")
def medmnist_files(tmp_path_factory):
    return miniature_medical.write_medmnist(tmp_path_factory.mktemp("medmnist"))


def test_only_its_files_are_needed(tmp_path, medmnist_files):
    few = tmp_path / "few"
    few.mkdir()
    for name in TWO:
        shutil.copy(medmnist_files / f"{name}.npz", few)
    some = archives.benchmark("medmnist", tmp_path / "data", tasks=TWO)
    assert {source.name for source in some.sources} == set(TWO)
    some.place(few)
    some.fetch()
    folder = some.prepare()
    assert {path.name.partition(".")[0] for path in folder.glob("*.npy")} == set(TWO)
    labels = miniature_medical.medmnist("bloodmnist")["test_labels"][:, 0]
    assert np.array_equal(some.arrays["bloodmnist.test.labels"], labels)
    whole = archives.benchmark("medmnist", tmp_path / "data")
    assert "expected prepared arrays, found some of them" in refused(lambda: whole.arrays)
    assert "octmnist" in refused(archives.benchmark("medmnist", tmp_path / "data", tasks=["octmnist"]).prepare)


def test_the_whole_and_its_parts_share_their_arrays(tmp_path, medmnist_files):
    def placed(root, **options):
        benchmark = archives.benchmark("medmnist", tmp_path / root, **options)
        benchmark.place(medmnist_files)
        return benchmark

    one, other, whole = (placed("data", **o) for o in ({"tasks": TWO}, {"tasks": ["octmnist"]}, {}))
    folder = one.prepare()
    before = files(folder)
    other.prepare()
    assert before.items() < files(folder).items() and len(files(folder)) == 3 * 3 * 2
    assert archives.benchmark("medmnist", tmp_path / "data", tasks=TWO).arrays
    before = files(folder)
    whole.prepare()
    assert before.items() < files(folder).items() and len(files(folder)) == 9 * 3 * 2
    alone = placed("alone")
    alone.prepare()
    assert alone.identity == whole.identity, "however it came together"
    before = files(folder)
    archives.benchmark("medmnist", tmp_path / "data", tasks=TWO).prepare()
    assert files(folder) == before
    assert json.loads((folder / "manifest.json").read_text())["complete"]


def test_other_raw_data_make_no_old_array_count(tmp_path):
    def pacs(**options):
        return archives.benchmark("pacs", tmp_path / "data", **options)

    pacs().place(archives.zipped(tmp_path / "PACS.zip", archives.pacs_files()))
    pacs().prepare()
    some = pacs(tasks=["sketch", "photo"])
    some.place(archives.zipped(tmp_path / "larger.zip", archives.pacs_files(14)))
    some.prepare()
    assert some.lengths("train")["photo"] == 7 * (14 * 60 // 100)
    assert "expected prepared arrays, found some of them" in refused(lambda: pacs().arrays)
    pacs().prepare()
    assert len({len(array) for key, array in pacs().arrays.items() if key.endswith("train.labels")}) == 1


def test_domains_that_are_not_chosen_may_be_missing(tmp_path):
    content = [(name, c) for name, c in archives.pacs_files() if "/photo/" in name or "/cartoon/" in name]
    benchmark = archives.benchmark("pacs", tmp_path / "data", tasks=["cartoon", "photo"])
    benchmark.place(archives.unpacked(tmp_path / "by hand", content))
    benchmark.prepare()
    assert list(benchmark.lengths("test")) == ["cartoon", "photo"]
    whole = archives.benchmark("pacs", tmp_path / "data")
    assert "expected a folder of domain 'art_painting'" in refused(whole.prepare)


def test_the_papers_split_of_officehome_is_that_of_all_domains(tmp_path, data_root):
    archive = archives.BUILDERS["officehome"](tmp_path)
    listed = {}
    for tasks in (None, ["art", "product"]):
        benchmark = archives.benchmark("officehome", tmp_path / str(tasks), split="paper", tasks=tasks)
        benchmark.place(archive)
        folder = benchmark.prepare()
        listed[bool(tasks)] = {path.name: path.read_text() for path in folder.glob("*.txt")}
    assert listed[True].items() < listed[False].items()


@pytest.mark.parametrize("tasks", [["printed", "mnist"], ["optdigits"]])
def test_a_part_is_trained_and_recorded(suite_file, tasks):
    torch.set_num_threads(1)
    suite = load(suite_file(benchmarks={"digits": {"limit": 16, "tasks": tasks}}, methods={"mola_grad": None}))
    experiment = spec.experiment(suite, "digits", "mola_grad")
    record = run.train(experiment, 0)
    assert record.status == "done" and list(record.test) == tasks
    assert record.settings["benchmark_options"]["tasks"] == tasks


def test_chosen_targets_of_scenes_are_trained(suite_file):
    torch.set_num_threads(1)
    entry = {
        "limit": 8,
        "tasks": ["normals", "depth"],
        "backbone": {"options": {"output_stride": 8}, "head_width": 8},
    }
    suite = load(suite_file(benchmarks={"scenes": entry}, training={"epochs": 1, "batch_size": 4}))
    assert list(run.train(spec.experiment(suite, "scenes", "shared"), 0).test) == ["normals", "depth"]


def test_all_tasks_are_what_they_were(suite_file):
    def planned(**options):
        return spec.experiment(load(suite_file(benchmarks={"digits": {"limit": 16, **options}})), "digits", "shared")

    plain, spelt, some = planned(), planned(tasks=None), planned(tasks=["mnist", "printed"])
    assert plain.fingerprint == spelt.fingerprint
    assert "tasks" not in spec.plain(plain.settings)["benchmark_options"]
    assert some.fingerprint["settings"] != plain.fingerprint["settings"]
    assert refused(planned, tasks=["minst"]).startswith("digits.tasks: 'minst' is no task of it, did you mean 'mnist'?")
