import shutil

import miniature_medical
import numpy as np
import pytest
import torch
from PIL import Image

from mola.benchmarks._radimagenet_lists import listed
from mola.benchmarks.radimagenet import RadImageNet
from mola.types import BadInput

SMALL = {"size": 24, "crop": 20}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    return miniature_medical.write_radimagenet(tmp_path_factory.mktemp("radimagenet") / "unpacked", archive=False)


@pytest.fixture
def lists():
    return miniature_medical.radimagenet()


def placed(root, files, **options):
    benchmark = RadImageNet.create(root, **{**SMALL, **options})
    benchmark.place(files)
    benchmark.fetch()
    return benchmark


def refused(call, *args):
    with pytest.raises(BadInput) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def names(benchmark, part):
    return (benchmark.folder / f"{part}.txt").read_text().splitlines()


def test_the_papers_tasks(tmp_path):
    assert [task.outputs for task in RadImageNet.tasks] == [6, 28, 2, 13, 18, 14, 9, 25, 26, 10, 14]
    assert {task.name: task.outputs for task in RadImageNet.tasks} == RadImageNet.create(tmp_path).rule.counts
    assert sum(task.outputs for task in RadImageNet.tasks) == 165 == len(miniature_medical.class_folders())


def test_it_is_asked_for_not_downloaded(tmp_path):
    message = refused(RadImageNet.create(tmp_path).fetch)
    assert message.startswith(
        f"{tmp_path / 'raw' / 'radimagenet' / 'radimagenet.tar.gz'}: expected radimagenet, which is "
    )
    for word in ("https://www.radimagenet.com", "RadiologyAI_{train,val,test}.csv", "mola fetch radimagenet --from"):
        assert word in message


def test_an_archive_and_a_folder_give_the_same(tmp_path, unpacked, lists):
    archive = miniature_medical.write_radimagenet(tmp_path / "archive", archive=True)
    packed, by_hand = placed(tmp_path / "a", archive), placed(tmp_path / "b", unpacked)
    packed.prepare()
    by_hand.prepare()
    assert set(packed.arrays) == set(by_hand.arrays) and len(packed.arrays) == 11 * 3 * 2
    for name, array in packed.arrays.items():
        assert np.array_equal(array, by_hand.arrays[name]), name
    for split, theirs in {"train": "train", "valid": "val", "test": "test"}.items():
        actual = [file for task in packed.tasks for file in names(packed, f"{task.name}.{split}")]
        assert sorted(actual) == sorted(file for file, _ in lists[theirs])


def test_a_label_is_the_rank_of_a_findings_name_in_its_anatomy(tmp_path, unpacked):
    benchmark = placed(tmp_path, unpacked)
    benchmark.prepare()
    where = {"ct_lung": "CT/lung", "mr_ankle_foot": "MR/af", "mr_hip": "MR/hip", "us_thyroid": "US", "us_abdomen": "US"}
    for task, folder in where.items():
        findings = [f.rpartition("/")[2] for f in miniature_medical.class_folders() if f.rpartition("/")[0] == folder]
        if folder == "US":
            findings = [finding for finding in findings if ("thyroid" in finding) == (task == "us_thyroid")]
        for split in ("train", "valid", "test"):
            labels = benchmark.arrays[f"{task}.{split}.labels"]
            files = names(benchmark, f"{task}.{split}")
            assert [sorted(findings)[label] for label in labels] == [file.split("/")[-2] for file in files]
            assert all(file.startswith(f"radiology_ai/{folder}/") for file in files)
            assert labels[: len(findings)].tolist() == list(range(len(findings)))  # a prefix holds every class


