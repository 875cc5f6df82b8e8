"""The face of a picture as a vector, by two networks that the user brings.

A detector in SCRFD's layout (Guo et al., arXiv 2105.04714) gives boxes and five key points of each
face; the largest is laid onto a template and described by a recogniser in ArcFace's layout (Deng et
al., arXiv 1801.07698). Both are ONNX files and run in onnxruntime.

Pictures are (H,W,3) uint8 RGB, points (x, y) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.errors import ModelError
from animate.media.info import Image
from animate.models.config import FaceConfig
from pose.estimators.sessions import Network

Floats = NDArray[np.float32]

_SIDE = 640
"""Side of the detector's input where its file leaves it open."""
_LEAST_SCORE = 0.5
_OVERLAP = 0.4
"""Share of two boxes' union from which the fainter one is the same face."""
_STRIDES = (8, 16, 32)
_TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655),
     (70.7299, 92.2041)]
)  # fmt: skip
"""Eyes, nose and corners of the mouth in a picture of `_TEMPLATE_SIDE`, as published."""
_TEMPLATE_SIDE = 112


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """A face that the detector sees."""

    box: Floats
    """(4,): left, top, right, bottom."""
    points: Floats
    """(5,2): eyes, nose, corners of the mouth."""
    score: float

    @property
    def area(self) -> float:
        """Pixels of the box."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    @property
    def from_the_side(self) -> bool:
        """True for a face turned so far that its nose does not lie between its eyes."""
        first, second, nose = self.points[:3]
        across = second - first
        along = float((nose - first) @ across)
        return not 0 < along < float(across @ across)


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceReading:
    """The networks' answer for a picture."""

    vector: Floats | None
    """(I,) of the largest face, not normalised; None where no face is seen."""
    faces: int
    """Number of faces in the picture."""
    from_the_side: bool
    """True where the largest one is seen from the side."""


class FaceReader:
    """Face vectors of pictures."""

    def __init__(self, config: FaceConfig, folder: Path | None) -> None:
        """Open the networks in `folder`. Raises ModelError where they are missing or others."""
        detector, recogniser = face_files(config, folder)
        self.detector = FaceDetector(detector)
        self.recogniser = FaceRecogniser(recogniser, config.face_width)

    def __call__(self, picture: Image) -> FaceReading:
        """The largest face. Raises ModelError for networks of another layout."""
        faces = self.detector(picture)
        if not faces:
            return FaceReading(vector=None, faces=0, from_the_side=False)
        return FaceReading(
            vector=self.recogniser(picture, faces[0]),
            faces=len(faces),
            from_the_side=faces[0].from_the_side,
        )


def face_files(config: FaceConfig, folder: Path | None) -> tuple[Path, Path]:
    """Detector and recogniser in a folder. Raises ModelError naming those that are missing."""
    names = (config.detector, config.recogniser)
    licence = f" ({config.licence})" if config.licence else ""
    if folder is None:
        raise ModelError(
            "this model is given the reference's face by two networks that do not come with it: "
            f"name a folder with {names[0]} and {names[1]}{licence} with --identity-folder, or "
            "give no face with --identity-weight 0"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"--identity-folder {folder} has no {' and no '.join(missing)}; name the folder with "
            f"both{licence}, or give no face with --identity-weight 0"
        )
    return folder / names[0], folder / names[1]


