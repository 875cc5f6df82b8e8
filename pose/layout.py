"""The 134-point whole body: which index is what, and what is joined to what.

Indices 0-17 are OpenPose's COCO-18 body, 18-23 the feet, 24-91 the 68 face points, 92-112 the left
hand and 113-133 the right hand: COCO-WholeBody's 133 points in OpenPose order, with a neck added as
the mean of the shoulders. Left and right are the person's own.
"""

from __future__ import annotations

from typing import Final

POINTS: Final = 134

BODY: Final = slice(0, 18)
FEET: Final = slice(18, 24)
FACE: Final = slice(24, 92)
LEFT_HAND: Final = slice(92, 113)
RIGHT_HAND: Final = slice(113, 134)
HANDS: Final = (LEFT_HAND, RIGHT_HAND)
PARTS: Final = {
    "body": BODY,
    "feet": FEET,
    "face": FACE,
    "left hand": LEFT_HAND,
    "right hand": RIGHT_HAND,
}

NOSE, NECK = 0, 1
RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST = 2, 3, 4
LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST = 5, 6, 7
RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE = 8, 9, 10
LEFT_HIP, LEFT_KNEE, LEFT_ANKLE = 11, 12, 13
RIGHT_EYE, LEFT_EYE, RIGHT_EAR, LEFT_EAR = 14, 15, 16, 17
LEFT_BIG_TOE, LEFT_SMALL_TOE, LEFT_HEEL = 18, 19, 20
RIGHT_BIG_TOE, RIGHT_SMALL_TOE, RIGHT_HEEL = 21, 22, 23

BODY_NAMES: Final = (
    "nose", "neck",
    "right shoulder", "right elbow", "right wrist",
    "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle",
    "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
FEET_NAMES: Final = (
    "left big toe", "left small toe", "left heel",
    "right big toe", "right small toe", "right heel",
)  # fmt: skip
_FINGERS = ("thumb", "index", "middle", "ring", "little")
_HAND_NAMES = ("wrist", *(f"{finger} {joint}" for finger in _FINGERS for joint in range(1, 5)))
NAMES: Final[tuple[str, ...]] = (
    *BODY_NAMES,
    *FEET_NAMES,
    *(f"face {i}" for i in range(68)),
    *(f"left hand {name}" for name in _HAND_NAMES),
    *(f"right hand {name}" for name in _HAND_NAMES),
)

# The 17 limbs that are drawn, in the order of drawing and colouring (OpenPose's own order without
# its last two, shoulder to ear).
LIMBS: Final[tuple[tuple[int, int], ...]] = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7),
    (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
FEET_LIMBS: Final = ((13, 18), (13, 20), (18, 19), (10, 21), (10, 23), (21, 22))
# Within one hand of 21 points: five fingers of four bones from the wrist.
HAND_EDGES: Final[tuple[tuple[int, int], ...]] = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1)
    for finger in range(5)
    for joint in range(4)
)

# A person turned left to right: point i of the mirrored person is point MIRROR[i] of the original.
_MIRROR_BODY = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
_MIRROR_FEET = (21, 22, 23, 18, 19, 20)
_MIRROR_FACE = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
)  # fmt: skip
MIRROR: Final[tuple[int, ...]] = (
    *_MIRROR_BODY,
    *_MIRROR_FEET,
    *(FACE.start + i for i in _MIRROR_FACE),
    *range(RIGHT_HAND.start, RIGHT_HAND.stop),
    *range(LEFT_HAND.start, LEFT_HAND.stop),
)

# A joint with this score or more is taken as seen (the published threshold).
SEEN: Final = 0.3
