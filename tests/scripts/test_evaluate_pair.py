from __future__ import annotations

from pathlib import Path

from animate.request.request import AnimationRequest
from scripts.evaluate_pair import figures, measure
from scripts.tiny.make_demo import main as make_demo


def test_a_pair_is_measured_beside_the_still_reference(tmp_path: Path) -> None:
    make_demo(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    request = AnimationRequest(
        reference=tmp_path / "reference.png",
        driving=tmp_path / "driving.mp4",
        output=out / "clip.mkv",
        codec="ffv1",
        model="tiny",
        stride=4,
        max_frames=6,
    )
    clip, still = map(figures, measure(request).clips)
    assert 20 < clip["background"] <= still["background"] + 1
    # The clip follows the driving video, the still picture does not.
    assert clip["pose_share"] > 80
    assert clip["pose_error"] < still["pose_error"] / 2
    assert clip["missed_frames"] == 0
    assert still["flicker"] > clip["flicker"]
