"""Clips cut from videos: which frames, which part of the picture, which way round.

Everything is drawn from the generator of a step, so the same step always sees the same clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from animate.errors import TrainingError
from animate.request.values import Size
from animate.training.checkpoints import digest_of
from animate.training.finetune_config import VideoRecipe
from animate.training.samples import Sample, mirrored
from animate.training.videos import Video, digest_of_videos, read_frames, reference_frames
from pose.layout import SEEN


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The part of a video's picture that a clip shows: x, y, width, height in its pixels."""

    x: float
    y: float
    width: float
    height: float

    def picture(self, image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """(h,w,3) of the size, from a video's frame; beyond its border the edge is repeated."""
        scale = (size.width / self.width, size.height / self.height)
        if max(scale) < 1:  # averages what shrinks; whole pixels, as areas have
            reduced = self._reduced(image, size)
            if reduced is not None:
                return reduced
        # Pixel centres: where output pixel (0, 0) looks at the input.
        matrix = np.array(
            [
                [scale[0], 0, (0.5 - self.x) * scale[0] - 0.5],
                [0, scale[1], (0.5 - self.y) * scale[1] - 0.5],
            ]
        )
        return cv2.warpAffine(  # type: ignore[return-value]
            image, matrix, tuple(size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )

    def _reduced(self, image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8] | None:
        left, top = round(self.x), round(self.y)
        right, bottom = round(self.x + self.width), round(self.y + self.height)
        if left < 0 or top < 0 or right > image.shape[1] or bottom > image.shape[0]:
            return None
        cut = image[top:bottom, left:right]
        return cv2.resize(cut, tuple(size), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    def points(self, points: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """Points (...,2) on the video's picture, as they lie on the clip's."""
        offset = np.array([self.x, self.y])
        scale = np.array([size.width / self.width, size.height / self.height])
        return ((points - offset) * scale).astype(np.float32)


class VideoSamples:
    """Clips from a list of videos; the last ones may be held out.

    Raises `TrainingError` when that leaves none.
    """

    def __init__(self, videos: Sequence[Video], recipe: VideoRecipe) -> None:
        self.recipe = recipe
        trained = len(videos) - recipe.hold_out
        if trained < 1:
            raise TrainingError(
                f"hold_out {recipe.hold_out} leaves none of {len(videos)} usable videos to train "
                "on; add videos, or lower data.videos.hold_out"
            )
        self.videos, self.unseen = videos[:trained], videos[trained:]
        places = np.array([len(video.starts) for video in self.videos], float)
        self._shares = places / places.sum()
        self.digest = digest_of(digest_of_videos(self.videos))

    def sample(self, frames: int, rng: Generator) -> Sample:
        """See `Samples`: a random clip of a random video, cropped and sometimes mirrored."""
        recipe = self.recipe
        video = self.videos[int(rng.choice(len(self.videos), p=self._shares))]
        start = int(rng.choice(video.starts))
        span = (frames - 1) * recipe.stride + 1
        reference = int(rng.choice(reference_frames(video.poses, start, span, recipe.gap)))
        numbers = [reference, *range(start, start + span, recipe.stride)]
        crop = choose_crop(video, numbers, recipe, rng)
        sample = cut(video, reference, start, frames, crop, recipe)
        return mirror(sample) if rng.uniform() < recipe.mirror else sample

    def held_out(self, frames: int, count: int) -> list[Sample]:
        """See `Samples`: from held-out videos, or else from those trained on."""
        videos = self.unseen or self.videos
        samples = []
        for number in range(count):
            video = videos[number % len(videos)]
            start = int(video.starts[len(video.starts) * (number // len(videos)) // count])
            span = (frames - 1) * self.recipe.stride + 1
            choices = reference_frames(video.poses, start, span, self.recipe.gap)
            reference = int(choices[len(choices) // 2])
            numbers = [reference, *range(start, start + span, self.recipe.stride)]
            crop = choose_crop(video, numbers, self.recipe, None)
            samples.append(cut(video, reference, start, frames, crop, self.recipe))
        return samples


def choose_crop(
    video: Video, frames: Sequence[int], recipe: VideoRecipe, rng: Generator | None
) -> Crop:
    """A window of the clip's shape that holds the person, as far as the picture lets it.

    Without a generator the largest one, around the person.
    """
    width, height = video.source.info.size
    fit = min(width / recipe.size.width, height / recipe.size.height)
    box = _box(video, frames)
    # Not so near that the person is cut off who could be shown whole.
    needed = max((box[2] - box[0]) / recipe.size.width, (box[3] - box[1]) / recipe.size.height)
    zoom = 1.0
    if rng is not None:
        zoom = float(rng.uniform(1, max(1, min(recipe.zoom, fit / max(needed, 1e-6)))))
    shape = (recipe.size.width * fit / zoom, recipe.size.height * fit / zoom)
    corner = []
    for axis, length in ((0, width), (1, height)):
        most = length - shape[axis]
        low = min(max(box[2 + axis] - shape[axis], 0), most)  # the person's far edge is inside
        high = max(min(box[axis], most), 0)  # the near edge is
        low, high = min(low, high), max(low, high)
        corner.append(float(rng.uniform(low, high)) if rng is not None else (low + high) / 2)
    return Crop(x=corner[0], y=corner[1], width=shape[0], height=shape[1])


def _box(video: Video, frames: Sequence[int]) -> NDArray[np.float64]:
    """(left, top, right, bottom) of all seen points of these frames, with a margin."""
    points = video.poses.points[list(frames), 0]
    seen = points[video.poses.scores[list(frames), 0] >= SEEN]
    low, high = seen.min(0), seen.max(0)
    margin = 0.1 * (high - low).max()
    limit = np.array(video.source.info.size)
    return np.concatenate([np.clip(low - margin, 0, limit), np.clip(high + margin, 0, limit)])


def cut(
    video: Video, reference: int, start: int, frames: int, crop: Crop, recipe: VideoRecipe
) -> Sample:
    """The clip itself: its frames are read here."""
    stride, size = recipe.stride, recipe.size
    numbers = list(range(start, start + (frames - 1) * stride + 1, stride))
    images = [crop.picture(image, size) for image in read_frames(video, numbers)]
    return Sample(
        reference=crop.picture(read_frames(video, [reference])[0], size),
        frames=np.stack(images),
        points=crop.points(video.poses.points[numbers, 0], size),
        scores=video.poses.scores[numbers, 0].copy(),
        reference_points=crop.points(video.poses.points[reference, 0], size),
        reference_scores=video.poses.scores[reference, 0].copy(),
        name=f"{video.name}, frames {start} to {numbers[-1]}, reference {reference}",
    )


def mirror(sample: Sample) -> Sample:
    """The clip in a mirror; left and right of its poses change places."""
    images = np.concatenate([sample.reference[None], sample.frames])
    turned, points, scores = mirrored(
        images,
        np.concatenate([sample.reference_points[None], sample.points]),
        np.concatenate([sample.reference_scores[None], sample.scores]),
    )
    return Sample(
        reference=turned[0],
        frames=turned[1:],
        points=points[1:],
        scores=scores[1:],
        reference_points=points[0],
        reference_scores=scores[0],
        name=f"{sample.name}, mirrored",
    )
