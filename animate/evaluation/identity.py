"""Distance of faces to the reference's, by an embedded network (see networks/README.md)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.media.info import Image
from pose.estimators.sessions import Network
from pose.layout import FACE, SEEN

SAME_PERSON = 0.6
"""Distance up to which the network's authors take two faces for one person's."""
NETWORK = Path(__file__).parent / "networks" / "face_embedding.onnx"
_SIDE = 150
_CENTRE = (0.5, 0.43)
"""Point of the crop at which the middle between eyes and mouth lies."""
_EYES_TO_MOUTH = 0.45
"""Part of the crop's side from eyes to mouth."""
_LEAST_SCORE = 0.5
"""Mean score of the face's points from which a face counts as seen."""
_LEAST_PIXELS = 8.0
"""Pixels from eyes to mouth below which a picture holds too little of a face."""
_EYES = (slice(36, 42), slice(42, 48))
_MOUTH = slice(48, 68)


class FaceEmbedder:
    """Gives 128 values a face; distances between two faces are Euclidean."""

    def __init__(self) -> None:
        self._network = Network(NETWORK)

    def __call__(
        self, picture: Image, points: NDArray[np.float32], scores: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """(128,) of a person's face in a picture (h,w,3); None where it is not seen well enough.

        `points` (134,2) and `scores` (134,) are the person's.
        """
        crop = face_crop(picture, points, scores)
        if crop is None:
            return None
        return np.asarray(self._network(crop[None])[0][0])


def face_crop(
    picture: Image, points: NDArray[np.float32], scores: NDArray[np.float32]
) -> Image | None:
    """(150,150,3) around a face, eyes level; None where the face is not seen or too small."""
    face, sure = points[FACE].astype(np.float64), scores[FACE]
    height, width = picture.shape[:2]
    if (sure >= SEEN).mean() < _LEAST_SCORE or sure.mean() < _LEAST_SCORE:
        return None
    eyes = np.stack([face[side].mean(0) for side in _EYES])
    mouth = face[_MOUTH].mean(0)
    middle = (eyes.mean(0) + mouth) / 2
    length = float(np.linalg.norm(eyes.mean(0) - mouth))
    if length < _LEAST_PIXELS or not (0 <= middle[0] < width and 0 <= middle[1] < height):
        return None
    left, right = sorted(eyes.tolist())
    angle = np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0]))
    scale = _EYES_TO_MOUTH * _SIDE / length
    turn = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), float(angle), scale)
    turn[:, 2] += np.array(_CENTRE) * _SIDE - middle
    return np.asarray(
        cv2.warpAffine(picture, turn, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
    )
