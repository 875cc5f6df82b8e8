"""Read still images as upright RGB, and write PNG files whole."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin

from animate import files
from animate.errors import MediaError, reason_of
from animate.media.info import Image
from animate.media.pictures import over_white

FORMATS = (
    *("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "QOI", "ICO"),
)
"""Pillow's names of the formats that are read; none of them starts another program."""
_KINDS = "PNG, JPEG, WebP, AVIF or TIFF"
_MOST_PIXELS = 150_000_000
"""Larger pictures are refused: they would need several GiB."""
_SMALLER = f"make it smaller, {_MOST_PIXELS // 1_000_000} million pixels at most"
_ORIENTATION = 0x0112
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""The turn that makes a picture of each EXIF orientation upright."""
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NO_RANGE = (
    "image {path} has pixels of a kind that is not read here (floating-point, signed and 32-bit "
    "ones have no agreed range); save it with 8 or 16 bits"
)
_BITS, _PLANES, _SAMPLES = 258, 284, 339
"""TIFF tags: bits of each sample, whether colours are stored apart, kinds of numbers."""
_APART, _UNSIGNED, _UNDEFINED = 2, 1, 4
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_END_OF_JPEG = b"\xff\xd9"
_quiet = threading.Lock()
"""Held while warnings are ignored, which is set for the whole process: of two threads, the later
one would bring the earlier one's setting back, and it would stay."""
_FILLERS = (b"\x55" * 64, b"\xaa" * 64)
"""Bits that would change the last pixels of a JPEG some of whose data is missing."""


def read_image(path: str | os.PathLike[str], *, warn: Callable[[str], None] | None = None) -> Image:
    """The image at `path`: (height, width, 3) uint8 RGB.

    Turned upright as its EXIF says, colour profiles converted to sRGB, grey, 16-bit, CMYK and
    palette pictures made RGB, transparent ones laid over white, the first picture of an animation.
    `warn` is told what a person should know of it. Raises MediaError if the file is missing,
    damaged or not an image.
    """
    file = files.check_readable(path, "image", MediaError)
    try:
        with _quiet, warnings.catch_warnings():
            # Odd metadata is no reason to stop, and a warning would be an error in strict programs.
            warnings.simplefilter("ignore")
            return _upright_rgb(_loaded(file, warn), file)
    except MediaError:
        raise
    except PIL.Image.DecompressionBombError:
        raise MediaError(f"image {file} is too large; {_SMALLER}") from None
    except PIL.UnidentifiedImageError:
        if _is_tiff(file):
            raise MediaError(_NO_RANGE.format(path=file)) from None
        raise MediaError(f"{file} is not an image that is read here; give {_KINDS}") from None
    except Exception as error:  # damaged files raise whatever the decoder stumbles over
        raise MediaError(
            f"image {file} cannot be read ({error}); it is damaged or cut off, export it again"
        ) from error


def rgb_picture(image: PIL.Image.Image, name: str) -> Image:
    """A picture that is open already, as `read_image` gives it; `name` is its own, for messages.

    Raises MediaError for pictures without an agreed range, or that cannot be decoded.
    """
    try:
        return _upright_rgb(image, Path(name))
    except OSError as error:
        raise MediaError(f"image {name} cannot be read ({error})") from error


