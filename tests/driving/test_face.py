"""The face of a picture as a vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from animate.driving.face import FaceReader, face_files, similarity
from animate.errors import ModelError
from animate.models.config import FaceConfig
from tests.face_networks import (
    DETECTOR,
    PROFILE,
    RECOGNISER,
    WIDTH,
    picture_with_faces,
    write_face_networks,
    write_recogniser,
)

CONFIG = FaceConfig(face_width=WIDTH, detector=DETECTOR, recogniser=RECOGNISER, licence="research")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_face_networks(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def reader(folder: Path) -> FaceReader:
    return FaceReader(CONFIG, folder)


def test_a_face_is_found_where_it_is(reader: FaceReader) -> None:
    (face,) = reader.detector(picture_with_faces((24, 16)))
    np.testing.assert_allclose(face.box, [12, 4, 36, 28])
    np.testing.assert_allclose(face.points[2], [24, 16])
    assert face.score > 0.9


def test_a_larger_picture_is_fitted_and_its_points_come_back(reader: FaceReader) -> None:
    picture = picture_with_faces((24, 16)).repeat(3, 0).repeat(3, 1)
    wide = np.concatenate([picture, np.full((192, 96, 3), 40, np.uint8)], 1)
    (face,) = reader.detector(picture)
    np.testing.assert_allclose(face.points[2], [72, 48])
    assert reader.detector(wide) == []  # at two thirds no cell is all white


def test_no_face_is_none_and_of_several_the_first_is_as_large_as_any(reader: FaceReader) -> None:
    nobody = reader(picture_with_faces())
    assert (nobody.vector, nobody.faces, nobody.from_the_side) == (None, 0, False)
    three = reader(picture_with_faces((8, 8), (40, 8), (24, 40)))
    assert three.faces == 3
    assert three.vector is not None
    assert three.vector.shape == (WIDTH,)
    assert not three.from_the_side


@pytest.mark.parametrize("points", [PROFILE, [(0, 0)] * 5])
def test_a_profile_has_a_vector_and_is_told(
    points: list[tuple[float, float]], tmp_path: Path
) -> None:
    write_face_networks(tmp_path, points=points)
    profile = FaceReader(CONFIG, tmp_path)(picture_with_faces((24, 16)))
    assert profile.from_the_side
    assert profile.vector is not None
    assert np.isfinite(profile.vector).all()


def test_the_vector_follows_the_picture(reader: FaceReader) -> None:
    first = reader(picture_with_faces((24, 16))).vector
    again = reader(picture_with_faces((24, 16))).vector
    other = reader(picture_with_faces((24, 32))).vector
    assert first is not None
    assert other is not None
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first).max() > 0.01


def test_five_points_are_turned_scaled_and_moved_onto_others() -> None:
    points = np.random.default_rng(1).normal(size=(5, 2))
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])
    aim = points @ turn.T + (3, 4)
    found = similarity(points, aim)
    np.testing.assert_allclose(points @ found[:, :2].T + found[:, 2], aim, atol=1e-12)
    mirrored = similarity(points, points * (-1, 1))
    assert np.linalg.det(mirrored[:, :2]) > 0, "a face is never mirrored"


def test_missing_files_are_named_with_their_licence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"detector\.onnx and recogniser\.onnx \(research\)"):
        face_files(CONFIG, None)
    (tmp_path / DETECTOR).write_bytes((folder / DETECTOR).read_bytes())
    with pytest.raises(ModelError, match=r"has no recogniser\.onnx; .*--identity-weight 0"):
        face_files(CONFIG, tmp_path)


def test_networks_of_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    files = {name: (folder / name).read_bytes() for name in (DETECTOR, RECOGNISER)}
    (tmp_path / DETECTOR).write_bytes(files[RECOGNISER])
    (tmp_path / RECOGNISER).write_bytes(files[RECOGNISER])
    with pytest.raises(ModelError, match=r"no face detector|no SCRFD detector"):
        FaceReader(CONFIG, tmp_path)(picture_with_faces())
    (tmp_path / DETECTOR).write_bytes(files[DETECTOR])
    write_recogniser(tmp_path / RECOGNISER, width=5)
    with pytest.raises(ModelError, match="by 5 numbers where the model takes 8"):
        FaceReader(CONFIG, tmp_path)(picture_with_faces((24, 16)))
