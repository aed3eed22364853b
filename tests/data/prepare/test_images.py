import io
import warnings

import numpy as np
import pytest
from PIL import Image

from mola.data.prepare import images
from mola.types import BadInput


def save(folder, name, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(folder / name, **options)
    return name


def noise(height, width, seed=0, shape=(3,)):
    return np.random.default_rng(seed).integers(0, 256, (height, width, *shape), dtype=np.uint8)


def test_order_and_pixels_are_those_of_the_files(tmp_path):
    arrays = [noise(8, 8, seed) for seed in range(100)]
    files = [save(tmp_path, f"{i}.png", array) for i, array in enumerate(arrays)]
    blocks = list(images.decoded(tmp_path, files, 8))
    assert len(blocks) > 2 and np.array_equal(np.concatenate(blocks), np.stack(arrays))
    assert list(images.decoded(tmp_path, [], 8)) == []


def test_the_square_in_the_middle_is_kept(tmp_path):
    array = np.zeros((20, 60, 3), dtype=np.uint8)
    array[:, 20:40] = 200
    for name, pixels in (("wide.png", array), ("high.png", array.transpose(1, 0, 2))):
        save(tmp_path, name, pixels)
        assert (images.read(tmp_path / name, 20) == 200).all()
        assert images.read(tmp_path / name, 10).shape == (10, 10, 3)
        assert images.read(tmp_path / name, 32).shape == (32, 32, 3)


def test_many_kinds_of_files_become_rgb(tmp_path):
    grey, colour = noise(9, 9, shape=()), noise(9, 9)
    for name, mode in (("l.png", "L"), ("p.png", "P"), ("la.png", "LA"), ("rgba.png", "RGBA"), ("bit.png", "1")):
        save(tmp_path, name, colour, mode)
        assert images.read(tmp_path / name, 9).shape == (9, 9, 3)
    for name, mode in (("l.jpg", "L"), ("cmyk.jpg", "CMYK")):
        save(tmp_path, name, colour, mode)
        assert images.read(tmp_path / name, 9).shape == (9, 9, 3)
    save(tmp_path, "grey.png", grey)
    assert np.array_equal(images.read(tmp_path / "grey.png", 9), np.repeat(grey[..., None], 3, 2))
    save(tmp_path, "deep.png", grey.astype(np.uint16) * 257)
    assert np.array_equal(images.read(tmp_path / "deep.png", 9), np.repeat(grey[..., None], 3, 2))


def test_warnings_of_odd_metadata_are_left_out_in_all_threads(tmp_path):
    for i in range(200):
        save(tmp_path, f"{i}.png", noise(4, 4, i), "P", transparency=bytes(range(8)))  # Pillow warns of this palette
    with pytest.warns(UserWarning, match="Palette images with Transparency"):
        images.read(tmp_path / "0.png", 4)
    with warnings.catch_warnings(record=True) as message:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        assert sum(map(len, images.decoded(tmp_path, [f"{i}.png" for i in range(200)], 4))) == 200
        assert message == [] and warnings.filters == before


def test_a_rotation_in_the_metadata_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path, "turned.jpg", noise(16, 16), exif=exif)
    save(tmp_path, "plain.jpg", noise(16, 16))
    assert np.array_equal(images.read(tmp_path / "turned.jpg", 16), images.read(tmp_path / "plain.jpg", 16))


def jpeg():
    content = io.BytesIO()
    Image.fromarray(noise(40, 40)).save(content, "JPEG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"<html>", r"found 6 bytes that can't be read \(cannot identify image file\)"),
        (jpeg()[:1000], r"found 1000 bytes that can't be read \(image file is truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), r"found 58 bytes that can't be read"),
    ],
)
def test_an_unreadable_image_is_named(tmp_path, content, message):
    save(tmp_path, "a.png", noise(4, 4))
    (tmp_path / "b.jpg").write_bytes(content)
    with pytest.raises(BadInput, match=rf"b\.jpg: expected an image, {message}") as caught:
        list(images.decoded(tmp_path, ["a.png", "b.jpg"], 4))
    assert "\n" not in str(caught.value)


def test_a_file_that_vanished_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"gone\.png: expected an image, found: No such file"):
        images.read(tmp_path / "gone.png", 4)


def test_only_images_are_listed(tmp_path):
    for name in ("a.jpg", "b.JPEG", "c.Png", ".hidden.jpg", "._a.jpg", "Thumbs.db", "list.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    assert sorted(images.files(tmp_path)) == ["a.jpg", "b.JPEG", "c.Png"]


def test_a_recipe_has_images_and_labels_from_any_row_on(tmp_path):
    items = [(save(tmp_path, f"{i}.png", noise(4, 4, i)), i % 3) for i in range(70)]
    part = images.recipe(tmp_path, items, 4, "source", {"x": 70})
    for start in (0, 1, 64, 70):
        blocks = list(part.blocks(start))
        assert sum(len(block["labels"]) for block in blocks) == 70 - start
        assert [int(label) for block in blocks for label in block["labels"]] == [label for _, label in items[start:]]
        if blocks:
            assert np.array_equal(blocks[0]["images"][0], noise(4, 4, start))
    other = [*items[:-1], (items[-1][0], 2)]
    keys = {
        images.recipe(tmp_path, *given, {}).key
        for given in ((items, 4, "a"), (items, 5, "a"), (items, 4, "b"), (other, 4, "a"))
    }
    assert len(keys) == 4
