"""Every kind of file becomes the picture that it is meant to show."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from mola.data.prepare import photos
from mola.types import BadInput

COLOURS = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]


def encoded(image, form, **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def decoded(array, form="PNG", mode=None, **options):
    image = Image.fromarray(array) if isinstance(array, np.ndarray) else array
    return np.asarray(photos.decoded(encoded(image.convert(mode) if mode else image, form, **options)))


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("BMP", {})])
def test_colours_stay(form, options):
    assert np.array_equal(decoded(COLOURS, form, **options), COLOURS)


def test_a_jpeg_is_near():
    smooth = np.asarray(Image.fromarray(COLOURS).resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(decoded(smooth, "JPEG", quality=95).astype(int) - smooth).mean() < 8


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "GIF", "WEBP"])
def test_grey_has_three_equal_channels(form):
    result = decoded(GREY, form, **({"lossless": True} if form == "WEBP" else {}))
    assert result.shape == (8, 12, 3) and np.array_equal(result, np.repeat(GREY[..., None], 3, 2))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_become_8_by_their_upper_half(form):
    deep = GREY.astype(np.uint16) * 256 + 200
    assert np.array_equal(decoded(deep, form)[..., 1], GREY)


def test_black_and_white_has_no_values_between():
    assert set(np.unique(decoded(GREY, "PNG", "1"))) == {0, 255}


def test_cmyk_is_near_its_colours():
    smooth = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    for form in ("JPEG", "TIFF"):
        assert np.abs(decoded(smooth, form, "CMYK").astype(int) - smooth).max() < 12


def test_a_palette_keeps_its_colours():
    few = np.random.default_rng(1).integers(0, 2, (8, 12, 3), dtype=np.uint8) * 255
    palette = Image.fromarray(few).quantize(8)
    for form in ("PNG", "GIF"):
        assert np.array_equal(decoded(palette, form), few)


def test_what_is_transparent_lies_on_white():
    alpha = np.zeros((8, 12, 1), np.uint8)
    alpha[:, 6:] = 255
    for result in (
        decoded(np.concatenate([COLOURS, alpha], 2)),
        decoded(np.concatenate([COLOURS, alpha], 2), "WEBP", lossless=True, exact=True),
    ):
        assert (result[:, :6] == 255).all() and np.array_equal(result[:, 6:], COLOURS[:, 6:])
    half = decoded(np.concatenate([np.zeros((8, 12, 3), np.uint8), np.full((8, 12, 1), 128, np.uint8)], 2))
    assert abs(int(half[0, 0, 0]) - 127) <= 1
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert (decoded(palette, "PNG", transparency=1) == 255).all()
    assert (decoded(palette, "PNG", transparency=0) == (0, 0, 255)).all()


def test_a_rotation_in_the_metadata_is_applied():
    for form, options in (("JPEG", {"quality": 100, "subsampling": 0}), ("PNG", {}), ("TIFF", {})):
        exif = Image.Exif()
        exif[0x0112] = 6
        plain, turned = decoded(COLOURS, form, **options), decoded(COLOURS, form, exif=exif, **options)
        assert turned.shape == (12, 8, 3) and np.array_equal(turned, np.rot90(plain, -1)), form


def test_of_frames_and_pages_the_first_counts():
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    for form in ("GIF", "TIFF"):
        assert np.array_equal(decoded(first, form, save_all=True, append_images=[second])[..., 0], GREY)


@pytest.mark.parametrize("array", [GREY.astype(np.float32), GREY.astype(np.int32)])
def test_32_bits_a_channel_are_refused(array):
    with pytest.raises(ValueError, match=r"32 bits a channel, mode [FI]; 8 or 16 can be read"):
        decoded(array, "TIFF")


def test_the_file_has_to_be_the_one_that_was_checked(tmp_path):
    content = encoded(Image.fromarray(COLOURS), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    assert photos.read(path, 8, sha256).shape == (8, 8, 3)
    assert np.array_equal(photos.read(path, 8, sha256), COLOURS[:, 2:10])
    path.write_bytes(encoded(Image.fromarray(COLOURS[::-1]), "PNG"))
    with pytest.raises(BadInput, match=r"a\.png: expected the file that was checked, sha256"):
        photos.read(path, 8, sha256)
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="found an empty file"):
        photos.read(path, 8, hashlib.sha256(b"").hexdigest())
