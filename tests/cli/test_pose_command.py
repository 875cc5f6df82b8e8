from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest

from animate.cli.main import main
from animate.media import read_image, write_png
from pose.sequence import PoseSequence
from scripts.tiny.characters import render_clip
from tests.scene import poses, write_scene


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return write_scene(tmp_path)


def test_poses_are_extracted_from_a_picture_and_a_video_of_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from animate.media import open_writer

    take = render_clip(7, 4, (256, 384), shot="full")
    write_png(tmp_path / "still.png", take.reference)
    with open_writer(tmp_path / "clip.mp4", size=(256, 384), fps=Fraction(24)) as writer:
        for frame in take.frames:
            writer.write(frame)
    for name, frames in (("still.png", 1), ("clip.mp4", 2)):
        out = tmp_path / f"{name}.npz"
        given = ["pose", "extract", str(tmp_path / name), "-o", str(out), "--stride", "2"]
        assert main(given) == 0
        found = PoseSequence.load(out)
        assert (found.frames, found.people) == (frames, 1)
        assert found.canvas == (256, 384)
    assert "person 0" in capsys.readouterr().err


def test_a_preview_is_a_sheet_or_a_video(files: dict[str, Path], tmp_path: Path) -> None:
    kept, video = str(files["poses"]), str(files["driving"])
    assert main(["pose", "preview", kept, "-o", str(tmp_path / "sheet.png")]) == 0
    assert read_image(tmp_path / "sheet.png").max() > 200
    shown = tmp_path / "overlay.mp4"
    assert main(["pose", "preview", kept, "-o", str(shown), "--video", video]) == 0
    with av.open(str(shown)) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 12


def test_poses_are_converted_and_come_back(files: dict[str, Path], tmp_path: Path) -> None:
    out, back = tmp_path / "c.json", tmp_path / "back.npz"
    assert main(["pose", "convert", str(files["poses"]), "-o", str(out), "--to", "comfyui"]) == 0
    assert json.loads(out.read_text())[0]["canvas_width"] == 64
    given = ["pose", "convert", str(out), "-o", str(back), "--to", "npz", "--fps", "29"]
    assert main(given) == 0
    again = PoseSequence.load(back)
    assert again.points[:, :, :18] == pytest.approx(poses(12).points[:, :, :18], abs=0.01)


def test_poses_are_laid_onto_a_pictures_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take = render_clip(7, 1, (256, 384), shot="full")
    write_png(tmp_path / "still.png", take.reference)
    poses(3).save(tmp_path / "p.npz")
    given = ["--reference", str(tmp_path / "still.png"), "-o", str(tmp_path / "out.npz")]
    assert main(["pose", "retarget", str(tmp_path / "p.npz"), *given]) == 0
    assert PoseSequence.load(tmp_path / "out.npz").canvas == (256, 384)
    assert "mismatch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["extract", "none.mp4", "-o", "x.npz"], "none.mp4 does not exist"),
        (["extract", "{driving}", "-o", "x.txt"], "ends in .npz"),
        (["extract", "{driving}", "-o", "{poses}"], "exists already"),
        (["preview", "{driving}", "-o", "x.png"], "driving.mp4"),
        (["convert", "{poses}", "-o", "{driving}", "--to", "npz"], "exists already"),
    ],
)
def test_slips_are_named(
    given: list[str],
    message: str,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pose", *(part.format(**files) for part in given)]) == 2
    assert message in capsys.readouterr().err


def test_quiet_may_stand_behind_the_action(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["preview", str(files["poses"]), "-o", str(tmp_path / "s.png"), "--quiet"]
    assert main(["pose", *given]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["s.mkv", "frames/%04d.png"])
def test_rendered_skeletons_go_back_in_and_give_equal_frames(
    files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    from animate.driving.placement import place_picture
    from animate.driving.skeletons import DrawnSkeletons, RenderedSkeletons, rendered_pictures
    from animate.media import FrameSelection, open_video
    from animate.request.values import Size

    out, size = tmp_path / name, Size(96, 96)
    given = ["pose", "render", str(files["poses"]), "-o", str(out), "--style", "small"]
    assert main([*given, "--size", str(size)]) == 0
    source = open_video(out)
    assert (source.info.fps, source.info.frames) == (29, 12)
    placement = place_picture(Size(64, 64), size, "crop")
    rendered = RenderedSkeletons(
        rendered_pictures(out), source, FrameSelection(), placement, str(out)
    )
    drawn = DrawnSkeletons(poses(12), size, "small")
    for frame in range(12):
        assert (rendered.picture(frame) == drawn.picture(frame)).all()


def test_fitted_poses_are_shown_over_their_picture(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    given = ["pose", "preview", str(files["poses"]), "-o", str(sheet), "--over"]
    assert main([*given, str(files["reference"])]) == 0
    assert read_image(sheet).max() > 200
    import numpy as np

    write_png(tmp_path / "wide.png", np.zeros((20, 80, 3), np.uint8))
    assert main([*given, str(tmp_path / "wide.png"), "--overwrite"]) == 2
    assert "has another shape than the poses' canvas of 64x64" in capsys.readouterr().err