def _loaded(path: Path, warn: Callable[[str], None] | None) -> PIL.Image.Image:
    with open(path, "rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:
        return _loaded_heif(path)
    try:
        return _decoded(path, path)
    except OSError:
        if head[:2] != b"\xff\xd8":
            raise
        data = path.read_bytes().removesuffix(_END_OF_JPEG[:1])
        image = _decoded(io.BytesIO(data + _END_OF_JPEG), path)
        if any(
            image.tobytes() != _decoded(io.BytesIO(data + filler + _END_OF_JPEG), path).tobytes()
            for filler in _FILLERS
        ):
            raise  # pixels are missing, not the end alone
        if warn is not None:
            warn(f"image {path} lacks its end, but all of its pixels are there")
        return image


def _decoded(source: Path | io.BytesIO, path: Path) -> PIL.Image.Image:
    with PIL.Image.open(source, formats=FORMATS) as image:
        _check_size(image.size, path)
        _check_samples(image, path)
        image.load()
        return image


def _check_samples(image: PIL.Image.Image, path: Path) -> None:
    """Refuse numbers in a TIFF that the library would take for others, without a word."""
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS, (1,)))
    if bits > 16 or set(tags.get(_SAMPLES, ())) - {_UNSIGNED, _UNDEFINED}:
        raise MediaError(_NO_RANGE.format(path=path))
    if bits == 16 and tags.get(_PLANES) == _APART and len(tags.get(_BITS, ())) > 1:
        raise MediaError(
            f"image {path} stores colours of 16 bits apart from each other, which is not read "
            "here; save it with 8 bits"
        )


def _loaded_heif(path: Path) -> PIL.Image.Image:
    try:
        import pillow_heif
    except ImportError:
        raise MediaError(
            f"{path} is a HEIC picture; install the extra cnx-animate[heif] to read it, or export "
            f"it as {_KINDS}"
        ) from None
    picture = pillow_heif.open_heif(path)
    _check_size(picture.size, path)
    image: PIL.Image.Image = picture.to_pillow()  # upright by its own transformations
    return image


def write_png(
    path: str | os.PathLike[str],
    image: Image,
    *,
    text: Mapping[str, str] | None = None,
    follow: bool = True,
) -> None:
    """Put `image` at `path` as PNG, atomically; see `files.atomic` for links.

    `image` is (height, width, 3) RGB, (height, width, 4) with opacity, or (height, width) grey,
    uint8 or uint16; `text` becomes text chunks (8 bits only). Raises MediaError if the file cannot
    be written.
    """
    try:
        files.write_bytes(path, png_bytes(image, text=text), follow=follow)
    except OSError as error:
        raise MediaError(f"{path} cannot be written: {reason_of(error)}") from error


def png_bytes(image: Image, *, text: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a PNG file; see `write_png`."""
    if image.dtype == np.uint16:
        import cv2

        channels = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
        ordered = image[..., channels[image.shape[2]]] if image.ndim == 3 else image
        return cv2.imencode(".png", ordered)[1].tobytes()
    chunks = PIL.PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_itxt(key, value)
    data = imageio.imwrite(
        "<bytes>", image, extension=".png", plugin="pillow", pnginfo=chunks, compress_level=4
    )
    assert isinstance(data, bytes)
    return data


def _check_size(size: tuple[int, int], path: Path) -> None:
    width, height = size
    if width * height > _MOST_PIXELS:
        raise MediaError(f"image {path} is too large ({width}x{height}); {_SMALLER}")


def _upright_rgb(image: PIL.Image.Image, path: Path) -> Image:
    if image.mode == "F":
        raise MediaError(_NO_RANGE.format(path=path))
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    image = _in_srgb(image)
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data:
        return over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _is_tiff(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in _TIFF_STARTS


def _orientation(image: PIL.Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the tag is missing or cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return int(value[0] if isinstance(value, bytes | tuple) else value)
    except Exception:  # odd EXIF raises whatever its parser stumbles over
        return 1


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Grey pictures of 16 bits (also where the library widened them to 32), rounded to 8."""
    grey = np.asarray(image).astype(np.int64)
    rounded = (np.clip(grey, 0, 65535) + 128) // 257
    return PIL.Image.fromarray(rounded.astype(np.uint8))


def _in_srgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Converted by the embedded colour profile; unchanged if there is none or it is broken."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    try:
        embedded = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = PIL.ImageCms.profileToProfile(
            image, embedded, PIL.ImageCms.createProfile("sRGB"), outputMode=target
        )
    except (PIL.ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted
