"""Read still images as upright RGB, and write PNG files whole."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import PIL.PngImagePlugin

from animate import files
from animate.errors import MediaError
from animate.media.info import Image
from animate.media.pictures import over_white

_MOST_PIXELS = 150_000_000
"""Larger pictures are refused: they would need several GiB."""
_SMALLER = f"make it smaller, {_MOST_PIXELS // 1_000_000} million pixels at most"


def read_image(path: str | os.PathLike[str]) -> Image:
    """The image at `path`: (height, width, 3) uint8 RGB.

    Turned upright as its EXIF says, colour profiles converted to sRGB, grey, 16-bit, CMYK and
    palette pictures made RGB, transparent ones laid over white, the first picture of an animation.
    Raises MediaError if the file is missing, damaged or not an image.
    """
    place = files.check_readable(path, "image", MediaError)
    try:
        with warnings.catch_warnings():
            # Odd metadata is no reason to stop, and a warning would be an error in strict programs.
            warnings.simplefilter("ignore")
            with PIL.Image.open(place) as image:
                _check_size(image, place)
                image.load()
                return _upright_rgb(image)
    except MediaError:
        raise
    except PIL.Image.DecompressionBombError:
        raise MediaError(f"image {place} is too large; {_SMALLER}") from None
    except PIL.UnidentifiedImageError:
        raise MediaError(f"{place} is not an image; give a PNG, JPEG, WebP or TIFF file") from None
    except Exception as error:  # damaged files raise whatever the decoder stumbles over
        raise MediaError(
            f"image {place} cannot be read ({error}); it is damaged or cut off, export it again"
        ) from error


def write_png(
    path: str | os.PathLike[str], image: Image, *, text: Mapping[str, str] | None = None
) -> None:
    """Put `image` at `path` as PNG, atomically.

    `image` is (height, width, 3) RGB or (height, width) grey, uint8 or uint16; `text` becomes
    text chunks (8 bits only). Raises MediaError if the file cannot be written.
    """
    try:
        files.write_bytes(path, png_bytes(image, text=text))
    except OSError as error:
        raise MediaError(f"{path} cannot be written: {(error.strerror or error)}") from error


def png_bytes(image: Image, *, text: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a PNG file; see `write_png`."""
    if image.dtype == np.uint16:
        import cv2

        ordered = image[..., ::-1] if image.ndim == 3 else image
        return cv2.imencode(".png", ordered)[1].tobytes()
    chunks = PIL.PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_itxt(key, value)
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, format="PNG", pnginfo=chunks, compress_level=4)
    return buffer.getvalue()


def _check_size(image: PIL.Image.Image, path: Path) -> None:
    if image.width * image.height > _MOST_PIXELS:
        raise MediaError(f"image {path} is too large ({image.width}x{image.height}); {_SMALLER}")


def _upright_rgb(image: PIL.Image.Image) -> Image:
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    image = _in_srgb(image)
    if image.has_transparency_data:
        return over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


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
        given = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = PIL.ImageCms.profileToProfile(
            image, given, PIL.ImageCms.createProfile("sRGB"), outputMode=target
        )
    except (PIL.ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted
