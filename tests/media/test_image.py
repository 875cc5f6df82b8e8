"""Still images come upright, in RGB and in sRGB, or are refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from animate.errors import MediaError
from animate.media import read_image, write_png


@pytest.fixture
def picture() -> np.ndarray:
    x, y = np.meshgrid(np.arange(60), np.arange(40))
    return np.stack([x * 4, y * 6, 255 - x * 2 - y], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "bmp"])
def test_lossless_formats(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    PIL.Image.fromarray(picture).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = read_image(path)
    assert np.array_equal(read, picture)
    assert (read.dtype, read.flags.c_contiguous) == (np.uint8, True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, picture: np.ndarray, orientation: int) -> None:
    stored = {  # how a camera that writes this tag holds the picture
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: np.rot90(picture.transpose(1, 0, 2), 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)


def test_grey_and_sixteen_bits(tmp_path: Path) -> None:
    grey = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    PIL.Image.fromarray(grey).save(tmp_path / "8.png")
    PIL.Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    PIL.Image.fromarray(grey > 127).save(tmp_path / "1.png")
    expected = np.repeat(grey[..., None], 3, -1)
    assert np.array_equal(read_image(tmp_path / "8.png"), expected)
    assert np.array_equal(read_image(tmp_path / "16.png"), expected)
    assert np.array_equal(read_image(tmp_path / "1.png"), np.where(expected > 127, 255, 0))


def test_sixteen_bit_colour(tmp_path: Path, picture: np.ndarray) -> None:
    write_png(tmp_path / "a.png", picture.astype(np.uint16) * 257)
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - picture).max() <= 1


def test_transparent_pixels_are_laid_over_white(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = np.full((40, 60, 1), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:40] = 0, 128
    PIL.Image.fromarray(np.concatenate([picture, alpha], -1)).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png").astype(int)
    assert (read[:, :20] == 255).all()
    assert np.abs(read[:, 20:40] - (picture[:, 20:40] * 128.0 + 255 * 127) / 255).max() <= 1
    assert np.array_equal(read[:, 40:], picture[:, 40:])


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    image = PIL.Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=1)
    assert read_image(tmp_path / "a.png")[0, 1].tolist() == [0, 255, 0]
    assert read_image(tmp_path / "b.png")[0, 1].tolist() == [255, 255, 255]
    assert read_image(tmp_path / "b.png")[0, 0].tolist() == [255, 0, 0]


def test_cmyk(tmp_path: Path) -> None:
    PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (255, 0, 0)).max() <= 4


def test_colour_profiles_are_applied(tmp_path: Path) -> None:
    lab = PIL.ImageCms.createProfile("LAB")
    srgb = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    image = PIL.Image.new("RGB", (8, 8), (200, 100, 50))
    image.save(tmp_path / "same.png", icc_profile=srgb)
    assert np.abs(read_image(tmp_path / "same.png").astype(int) - (200, 100, 50)).max() <= 1
    image.save(tmp_path / "broken.png", icc_profile=b"not a profile")
    assert read_image(tmp_path / "broken.png")[0, 0].tolist() == [200, 100, 50]
    wrong = PIL.ImageCms.ImageCmsProfile(lab).tobytes()  # of another kind than the pixels
    image.save(tmp_path / "wrong.png", icc_profile=wrong)
    assert read_image(tmp_path / "wrong.png")[0, 0].tolist() == [200, 100, 50]


def test_the_first_picture_of_an_animation(tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_what_is_no_image_is_named(tmp_path: Path, picture: np.ndarray, plain: Path) -> None:
    (tmp_path / "words.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for suffix in ("png", "jpg", "webp", "tiff", "gif"):
        whole = tmp_path / f"whole.{suffix}"
        PIL.Image.fromarray(picture).save(whole)
        (tmp_path / f"cut.{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    PIL.Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "float.tiff")
    for path, words in (
        (tmp_path / "words.png", "is not an image"),
        (tmp_path / "empty.png", "is empty"),
        (tmp_path / "missing.png", "does not exist"),
        (tmp_path, "is a folder"),
        (plain, "is not an image"),
        (tmp_path / "cut.png", "damaged or cut off"),
        (tmp_path / "cut.jpg", "damaged or cut off"),
        (tmp_path / "cut.webp", "damaged or cut off|not an image"),
        (tmp_path / "cut.tiff", "damaged or cut off|not an image"),
        (tmp_path / "cut.gif", "damaged or cut off"),
        (tmp_path / "float.tiff", "no agreed range"),
    ):
        with pytest.raises(MediaError, match=words) as caught:
            read_image(path)
        assert str(path) in str(caught.value)


def test_damaged_images_never_raise_anything_else(tmp_path: Path, picture: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    for suffix in ("png", "jpg", "webp", "tiff", "gif", "bmp"):
        whole = tmp_path / f"whole.{suffix}"
        PIL.Image.fromarray(picture).save(whole)
        for _ in range(60):
            data = bytearray(whole.read_bytes())
            for place in rng.integers(0, len(data), 4):
                data[place] ^= 1 << rng.integers(0, 8)
            (tmp_path / f"bad.{suffix}").write_bytes(data)
            try:
                read = read_image(tmp_path / f"bad.{suffix}")
            except MediaError:
                continue
            assert read.dtype == np.uint8
            assert read.shape[2] == 3


def test_too_large_pictures_are_refused(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    for side in (13_000, 60_000):  # written into the header, with its checksum
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(MediaError, match=r"a\.png is too large"):
            read_image(tmp_path / "a.png")


def test_writing_png(tmp_path: Path, picture: np.ndarray) -> None:
    write_png(tmp_path / "a.png", picture, text={"comment": "a mélange"})
    with PIL.Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), picture)
        assert image.info["comment"] == "a mélange"
    write_png(tmp_path / "grey.png", picture[..., 0])
    assert np.array_equal(read_image(tmp_path / "grey.png")[..., 1], picture[..., 0])
    with pytest.raises(MediaError, match="cannot be written"):
        write_png(tmp_path / "no" / "a.png", picture)


def test_one_odd_exif_value_does_not_refuse_a_photo(tmp_path: Path, picture: np.ndarray) -> None:
    """The orientation is read and the pixels turned; the tags are not written again."""
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    odd = struct.pack("<HHIi", 0x9204, 9, 1, -1)  # exposure bias, stored as no fraction
    tags = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + odd + bytes(4)
    stored = PIL.Image.fromarray(np.ascontiguousarray(np.rot90(picture, 1)))
    stored.save(tmp_path / "a.jpg", quality=95, exif=tags)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).mean() < 6


@pytest.mark.parametrize(
    ("kind", "count", "value"), [(1, 1, b"\6"), (3, 2, b"\6\0\6\0"), (4, 1, b"\6")]
)
def test_an_orientation_of_an_odd_type_is_read(
    tmp_path: Path, picture: np.ndarray, kind: int, count: int, value: bytes
) -> None:
    tag = struct.pack("<HHI4s", 0x0112, kind, count, value)
    tags = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    stored = PIL.Image.fromarray(np.ascontiguousarray(np.rot90(picture, 1)))
    stored.save(tmp_path / "a.jpg", quality=95, exif=tags)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture).mean() < 6


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_read_and_one_without_pixels_is_not(
    tmp_path: Path, picture: np.ndarray, progressive: bool
) -> None:
    whole = tmp_path / "whole.jpg"
    PIL.Image.fromarray(picture).save(whole, quality=95, progressive=progressive)
    data = whole.read_bytes()
    expected = read_image(whole)
    for missing in (1, 2):
        (tmp_path / "short.jpg").write_bytes(data[:-missing])
        told: list[str] = []
        assert np.array_equal(read_image(tmp_path / "short.jpg", warn=told.append), expected)
        assert told == [
            f"image {tmp_path / 'short.jpg'} lacks its end, but all of its pixels are there"
        ]
    for missing in (12, 100, len(data) // 2):
        (tmp_path / "short.jpg").write_bytes(data[:-missing])
        with pytest.raises(MediaError, match="damaged or cut off"):
            read_image(tmp_path / "short.jpg")


def test_heic_is_read_with_its_extra_and_named_without(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    import pillow_heif

    path = tmp_path / "photo.heic"
    pillow_heif.from_bytes("RGB", (60, 40), picture.tobytes()).save(path, quality=95)
    assert np.abs(read_image(path).astype(int) - picture).mean() < 8
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaError, match=r"is a HEIC picture; install the extra .*\[heif\]"):
        read_image(path)


def test_avif_is_read(tmp_path: Path, picture: np.ndarray) -> None:
    PIL.Image.fromarray(picture).save(tmp_path / "a.avif", quality=95)
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - picture).mean() < 8


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_floating_point_pixels_get_one_message(tmp_path: Path, shape: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "float.tiff"), np.ones(shape, np.float32))
    with pytest.raises(MediaError) as caught:
        read_image(tmp_path / "float.tiff")
    assert "save it with 8 or 16 bits" in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.eps", "a.png"])
def test_no_picture_starts_a_program(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", None)  # whoever calls it fails loudly
    monkeypatch.setattr(subprocess, "check_call", None)
    (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(MediaError, match="is not an image that is read here; give PNG"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint32", "float16", "float64"])
def test_numbers_without_an_agreed_range_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.tiff"
    samples = np.arange(64, dtype=kind).reshape(8, 8)
    path.write_bytes(small_tiff(samples))
    with pytest.raises(MediaError, match="save it with 8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_whole_numbers_of_usual_tiffs_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "grey.tiff"
    scale = np.iinfo(kind).max // 255
    path.write_bytes(small_tiff((np.arange(64) * scale).astype(kind).reshape(8, 8)))
    assert read_image(path)[..., 1].ravel().tolist() == list(range(64))


def test_deep_colours_that_lie_apart_are_refused(tmp_path: Path) -> None:
    """The library would show them as stripes."""
    path = tmp_path / "planes.tiff"
    path.write_bytes(small_tiff(np.zeros((3, 8, 8), np.uint16)))
    with pytest.raises(MediaError, match="apart from each other"):
        read_image(path)


def small_tiff(samples: np.ndarray) -> bytes:
    """An uncompressed TIFF of (height, width), or (colours, height, width) stored apart."""
    *planes, height, width = samples.shape
    colours = planes[0] if planes else 1
    bits = samples.dtype.itemsize * 8
    entries = 11
    behind = 8 + 2 + 12 * entries + 4
    lists = struct.pack(f"<{colours}H", *[bits] * colours)
    pixels = behind + 12 + 8 * colours
    size = samples[0].nbytes if planes else samples.nbytes
    offsets = struct.pack(f"<{colours}I", *(pixels + number * size for number in range(colours)))
    sizes = struct.pack(f"<{colours}I", *[size] * colours)

    def entry(tag: int, kind: int, *values: int) -> bytes:
        held = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        return struct.pack("<HHI", tag, kind, len(values)) + held.ljust(4, b"\0")

    def far(tag: int, kind: int, where: int, values: bytes) -> bytes:
        if len(values) <= 4:
            return struct.pack("<HHI", tag, kind, colours) + values.ljust(4, b"\0")
        return struct.pack("<HHII", tag, kind, colours, where)

    head = b"II*\0" + struct.pack("<IH", 8, entries)
    head += entry(256, 3, width) + entry(257, 3, height) + far(258, 3, behind, lists)
    head += entry(259, 3, 1) + entry(262, 3, 2 if planes else 1)
    head += far(273, 4, behind + 12, offsets) + entry(277, 3, colours) + entry(278, 3, height)
    head += far(279, 4, behind + 12 + 4 * colours, sizes) + entry(284, 3, 2 if planes else 1)
    head += entry(339, 3, {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]) + bytes(4)
    return head + lists.ljust(12, b"\0") + offsets + sizes + samples.tobytes()
