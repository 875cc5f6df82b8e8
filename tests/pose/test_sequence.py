"""Pose sequences and the file that keeps them."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.errors import PoseError
from pose.layout import MIRROR, NAMES, PARTS, POINTS
from pose.report import absences, describe
from pose.sequence import PoseSequence


def sequence(frames: int = 6, people: int = 2, seed: int = 0, **changes: object) -> PoseSequence:
    generator = np.random.default_rng(seed)
    values: dict[str, object] = {
        "points": generator.normal(100, 300, (frames, people, POINTS, 2)),
        "scores": generator.random((frames, people, POINTS)),
        "canvas": (320, 240),
        "fps": Fraction(30000, 1001),
        "times": np.arange(frames) * 0.034 + 0.5,
        "source": "video",
        "estimator": "stand-in",
        "cuts": (2, 5) if frames > 5 else (),
        **changes,
    }
    return PoseSequence(**values)  # type: ignore[arg-type]


def test_the_layout_covers_every_point_once() -> None:
    covered = [i for part in PARTS.values() for i in range(part.start, part.stop)]
    assert covered == list(range(POINTS))
    assert len(NAMES) == POINTS


def test_mirroring_twice_changes_nothing_and_exchanges_left_and_right() -> None:
    assert [MIRROR[MIRROR[i]] for i in range(POINTS)] == list(range(POINTS))
    for i, name in enumerate(NAMES):
        for side, other in (("left", "right"), ("right", "left")):
            if name.startswith(side):
                assert NAMES[MIRROR[i]] == name.replace(side, other, 1)


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(1, 5),
    people=st.integers(0, 3),
    seed=st.integers(0, 99),
    rate=st.fractions(min_value="1/10", max_value=240, max_denominator=1001),
    source=st.text(max_size=8),
)
def test_a_pose_file_gives_back_every_bit(
    tmp_path_factory: pytest.TempPathFactory,
    frames: int,
    people: int,
    seed: int,
    rate: Fraction,
    source: str,
) -> None:
    poses = sequence(frames, people, seed, fps=rate, source=source)
    path = tmp_path_factory.mktemp("poses") / "poses.npz"
    poses.save(path)
    again = PoseSequence.load(path, source=source)
    np.testing.assert_array_equal(again.points, poses.points)
    np.testing.assert_array_equal(again.scores, poses.scores)
    np.testing.assert_array_equal(again.times, poses.times)
    assert again.digest == poses.digest
    assert again.header() == poses.header()


def test_the_digest_changes_with_every_field() -> None:
    poses = sequence()
    changed = [
        replace(poses, points=poses.points + np.float32(1e-3)),
        replace(poses, scores=poses.scores * np.float32(0.999)),
        replace(poses, times=poses.times + 1e-9),
        replace(poses, canvas=(321, 240)),
        replace(poses, fps=Fraction(30)),
        replace(poses, source="other"),
        replace(poses, estimator="other"),
        replace(poses, cuts=(2,)),
    ]
    assert len({poses.digest, *(other.digest for other in changed)}) == len(changed) + 1


def test_no_file_is_left_when_the_place_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="cannot be written"):
        sequence().save(tmp_path / "missing" / "poses.npz")
    (tmp_path / "taken").mkdir()
    with pytest.raises(PoseError, match="cannot be written"):
        sequence().save(tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def outcome(path: Path) -> str:
    try:
        return PoseSequence.load(path).digest
    except PoseError as error:
        return "refused" if str(path) in str(error) else str(error)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_one_message(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("poses")
    poses = sequence(2, 1)
    whole = poses.save(folder / "whole.npz").read_bytes()
    broken = folder / "broken.npz"
    if data.draw(st.booleans()):
        broken.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        content = bytearray(whole)
        content[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        broken.write_bytes(content)
    # Where a changed date or the like does no harm, the content is proven by its digest.
    assert outcome(broken) in (poses.digest, "refused")


def written(path: Path, poses: PoseSequence, **header: object) -> Path:
    """A pose file with fields of its header changed."""
    poses.save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    fields = json.loads(arrays["header"].tobytes()) | header
    arrays["header"] = np.frombuffer(json.dumps(fields).encode(), np.uint8)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 2}, "version 2, this program reads version 1"),
        ({"format": "other"}, "not a pose file"),
        ({"canvas": [100]}, "damaged header"),
        ({"fps": "1/0"}, "damaged header"),
        ({"estimator": "edited"}, "changed after it was written"),
        ({"cuts": [9]}, "cuts must rise"),
    ],
)
def test_a_foreign_header_is_named(tmp_path: Path, header: dict[str, object], message: str) -> None:
    path = written(tmp_path / "poses.npz", sequence(), **header)
    with pytest.raises(PoseError, match=message) as caught:
        PoseSequence.load(path)
    assert str(path) in str(caught.value)


def test_a_file_with_nan_is_refused(tmp_path: Path) -> None:
    path = sequence().save(tmp_path / "poses.npz")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["points"][3, 1, 7, 0] = np.nan
    np.savez(path, **arrays)
    with pytest.raises(PoseError, match=r"1 values that are not finite, first in frame 3"):
        PoseSequence.load(path)


def test_a_file_from_another_video_is_refused(tmp_path: Path) -> None:
    path = sequence(source="aaaa").save(tmp_path / "poses.npz")
    with pytest.raises(PoseError, match="not of this video"):
        PoseSequence.load(path, source="bbbb")
    assert PoseSequence.load(path).source == "aaaa"


def test_nothing_pickled_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "poses.npz"
    np.savez(path, header=np.array([{"format": "cnx-pose"}], dtype=object))
    with pytest.raises(PoseError, match="cannot be read"):
        PoseSequence.load(path)


def test_a_small_file_is_not_unpacked_into_more_than_poses_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "poses.npz"
    sequence().save(path)
    monkeypatch.setattr("pose.posefile._LARGEST", 1000)
    with pytest.raises(PoseError, match=r"holds [\d,]+ bytes when it is unpacked"):
        PoseSequence.load(path)


def test_a_file_that_is_not_there_or_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="no pose file"):
        PoseSequence.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", numbers=np.arange(3))
    with pytest.raises(PoseError, match="is not a pose file"):
        PoseSequence.load(tmp_path / "other.npz")
    np.save(tmp_path / "array.npy", np.arange(3))
    with pytest.raises(PoseError, match=r"is not a pose file|cannot be read"):
        PoseSequence.load(tmp_path / "array.npy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": np.zeros((6, 2, 133, 2))}, "points must have the shape"),
        ({"scores": np.zeros((6, 1, POINTS))}, "scores must have the shape"),
        ({"scores": np.full((6, 2, POINTS), 1.5)}, r"scores must lie in \[0,1\]"),
        ({"times": np.zeros(5)}, "6 frames need as many times"),
        ({"times": [0, 1, 2, 1.5, 3, 4]}, "times fall at frame 3"),
        ({"canvas": (0, 10)}, "canvas must be at least 1x1"),
        ({"fps": Fraction(0)}, "must be above 0"),
        ({"cuts": (0,)}, "cuts must rise"),
        ({"cuts": (4, 2)}, "cuts must rise"),
        ({"points": [["x"]]}, "must be numbers"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PoseError, match=message):
        sequence(**changes)


def test_arrays_cannot_be_changed_behind_the_back() -> None:
    original = np.zeros((6, 2, POINTS, 2), np.float32)
    poses = sequence(points=original)
    original[:] = 7
    assert poses.points.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        poses.points[0] = 1


def test_selecting_every_second_frame_halves_the_rate_and_keeps_cuts() -> None:
    poses = sequence(6, fps=Fraction(30), cuts=(1, 4))
    chosen = poses.select(slice(0, None, 2))
    assert chosen.fps == 15
    assert chosen.cuts == (1, 2)
    np.testing.assert_array_equal(chosen.times, poses.times[::2])
    np.testing.assert_array_equal(chosen.points, poses.points[::2])
    assert chosen.shots == ((0, 1), (1, 2), (2, 3))


def test_selecting_repeated_frames_makes_no_cut_and_keeps_the_rate() -> None:
    chosen = sequence(6, cuts=(3,)).select([0, 0, 2, 3, 3])
    assert chosen.cuts == (3,)
    assert chosen.fps == Fraction(30000, 1001)


@pytest.mark.parametrize("frames", [[], [6], [-1], [3, 1]])
def test_selecting_what_is_not_there_is_refused(frames: list[int]) -> None:
    with pytest.raises(PoseError):
        sequence(6).select(frames)


def test_one_person_can_be_taken_out() -> None:
    poses = sequence()
    np.testing.assert_array_equal(poses.person(1).points[:, 0], poses.points[:, 1])
    with pytest.raises(PoseError, match="no person 2"):
        poses.person(2)


def test_absences_are_found_and_told() -> None:
    scores = np.full((6, 1, POINTS), 0.9)
    scores[1] = 0
    scores[4:] = 0
    poses = sequence(people=1, scores=scores, cuts=())
    assert absences(poses, 0) == ((1, 2), (4, 6))
    text = "\n".join(describe(poses))
    assert "nobody is seen in 3 of 6 frames" in text
    assert "2 gaps, the longest 2 frames from frame 4" in text
