"""Every model variant through the pipeline, with random weights of a test's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from animate import AnimationRequest, Animator, ControlNeXtVideoPipeline
from animate.media import open_video, write_png
from pose.sequence import PoseSequence
from tests.face_networks import picture_with_faces, write_face_networks
from tests.scene import picture, poses
from tests.small_models import distinct_names, small_model

FRAMES = 5


@pytest.mark.parametrize("name", distinct_names())
def test_a_variant_gives_the_animators_frames(name: str, tmp_path: Path) -> None:
    variant = small_model(name, tmp_path / "model")
    still = picture() if variant.face is None else picture_with_faces((24, 16))
    settings: dict[str, object] = {"seed": 2, "retarget": "none"}
    if variant.face is not None:
        settings["identity_folder"] = write_face_networks(tmp_path / "faces")
    write_png(tmp_path / "reference.png", still)
    filed = poses(FRAMES).save(tmp_path / "poses.npz")
    animator = Animator.from_pretrained(tmp_path / "model", device="cpu")
    request = {"reference": tmp_path / "reference.png", "poses": filed, **settings}
    output = tmp_path / "clip.mkv"
    animator(AnimationRequest.from_dict({**request, "output": output, "codec": "ffv1"}))
    wanted = np.stack([frame.image for frame in open_video(output).read()])

    pipe = ControlNeXtVideoPipeline(animator)
    pipe.set_progress_bar_config(disable=True)
    image, motion = Pillow.fromarray(still), PoseSequence.load(filed)
    [video] = pipe(image, poses=motion, **settings).frames
    assert np.array_equal(np.stack([np.asarray(frame) for frame in video]), wanted)
    streamed = pipe.stream(image, poses=motion, **settings)
    assert np.array_equal(np.stack([np.asarray(frame) for frame in streamed]), wanted)
