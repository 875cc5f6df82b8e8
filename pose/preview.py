"""Pictures that show what was found: skeletons over frames, and confidence over time.

Everything here takes and gives arrays, RGB uint8 (H,W,3); writing files is left to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pose.draw import draw
from pose.errors import PoseError
from pose.layout import BODY, FACE, LEFT_HAND, RIGHT_HAND, SEEN
from pose.report import absences
from pose.sequence import PoseSequence

Image = NDArray[np.uint8]
_Colour = tuple[int, int, int]

_ROWS: Final = (
    ("body", BODY),
    ("face", FACE),
    ("left hand", LEFT_HAND),
    ("right hand", RIGHT_HAND),
)
_BACKGROUND: Final[_Colour] = (24, 24, 28)
_TEXT: Final[_Colour] = (225, 225, 225)
_GAP: Final[_Colour] = (150, 20, 40)
_CUT: Final[_Colour] = (255, 255, 255)
_CURSOR: Final[_Colour] = (80, 170, 255)
# Marks of people, told apart by hue: person 0 first.
_PEOPLE: Final[tuple[_Colour, ...]] = (
    (90, 200, 255), (255, 170, 60), (140, 230, 110), (240, 120, 220), (250, 240, 90),
)  # fmt: skip
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
# Left margin of a strip, for its labels; height of one of its rows; both in pixels.
_MARGIN: Final = 92
_ROW: Final = 12
# How dark the frame becomes under the skeletons.
_DIMMED: Final = 0.55


def overlay(image: Image | None, sequence: PoseSequence, frame: int) -> Image:
    """The frame's picture, dimmed, with everybody's skeleton and label: at the picture's size.

    Without a picture the skeletons stand on black, at the canvas's size. Raises `PoseError` when
    there is no such frame.
    """
    if not 0 <= frame < sequence.frames:
        raise PoseError(f"there is no frame {frame}; the poses hold {sequence.frames} frames")
    return _named(_drawn(image, sequence, frame), sequence, frame)


def _drawn(image: Image | None, sequence: PoseSequence, frame: int) -> Image:
    """Everybody's skeleton, over the dimmed picture."""
    width, height = sequence.canvas
    if image is not None:
        _check_image(image)
        height, width = image.shape[:2]
    points, scores = sequence.points[frame], sequence.scores[frame]
    skeletons = draw(points, scores, sequence.canvas, (width, height), "canonical")
    if image is None:
        return skeletons
    dimmed = (image * _DIMMED).astype(np.uint8)
    return np.where(skeletons.any(axis=2, keepdims=True), skeletons, dimmed)


def _named(picture: Image, sequence: PoseSequence, frame: int) -> Image:
    """The picture, of any size, with everybody's label in it, which is to be read at that size."""
    height, width = picture.shape[:2]
    points, scores = sequence.points[frame], sequence.scores[frame]
    scale = np.array([width / sequence.canvas[0], height / sequence.canvas[1]])
    for person in np.flatnonzero(sequence.present[frame]):
        body = points[person, BODY][scores[person, BODY] >= SEEN] * scale
        top = body[body[:, 1].argmin()]
        _label(picture, f"person {person}", top, _PEOPLE[person % len(_PEOPLE)])
    if not sequence.present[frame].any():
        _label(picture, "nobody", np.array([width / 2, height / 2]), _GAP)
    return picture


def strip(sequence: PoseSequence, width: int, *, cursor: int | None = None) -> Image:
    """Confidence over time: a band for each person, a row for each part, time to the right.

    From dark (not seen) over yellow to green (certain); red where the person is absent, white lines
    at cuts, a blue one at the frame `cursor`. The height depends on the number of people. Raises
    `PoseError` for less than 160 pixels of width.
    """
    if width < 160:
        raise PoseError(f"a confidence strip needs 160 pixels of width, not {width}")
    bands = [_band(sequence, person, width) for person in range(sequence.people)]
    picture = np.concatenate([*bands, _axis(sequence, width)])
    span = width - _MARGIN
    for cut in sequence.cuts:
        x = _MARGIN + cut * span // sequence.frames
        picture[: -_ROW - 4, x] = _CUT
    if cursor is not None:
        x = _MARGIN + int((cursor + 0.5) * span / sequence.frames)
        picture[:, max(0, x - 1) : x + 1] = _CURSOR
    return picture