def test_pixels_are_the_files_and_only_ultrasound_has_colours(tmp_path, unpacked):
    root = tmp_path / "files"
    shutil.copytree(unpacked, root)
    colours = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    images = {"radiology_ai/US/liver": colours, "radiology_ai/MR/hip/pathology_03": colours[:, :, 0]}
    for folder, pixels in images.items():
        for file in (root / folder).iterdir():
            Image.fromarray(pixels).save(file)
    benchmark = placed(tmp_path, root)
    benchmark.prepare()
    for task, folder in (("us_abdomen", "radiology_ai/US/liver"), ("mr_hip", "radiology_ai/MR/hip/pathology_03")):
        files = names(benchmark, f"{task}.test")
        row = next(i for i, file in enumerate(files) if file.startswith(folder + "/"))
        stored = benchmark.arrays[f"{task}.test.images"][row]
        assert stored.shape == (24, 24, 3 if task == "us_abdomen" else 1)
        assert np.array_equal(stored.squeeze(), images[folder])


def test_the_papers_split_selects_on_the_reported_images(tmp_path, unpacked):
    benchmark = placed(tmp_path, unpacked, split="paper")
    benchmark.prepare()
    for task in benchmark.tasks:
        valid, test = (benchmark.arrays[f"{task.name}.{split}.images"] for split in ("valid", "test"))
        assert np.array_equal(valid, test) and benchmark.lengths("valid") == benchmark.lengths("test")
        assert not set(names(benchmark, f"{task.name}.train")) & set(names(benchmark, f"{task.name}.test"))
    assert not list(benchmark.folder.glob("*.valid.*"))  # not decoded and stored twice
    assert any("selected on the reported split" in line for line in benchmark.remarks())


def test_a_model_sees_the_middle_of_an_evaluated_image(tmp_path):
    benchmark = RadImageNet.create(tmp_path)
    x = torch.randint(0, 256, (2, 3, 256, 256), dtype=torch.uint8)
    actual = benchmark.normalised(x)
    assert actual.shape == (2, 3, 224, 224) and actual.is_contiguous()
    assert torch.equal(actual, benchmark.normalised(x[:, :, 16:240, 16:240]))  # as a training crop would come out
    assert "crop: expected at most size, 200, found 224" in refused(lambda: RadImageNet.create(tmp_path, size=200))


def test_training_crops_have_the_models_size(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 1), dtype=np.uint8)
    uniform = np.random.default_rng(1).random((40, RadImageNet.draws), dtype=np.float32)
    actual = RadImageNet.create(tmp_path, size=64, crop=48).augmented(images.copy(), uniform)
    assert actual.shape[:3] == (40, 48, 48)
    other = uniform.copy()
    other[:, 4] = (uniform[:, 4] + 0.5) % 1  # the flip's number
    again = RadImageNet.create(tmp_path, size=64, crop=48).augmented(images.copy(), other)
    assert np.array_equal(actual, again[:, :, ::-1])


@pytest.mark.parametrize("where", ["in", "beside"])
def test_the_lists_may_lie_in_the_images_folder_or_beside_it(tmp_path, unpacked, lists, where):
    shutil.copytree(unpacked / "radiology_ai", tmp_path / "own" / "radiology_ai")
    folder = tmp_path / "own" / "radiology_ai" if where == "in" else tmp_path / "own"
    miniature_medical.write_csvs(folder, lists)
    benchmark = placed(tmp_path, folder)
    benchmark.prepare()
    assert benchmark.lengths("test")["us_thyroid"] == 24


def test_a_part_of_it_may_be_placed_alone(tmp_path, unpacked):
    benchmark = RadImageNet.create(tmp_path, **SMALL)
    for name in miniature_medical.SPLITS:
        benchmark.place(unpacked / f"RadiologyAI_{name}.csv")
    assert "radimagenet.tar.gz: expected radimagenet, which is given on request" in refused(benchmark.fetch)
    benchmark.place(unpacked / "radiology_ai")
    benchmark.fetch()
    assert "RadiologyAI_train.csv or" in refused(benchmark.place, miniature_medical.__file__)


def written(root, unpacked, lists):
    """A folder with other lists beside the images, which are links."""
    root.mkdir()
    (root / "radiology_ai").symlink_to(unpacked / "radiology_ai")
    miniature_medical.write_csvs(root, lists)
    return root


def test_images_that_no_list_names_are_told(tmp_path, unpacked, lists, capsys):
    (left, _), *lists["train"] = lists["train"]
    placed(tmp_path / "own", written(tmp_path / "files", unpacked, lists))
    message = f"radimagenet: 1 images that no list names are left out; the first is {left}"
    assert message in capsys.readouterr().err


def test_wrong_lists_are_told_in_one_line(tmp_path, unpacked, lists):
    def message(name, **changes):
        return refused(placed, tmp_path / f"root-{name}", written(tmp_path / name, unpacked, {**lists, **changes}))

    row = ("radiology_ai/CT/lung/Nodule/lung999999.png", "lung-Nodule")
    assert message("a", val=[*lists["val"], row]).endswith(
        "CT/lung/Nodule: expected all 5 images that a list names, found 4; the first missing is lung999999.png"
    )
    twice = lists["train"][0]
    assert message("b", test=[*lists["test"], twice]) == f"{twice[0]}: expected in one list, found in train and in test"
    fewer = {split: [r for r in rows if "thyroid_nodule" not in r[0]] for split, rows in lists.items()}
    assert message("d", **fewer).endswith("us_thyroid: expected 2 findings, found 1: thyroid")
    without = [r for r in lists["val"] if "/MR/brain/" not in r[0]]
    assert message("e", val=without).endswith("RadiologyAI_val.csv: expected images of mr_brain, found none")


@pytest.mark.parametrize(
    "name",
    [
        "radiology_ai/MR/elbow/normal/e1.png",
        "radiology_ai/MR/knee-hip/normal/e1.png",
        "radiology_ai/MR/knee/k1.png",
        "radiology_ai/US/abdomen/liver/u1.png",
        "radiology_ai/XR/lung/normal/x1.png",
        "radiology_ai/MR/knee/../k1.png",
        "/radiology_ai/US/liver/u1.png",
        "lung1.png",
        "",
    ],
)
def test_images_elsewhere_are_told_in_one_line(tmp_path, name):
    (tmp_path / "list.csv").write_text(f"label,filename\nx,radiology_ai/US/liver/u1.png\nx,{name}\n")
    message = refused(listed, tmp_path / "list.csv")
    assert message.startswith(
        f"{tmp_path / 'list.csv'}: expected images of the 11 anatomies as radiology_ai/<CT or MR>/"
    )
    assert message.endswith(f", found '{name}'")


def test_lists_that_are_none_are_told_in_one_line(tmp_path, unpacked):
    for name, content, expected in (
        ("columns", b"path,label\na,b\n", "expected a column 'filename', found path, label"),
        ("empty", b"", "found an empty file"),
        ("binary", b"filename,label\n\xff\xfe,x\n", "expected a list of images, found: 'utf-8' codec"),
    ):
        folder = written(tmp_path / name, unpacked, miniature_medical.radimagenet())
        (folder / "RadiologyAI_val.csv").write_bytes(content)
        assert expected in refused(placed, tmp_path / f"root-{name}", folder)


def test_an_unreadable_image_is_told_and_the_rest_kept(tmp_path, unpacked):
    root = tmp_path / "files"
    shutil.copytree(unpacked, root)
    broken = next((root / "radiology_ai" / "MR" / "hip" / "pathology_13").iterdir())
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    benchmark = placed(tmp_path, root)
    assert refused(benchmark.prepare).startswith(f"{broken}: expected an image, found ")
    done = {path: path.stat().st_mtime_ns for path in benchmark.folder.glob("*.npy")}
    broken.write_bytes(whole)
    benchmark.prepare()
    assert len(done) > 50 and all(path.stat().st_mtime_ns == time for path, time in done.items())