class FaceDetector:
    """Faces of a picture, the largest first."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError for a network of another layout."""
        self._network = Network(path)
        shape = self._network.input_shape
        height, width = shape[2:] if len(shape) == 4 else (0, 0)
        self._size = (
            width if isinstance(width, int) else _SIDE,
            height if isinstance(height, int) else _SIDE,
        )
        if min(self._size) < _STRIDES[-1]:
            raise ModelError(f"{path} takes no pictures: it is no face detector")

    def __call__(self, picture: Image) -> list[Face]:
        """Raises ModelError for a network that is no SCRFD with key points."""
        height, width = picture.shape[:2]
        wide, high = self._size
        if height * wide > width * high:
            fitted = (max(1, int(high * width / height)), high)
        else:
            fitted = (wide, max(1, int(wide * height / width)))
        scale = fitted[1] / height
        canvas = np.zeros((high, wide, 3), np.uint8)
        canvas[: fitted[1], : fitted[0]] = cv2.resize(picture, fitted)
        values = (canvas.astype(np.float32) - np.float32(127.5)) / np.float32(128)
        outputs = self._network(values.transpose(2, 0, 1)[None])
        scores, boxes, points = self._decoded(outputs)
        seen = scores >= _LEAST_SCORE
        faces = [
            Face(box=box / scale, points=five / scale, score=float(score))
            for score, box, five in zip(scores[seen], boxes[seen], points[seen], strict=True)
        ]
        return sorted(_separate(faces), key=lambda face: face.area, reverse=True)

    def _decoded(self, outputs: list[Floats]) -> tuple[Floats, Floats, Floats]:
        """Scores (n,), boxes (n,4) and points (n,5,2) of all anchors, in the network's pixels."""
        levels = len(_STRIDES)
        if len(outputs) != 3 * levels:
            raise self._other(f"{len(outputs)} outputs where {3 * levels} are needed")
        scores, boxes, points = [], [], []
        for level, stride in enumerate(_STRIDES):
            score, box, five = (outputs[level + levels * kind] for kind in range(3))
            rows, columns = self._size[1] // stride, self._size[0] // stride
            anchors, odd = divmod(score.size, rows * columns)
            if odd or not anchors or (box.size, five.size) != (4 * score.size, 10 * score.size):
                raise self._other(f"outputs of other sizes at stride {stride}")
            y, x = np.mgrid[:rows, :columns]
            centres = np.stack([x, y], -1).reshape(-1, 1, 2).repeat(anchors, 1).reshape(-1, 2)
            centres = (centres * stride).astype(np.float32)
            box, five = box.reshape(-1, 4) * stride, five.reshape(-1, 5, 2) * stride
            scores.append(score.reshape(-1))
            boxes.append(np.concatenate([centres - box[:, :2], centres + box[:, 2:]], 1))
            points.append(centres[:, None] + five)
        return np.concatenate(scores), np.concatenate(boxes), np.concatenate(points)

    def _other(self, fault: str) -> ModelError:
        return ModelError(
            f"{self._network.path} is no SCRFD detector with five key points: {fault}"
        )


def _separate(faces: list[Face]) -> list[Face]:
    """The surest face of every group of boxes that overlap."""
    chosen: list[Face] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if all(_overlap(face, other) <= _OVERLAP for other in chosen):
            chosen.append(face)
    return chosen


def _overlap(face: Face, other: Face) -> float:
    low = np.maximum(face.box[:2], other.box[:2])
    high = np.minimum(face.box[2:], other.box[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    total = face.area + other.area - shared
    return shared / total if total > 0 else 1.0


class FaceRecogniser:
    """Vectors of faces."""

    def __init__(self, path: Path, width: int) -> None:
        """`width` is that of the vector. Raises ModelError for a network of another layout."""
        self._network, self._width = Network(path), width
        shape = self._network.input_shape
        sides = shape[2:] if len(shape) == 4 else ()
        if len(sides) != 2 or sides[0] != sides[1]:
            raise ModelError(f"{path} takes no square pictures: it is no face recogniser")
        self._side = sides[0] if isinstance(sides[0], int) else _TEMPLATE_SIDE

    def __call__(self, picture: Image, face: Face) -> Floats:
        """(I,), not normalised. Raises ModelError for a network with vectors of another width."""
        turn = similarity(face.points, _TEMPLATE * (self._side / _TEMPLATE_SIDE))
        crop = cv2.warpAffine(picture, turn, (self._side, self._side))
        values = (np.asarray(crop, np.float32) - 127.5) / 127.5
        vector = np.asarray(self._network(values.transpose(2, 0, 1)[None])[0]).reshape(-1)
        if vector.size != self._width:
            raise ModelError(
                f"{self._network.path} describes a face by {vector.size} numbers where the model "
                f"takes {self._width}; name the network that the model was trained with"
            )
        return vector.astype(np.float32)


def similarity(points: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2,3) of the rotation, scale and shift that bring points nearest to target, both (n,2), in
    least squares (Umeyama 1991)."""
    source = np.asarray(points, np.float64)
    middle, aim = source.mean(0), target.mean(0)
    around = source - middle
    u, singular, v = np.linalg.svd((target - aim).T @ around / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u @ v)) or 1.0])
    rotation = u @ np.diag(signs) @ v
    scale = float((singular * signs).sum() / max(around.var(0).sum(), 1e-12))
    return np.concatenate([scale * rotation, (aim - scale * rotation @ middle)[:, None]], axis=1)
