"""The arguments of one call, as the request and the inputs that the engine takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from animate.clip.motion import ClipInputs
from animate.driving.poses import reference_pose
from animate.driving.skeletons import is_rendered
from animate.errors import RequestError
from animate.files import sha256
from animate.media import open_video, source_digest
from animate.media.info import Image
from animate.media.listed import ListedSource
from animate.media.numbered import USUAL_FPS
from animate.media.posed import PoseSource
from animate.models.config import MicroConditions
from animate.models.variants import ModelVariant
from animate.pipeline.arrays import (
    Picture,
    Pictures,
    Poses,
    is_path,
    read_pictures,
    read_poses,
)
from animate.request.request import AnimationRequest
from animate.request.schema import build, settings_of
from animate.request.setting import NONE
from animate.request.values import Lora, parse_rate
from animate.request.wording import nearest
from pose.estimators.base import Estimator
from pose.sequence import PoseSequence

CallbackInputs = dict[str, Tensor]
"""Tensors of a callback by name."""
OnStepEnd = Callable[[Any, int, Tensor, CallbackInputs], CallbackInputs | None]
"""Called after each step with the pipeline, the step's number, its timestep, and the tensors that
were asked for. Tensors that it returns by these names are taken in their place."""
TENSORS = ("latents",)
"""Tensors that a callback can ask for."""

_RENAMED = {
    "steps": "num_inference_steps",
    "guidance": "min_guidance_scale and max_guidance_scale",
    "decode_chunk": "decode_chunk_size",
    "size": "width and height",
    "max_frames": "num_frames",
    "fps": "driving_fps",
    "reference": "image",
    "lora": "load_lora_weights",
    "model": "from_pretrained",
    "device": "from_pretrained",
    "precision": "from_pretrained",
    "memory": "limit_memory",
    "offload": "enable_model_cpu_offload",
}
"""Settings of a request by the names that they have here."""
_OF_FILES = ("work", "keep_work", "save_every", "sign", "overwrite", "still_model", "still_lora")
"""Settings that mean nothing without a file, beside those of the role `output` and restyling."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoCall:
    """The arguments of a call but for its picture, seed and output, by their names there."""

    driving: Pictures | str | os.PathLike[str] | None = None
    poses: Poses | None = None
    control_frames: Pictures | str | os.PathLike[str] | None = None
    driving_fps: float | Fraction | str | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    num_inference_steps: int | None = None
    min_guidance_scale: float | None = None
    max_guidance_scale: float | None = None
    fps: int | None = None
    motion_bucket_id: int | None = None
    noise_aug_strength: float | None = None
    decode_chunk_size: int | None = None
    background_mask: np.ndarray | Tensor | None = None
    latents: Tensor | None = None
    callback_on_step_end: OnStepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = TENSORS
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other settings of a request, by name."""

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> VideoCall:
        """The call with these arguments, settings of a request among them."""
        stated = {item.name for item in fields(cls)} - {"settings"}
        own_arguments = {name: value for name, value in arguments.items() if name in stated}
        settings = {name: value for name, value in arguments.items() if name not in stated}
        return cls(**own_arguments, settings=settings)

    def __post_init__(self) -> None:
        _check_names(self.settings)
        motions = [name for name, value in self._motions().items() if value is not None]
        if len(motions) > 1:
            raise RequestError(f"{' and '.join(motions)} are both given; give one of them")
        rated = not motions or isinstance(self.poses, PoseSequence)
        if self.driving_fps is not None and rated:
            raise RequestError("driving_fps is given, and nothing lacks a rate; leave it out")
        if (self.height is None) != (self.width is None):
            raise RequestError("height and width go together; give both, or neither")
        for name in self.callback_on_step_end_tensor_inputs:
            if name not in TENSORS:
                raise RequestError(
                    f"callback_on_step_end_tensor_inputs names {name!r}; there is "
                    f"{', '.join(TENSORS)}"
                )

    def request(
        self,
        image: Picture,
        variant: ModelVariant,
        *,
        seed: int,
        lora: tuple[Lora, ...],
        memory: int | str | None,
        offload: str | None,
    ) -> AnimationRequest:
        """The request of a clip; where inputs are in memory, their arguments' names are its paths.

        Raises RequestError for values out of range, or that do not go together.
        """
        name, motion = self.motion
        values: dict[str, object] = {
            **self.settings,
            "reference": Path(image) if is_path(image) else "image",
            "driving": Path(motion) if is_path(motion) else name,
            "output": "frames",
            "lora": lora,
            "seed": seed,
            "memory": memory,
            "offload": offload,
            "steps": self.num_inference_steps,
            "decode_chunk": self.decode_chunk_size,
            "max_frames": self.num_frames,
            "guidance": self._scales(variant),
        }
        if self.width is not None:
            values["size"] = (self.width, self.height)
        if is_path(motion):
            values["fps"] = self.driving_fps
            if name != "driving":
                values["poses"] = Path(motion)
        else:
            values["cache"] = NONE
        return build(AnimationRequest, values)

    def inputs(
        self,
        picture: Image,
        request: AnimationRequest,
        estimator: Callable[[], Estimator],
        hold: int,
    ) -> ClipInputs:
        """The inputs of a clip, opened and checked.

        estimator: opens the request's pose estimator
        hold: frames for which a person without motion holds its pose
        """
        name, motion = self.motion
        reference = sha256(request.reference) if request.reference.is_file() else ""
        reference = reference or _digest([picture])
        digests = {"reference": reference, "driving": name}
        if motion is None:
            pose = reference_pose(picture, request, estimator(), reference)
            pose_held = _held(pose, hold if self.num_frames is None else self.num_frames)
            return ClipInputs(
                picture=picture,
                source=PoseSource("pose of image", poses=pose_held),
                digests=digests,
            )
        if is_path(motion):
            path = Path(motion)
            if name == "control_frames" and path.exists() and not is_rendered(path):
                raise RequestError(f"control_frames {path} holds poses; give it as poses")
            source = open_video(request.driving, stated_fps=request.fps)
            digests["driving"] = source_digest(request.driving)
            return ClipInputs(picture=picture, source=source, digests=digests)
        rate = (
            USUAL_FPS if self.driving_fps is None else parse_rate(self.driving_fps, "driving_fps")
        )
        if name == "poses":
            canvas = (picture.shape[1], picture.shape[0])
            poses = read_poses(motion, name, canvas=canvas, fps=rate)
            return ClipInputs(
                picture=picture, source=PoseSource(name, poses=poses), digests=digests
            )
        pictures = read_pictures(motion, name)
        listed = ListedSource(pictures, rate, name)
        if name == "control_frames":
            return ClipInputs(picture=picture, source=listed, digests=digests, skeletons=pictures)
        digests["driving"] = listed.digest()
        return ClipInputs(picture=picture, source=listed, digests=digests)

    def micro_conditions(self, variant: ModelVariant) -> MicroConditions:
        """The variant's micro-conditions, with those of the call in their place."""
        fps, bucket = self.fps, self.motion_bucket_id
        augmentation, usual = self.noise_aug_strength, variant.micro_conditions
        values = {
            "fps": usual.fps if fps is None else fps - 1,
            "motion_bucket": usual.motion_bucket if bucket is None else bucket,
            "noise_augmentation": usual.noise_augmentation
            if augmentation is None
            else augmentation,
        }
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise RequestError(f"micro-condition {name} {value!r} is not a number from 0 on")
        return MicroConditions(**values)

    @property
    def motion(self) -> tuple[str, Any]:
        """The argument that gives the motion, by its name; "image" and None where none does."""
        for name, value in self._motions().items():
            if value is not None:
                return name, value
        return "image", None

    def _motions(self) -> dict[str, object]:
        names = ("driving", "poses", "control_frames")
        return {name: getattr(self, name) for name in names}

    def _scales(self, variant: ModelVariant) -> tuple[float, float] | None:
        low, high = self.min_guidance_scale, self.max_guidance_scale
        if low is None and high is None:
            return None
        usual = variant.defaults.guidance
        return usual.first if low is None else low, usual.last if high is None else high


def _check_names(settings: Mapping[str, Any]) -> None:
    """Raise RequestError for names that are no settings, or mean nothing to frames in memory."""
    known = settings_of(AnimationRequest)
    usable = {
        name
        for name, setting in known.items()
        if name not in (*_RENAMED, *_OF_FILES)
        and setting.role != "output"
        and not name.startswith("restyle")
    }
    for name in settings:
        if name in usable:
            continue
        if name in _RENAMED:
            raise RequestError(f"{name} is called {_RENAMED[name]} here")
        if name in known:
            raise RequestError(f"{name} is for clips on disk; leave it out, or use Animator")
        raise RequestError(f"unknown argument {name!r}{nearest(name, usable)}")


def _held(pose: PoseSequence, frames: int) -> PoseSequence:
    """A pose for as long as these frames."""
    return PoseSequence(
        points=np.repeat(pose.points[:1], frames, axis=0),
        scores=np.repeat(pose.scores[:1], frames, axis=0),
        canvas=pose.canvas,
        fps=USUAL_FPS,
        times=np.arange(frames) / float(USUAL_FPS),
        estimator=pose.estimator,
    )


def _digest(pictures: list[Image]) -> str:
    return ListedSource(pictures, USUAL_FPS, "image").digest()