def overlay_frames(
    frames: Iterable[Image] | None, sequence: PoseSequence, *, width: int | None = None
) -> Iterator[Image]:
    """Every frame with its skeletons, over the confidence strip: the pictures of a preview video.

    `width` in pixels is the frames' own (without frames, the canvas's) if not given; sides are
    even, as video encoders ask. Streams: one frame is held. Raises `PoseError` when the video ends
    before the poses do.
    """
    for frame, image in enumerate(_pictures(frames, sequence)):
        picture = _drawn(image, sequence, frame)
        target = max(160, (width or picture.shape[1]) // 2 * 2)
        height = round(picture.shape[0] * target / picture.shape[1])
        band = strip(sequence, target, cursor=frame)
        pad = (height + len(band)) % 2
        band = np.concatenate([band, np.full((pad, target, 3), _BACKGROUND, np.uint8)])
        shown = _named(_resized(picture, (target, height)), sequence, frame)
        yield np.concatenate([shown, band])


def sheet(
    frames: Iterable[Image] | None,
    sequence: PoseSequence,
    *,
    tiles: int = 12,
    columns: int = 4,
    tile_width: int = 288,
) -> Image:
    """A contact sheet: evenly chosen frames with their skeletons, over the confidence strip.

    Frames where every person is absent and frames after cuts are seen in the strip. `frames` are
    all the frames of the sequence; only one is held at a time. Raises `PoseError` for sizes below
    1, or when the video ends before the poses do.
    """
    if tiles < 1 or columns < 1 or tile_width < 40:
        raise PoseError("a contact sheet needs a tile, a column and tiles of 40 pixels or wider")
    count = min(tiles, sequence.frames)
    columns = min(columns, count)
    chosen = set(np.linspace(0, sequence.frames - 1, count).round().astype(int).tolist())
    pictures = []
    for frame, image in enumerate(_pictures(frames, sequence)):
        if frame in chosen:
            picture = _drawn(image, sequence, frame)
            height = round(picture.shape[0] * tile_width / picture.shape[1])
            tile = _named(_resized(picture, (tile_width, height)), sequence, frame)
            seconds = f"{frame}  {sequence.times[frame]:.2f} s"
            _write(tile, seconds, (4, height - 6), _TEXT)
            pictures.append(tile)
    rows = -(-len(pictures) // columns)
    pictures += [np.full_like(pictures[0], _BACKGROUND)] * (rows * columns - len(pictures))
    lines = [np.concatenate(pictures[i * columns : (i + 1) * columns], axis=1) for i in range(rows)]
    grid = np.concatenate(lines)
    band = strip(sequence, max(160, grid.shape[1]))
    missing = band.shape[1] - grid.shape[1]
    return np.concatenate([np.pad(grid, ((0, 0), (0, missing), (0, 0))), band])


def _pictures(frames: Iterable[Image] | None, sequence: PoseSequence) -> Iterator[Image | None]:
    if frames is None:
        yield from [None] * sequence.frames
        return
    pictures = iter(frames)
    for frame in range(sequence.frames):
        image = next(pictures, None)
        if image is None:
            raise PoseError(
                f"the video ended after {frame} frames, the poses hold {sequence.frames}; give the "
                "video and the selection that the poses were made of"
            )
        yield image


def _band(sequence: PoseSequence, person: int, width: int) -> Image:
    """One person's rows of the strip."""
    title, span = _ROW + 3, width - _MARGIN
    picture = np.full((title + len(_ROWS) * _ROW + 4, width, 3), _BACKGROUND, np.uint8)
    colour = _PEOPLE[person % len(_PEOPLE)]
    gaps = absences(sequence, person)
    absent = sum(stop - start for start, stop in gaps)
    title_text = f"person {person}: seen in {sequence.frames - absent} of {sequence.frames} frames"
    _write(picture, title_text, (4, _ROW), colour)
    # The column of a pixel shows the frames it covers, so that a gap of one frame is not lost.
    first = np.arange(span) * sequence.frames // span
    for row, (name, part) in enumerate(_ROWS):
        top = title + row * _ROW
        level = sequence.scores[:, person, part].mean(axis=1)[first]
        picture[top : top + _ROW - 2, _MARGIN:] = _heat(level)
        _write(picture, name, (4, top + _ROW - 3), _TEXT)
    for start, stop in gaps:
        left = _MARGIN + start * span // sequence.frames
        right = max(left + 1, _MARGIN + stop * span // sequence.frames)
        picture[title : title + len(_ROWS) * _ROW - 2, left:right] = _GAP
    return picture


def _axis(sequence: PoseSequence, width: int) -> Image:
    """Times of the first, the middle and the last frame, and what marks mean."""
    picture = np.full((_ROW + 4, width, 3), _BACKGROUND, np.uint8)
    cuts = f"{len(sequence.cuts)} cut{'' if len(sequence.cuts) == 1 else 's'}"
    _write(picture, cuts, (4, _ROW), _CUT)
    span = width - _MARGIN
    for share in (0.0, 0.5, 1.0):
        time = sequence.times[round(share * (sequence.frames - 1))]
        _write(picture, f"{time:.1f} s", (int(_MARGIN + share * (span - 42)), _ROW), _TEXT)
    return picture


def _heat(level: NDArray[np.floating]) -> Image:
    """Scores (N,) as colours (N,3): dark at 0, yellow at a half, green at 1."""
    stops = np.array([0.0, 0.15, 0.5, 1.0])
    colours = np.array([(40, 40, 46), (120, 60, 30), (215, 190, 50), (50, 190, 90)])
    channels = [np.interp(level, stops, colours[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def _label(picture: Image, text: str, top: NDArray[np.floating], colour: _Colour) -> None:
    """Text over the topmost point of a person, pushed into the picture."""
    height, width = picture.shape[:2]
    scale = max(0.4, min(width, height) / 1000)
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    x = int(np.clip(top[0], 2, max(2, width - text_width - 2)))
    y = int(np.clip(top[1] - text_height, text_height + 2, max(text_height + 2, height - 4)))
    _write(picture, text, (x, y), colour, scale)


def _write(
    picture: Image, text: str, corner: tuple[int, int], colour: _Colour, scale: float = 0.36
) -> None:
    """Text with its lower left corner at `corner`, with a dark edge to be read on anything."""
    # Thicker letters are wider ones in OpenCV 5, so that the edge is made of moved copies.
    for across, down in product((-1, 0, 1), repeat=2):
        moved = corner[0] + across, corner[1] + down
        cv2.putText(picture, text, moved, _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(picture, text, corner, _FONT, scale, colour, 1, cv2.LINE_AA)


def _resized(picture: Image, size: tuple[int, int]) -> Image:
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    method = cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), dtype=np.uint8)


def _check_image(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise PoseError(f"a frame must be an 8-bit RGB picture, not {image.dtype} {image.shape}")
