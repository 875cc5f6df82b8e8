"""The embedded estimator: drawn people whose joints are known, and the reference runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose import layout
from pose.errors import PoseError
from pose.estimators import load_estimator
from pose.estimators.blazepose import landmarks
from pose.estimators.blazepose.detection import free_columns
from pose.estimators.blazepose.estimator import BlazePose, BlazePoseOptions
from pose.estimators.blazepose.whole_body import face_points
from scripts.tiny.characters import render_clip
from tests.collecting import collected_if
from tests.pose import figure

ROOT = Path(__file__).parents[3]
ORACLE = ROOT / "tests" / "data" / "blazepose" / "oracle.npz"
VIDEOS = [folder / "shared" / "media" / "driving.mp4" for folder in (ROOT, ROOT.parent)]
VIDEO = next((path for path in VIDEOS if path.is_file()), None)


def look(estimator, picture):
    estimator.reset()
    return estimator(picture)


@pytest.mark.parametrize("raised", [0.2, 0.5, 1.4])
def test_joints_are_where_they_were_drawn(blazepose, raised):
    person = (270.0, 60.0, 640.0, raised)
    points, scores = look(blazepose, figure.scene((540, 768), person))
    assert len(points) == 1
    known = figure.joints(*person)
    apart = [float(np.linalg.norm(points[0, joint] - at)) for joint, at in known.items()]
    assert np.median(apart) < 10  # pixels of a person 640 high
    assert max(apart) < 40
    assert scores[0, list(known)].min() > 0.5


def test_left_and_right_are_the_persons_own(blazepose):
    points, _ = look(blazepose, figure.scene((540, 768), (270, 60, 640, 0.5)))
    assert points[0, layout.RIGHT_SHOULDER, 0] < points[0, layout.LEFT_SHOULDER, 0]
    face = points[0, layout.FACE]
    assert face[0, 0] < face[16, 0]  # the jaw runs from the person's right ear to the left
    assert face[8, 1] > face[27, 1]  # the chin lies below the nose's root
    assert np.linalg.norm(face.mean(axis=0) - points[0, layout.NOSE]) < 20


def test_the_neck_lies_between_the_shoulders(blazepose):
    points, scores = look(blazepose, figure.scene((540, 768), (270, 60, 640, 0.5)))
    shoulders = [layout.LEFT_SHOULDER, layout.RIGHT_SHOULDER]
    assert points[0, layout.NECK] == pytest.approx(points[0, shoulders].mean(axis=0))
    assert scores[0, layout.NECK] == scores[0, shoulders].min()


def test_what_lies_outside_or_does_not_exist_has_no_score(blazepose):
    upper = figure.scene((540, 768), (270, 60, 640, 0.5))[:420]
    points, scores = look(blazepose, upper)
    assert len(points) == 1
    below = points[0, :, 1] > 420
    assert below[[layout.LEFT_ANKLE, layout.RIGHT_ANKLE]].all()
    assert (scores[0, below] == 0).all()
    assert (scores[0, [layout.LEFT_SMALL_TOE, layout.RIGHT_SMALL_TOE]] == 0).all()


def test_several_people_are_found_once_each(blazepose):
    people = ((250.0, 60.0, 620.0, 0.3), (640.0, 100.0, 600.0, 0.6), (1020.0, 80.0, 610.0, 0.4))
    points, _ = look(blazepose, figure.scene((1280, 720), *people))
    assert sorted(points[:, layout.NOSE, 0]) == pytest.approx([250, 640, 1020], abs=12)


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([], [(0, 100)]),
        ([(40.2, 60.7)], [(0, 40), (61, 100)]),
        ([(-20.0, 15.0), (50.0, 130.0)], [(15, 50)]),
        ([(10.0, 60.0), (20.0, 30.0)], [(60, 100)]),
        ([(120.0, 150.0)], [(0, 100)]),
        ([(12.0, 95.0)], []),
    ],
)
def test_free_columns_are_those_beside_and_between(taken, free):
    assert free_columns(100, taken, 20) == [slice(*ends) for ends in free]


def test_one_beside_whom_the_detector_misses_is_found(blazepose):
    """Of these two the detector shows one alone, in the frame as a whole and in its tiles."""
    first, second = (render_clip(seed, 1, (288, 512), shot="full") for seed in (30, 31))
    picture = np.full((512, 864, 3), (150, 160, 170), np.uint8)
    for take, left in ((first, 576), (second, 0)):
        cover = take.masks[0][..., None] / 255
        part = picture[:, left : left + 288]
        part[:] = take.frames[0] * cover + part * (1 - cover)
    assert len(blazepose.detect_closer(picture, blazepose.detect(picture))) == 1
    points, _ = look(blazepose, picture)
    necks = sorted(points[:, layout.NECK, 0])
    truth = sorted([first.points[0, layout.NECK, 0] + 576, second.points[0, layout.NECK, 0]])
    assert necks == pytest.approx(truth, abs=15)


def test_a_small_person_in_a_large_frame_needs_the_closer_look(blazepose):
    picture = figure.scene((1920, 1080), (1300, 560, 330, 0.4))
    points, _ = look(blazepose, picture)
    assert len(points) == 1
    known = figure.joints(1300, 560, 330, 0.4)
    assert np.linalg.norm(points[0, layout.NOSE] - known[layout.NOSE]) < 12
    assert blazepose.detect(picture) == []
    without = load_estimator("blazepose", large=10_000)
    assert len(look(without, picture)[0]) == 0


def test_a_person_of_the_closer_look_is_followed_between(blazepose):
    blazepose.reset()
    searches = []
    original = blazepose.detect_closer
    blazepose.detect_closer = lambda *a: searches.append(1) or original(*a)
    try:
        for step in range(blazepose.stretch + 1):
            picture = figure.scene((1920, 1080), (1300 + 5 * step, 560, 330, 0.4))
            points, _ = blazepose(picture)
            assert len(points) == 1
            assert points[0, layout.NOSE, 0] == pytest.approx(1300 + 5 * step, abs=12)
    finally:
        del blazepose.detect_closer
    assert len(searches) == 2


def test_following_stays_near_searching(blazepose):
    following = load_estimator("blazepose", follow=True)
    assert following.digest != blazepose.digest
    blazepose.reset()
    detections = []
    original = following.detect
    following.detect = lambda frame: detections.append(1) or original(frame)
    for step in range(3):
        picture = figure.scene((540, 768), (260 + 6 * step, 60, 640, 0.3 + 0.05 * step))
        followed, searched = following(picture)[0], blazepose(picture)[0]
        assert np.median(np.abs(followed - searched)[0, layout.BODY]) < 5
    assert len(detections) == 1
    assert len(following(figure.scene((540, 768)))[0]) == 0
    assert len(detections) == 2  # the person was lost, so the frame was searched


@pytest.mark.parametrize(
    ("option", "value", "people"),
    [("max_people", 1, 1), ("detection", 0.999, 0), ("presence", 1.0, 0), ("stretch", 2, 2)],
)
def test_every_option_has_an_effect(blazepose, option, value, people):
    other = BlazePose(BlazePoseOptions(**{option: value}))
    assert other.digest != blazepose.digest
    picture = figure.scene((900, 640), (230, 40, 560, 0.4), (660, 50, 560, 0.4))
    assert len(other(picture)[0]) == people
    if option == "stretch":
        assert other.stretch == value


def test_hands_are_looked_for_at_visible_wrists_only():
    picture = figure.scene((540, 768), (270, 60, 640, 0.5))

    def searched(**options) -> int:
        estimator = BlazePose(BlazePoseOptions(**options))
        calls = []
        network = estimator._hand
        estimator._hand = lambda values: calls.append(1) or network(values)
        estimator(picture)
        return len(calls)

    assert searched() == 2
    assert searched(wrist=1.0) == 0


def test_a_surer_score_is_asked_for_by_sure():
    picture = figure.scene((400, 640), (200, 40, 560, 0.4))  # no room for others beside
    tiles_seen = []
    for sure in (0.1, 1.0):
        estimator = BlazePose(BlazePoseOptions(sure=sure))
        detector, calls = estimator._detector, []
        estimator._detector = lambda *a, d=detector, c=calls: c.append(1) or d(*a)
        estimator(picture)
        tiles_seen.append(len(calls))
    assert tiles_seen[0] == 1
    assert tiles_seen[1] > 4


@pytest.mark.parametrize(
    "options", [{"stretch": 0}, {"max_people": 0}, {"presence": 1.5}, {"sure": -0.1}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(PoseError, match=next(iter(options))):
        load_estimator("blazepose", **options)


def test_a_missing_network_is_named(tmp_path):
    with pytest.raises(PoseError, match=r"pose_detection.onnx cannot be read"):
        BlazePose(folder=tmp_path)


def test_the_face_mesh_becomes_68_points():
    mesh = np.stack([np.arange(468.0), -np.arange(468.0)], axis=1).astype(np.float32)
    face = face_points(mesh)
    assert face.shape == (68, 2)
    assert face[0].tolist() == [127, -127]
    assert face[3, 0] == (132 + 58) / 2
    assert face[30, 0] == 4  # the tip of the nose
    assert face[67, 0] == 87


@collected_if(VIDEO is not None)
def test_the_reference_runtime_agrees():
    """Medians over a real video against the family's own runtime, each frame on its own."""
    import av

    oracle = np.load(ORACLE)
    wanted = oracle["frames"].tolist()
    with av.open(str(VIDEO)) as container:
        frames = {
            index: frame.to_ndarray(format="rgb24")
            for index, frame in enumerate(container.decode(video=0))
            if index in wanted
        }
    estimator = BlazePose()
    apart: dict[str, list[np.ndarray]] = {"body": [], "hands": [], "face": []}
    found = np.zeros(2, int)
    for k, index in enumerate(wanted):
        estimator.reset()
        size = frames[index].shape[1::-1]
        (person,) = estimator.look(frames[index])
        body = oracle["body"][k]
        seen = (body[:, 2] > 0.5) & ((body[:, :2] >= 0) & (body[:, :2] <= 1)).all(axis=1)
        apart["body"].append(distance(person.body.points, body[:, :2] * size)[seen])
        assert person.face is not None
        apart["face"].append(distance(face_points(person.face.points), oracle["face"][k] * size))
        for side, hand in enumerate(oracle["hands"][k]):
            part = person.hands.get(("left", "right")[side])
            found += (part is not None, np.isfinite(hand).all())
            if part is not None and np.isfinite(hand).all():
                apart["hands"].append(distance(part.points, hand * size))
    medians = {name: float(np.median(np.concatenate(each))) for name, each in apart.items()}
    assert medians["body"] <= 1.0
    assert medians["hands"] <= 2.0
    assert medians["face"] <= 0.8
    assert found[0] >= found[1]


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.linalg.norm(one - other, axis=1)


def test_a_turned_person_is_found_too(blazepose):
    person = (270.0, 60.0, 640.0, 0.5)
    turned = cv2.rotate(figure.scene((540, 768), person), cv2.ROTATE_90_COUNTERCLOCKWISE)
    points, _ = look(blazepose, turned)
    nose = figure.joints(*person)[layout.NOSE]
    assert np.linalg.norm(points[0, layout.NOSE] - (nose[1], 540 - nose[0])) < 15


def test_somebody_is_found_again_where_they_should_be():
    estimator = BlazePose()
    picture = figure.scene((480, 640), (240, 60, 520, 0.5))
    points, scores = look(estimator, picture)
    shifted = (points[0] + np.float32([9, -6])).astype(np.float32)
    again, sure = estimator.revisit(picture, shifted, scores[0])
    assert again.shape == (1, 134, 2)
    seen = sure[0] >= layout.SEEN
    assert np.median(np.linalg.norm(again[0] - points[0], axis=1)[seen]) < 4
    empty = figure.scene((480, 640))
    assert len(estimator.revisit(empty, points[0], scores[0])[0]) == 0


def test_a_face_that_fills_the_picture_is_one_person():
    estimator = BlazePose()
    picture = figure.scene((320, 320), (160, -30, 2600, 0.3))
    points, scores = look(estimator, picture)
    assert len(points) == 1
    assert (scores[0, layout.FACE] >= layout.SEEN).mean() > 0.9
    assert (scores[0, layout.BODY] >= layout.SEEN).sum() >= 3


@pytest.mark.parametrize("wider", ["right", "the same", "somebody else"])
def test_shoulders_in_the_face_are_looked_for_in_a_wider_region(monkeypatch, wider):
    """A region that is too small makes them; where a wider one says the same, the head is bowed,
    and it may show somebody who stands beside."""
    estimator = BlazePose()
    picture = figure.scene((480, 640), (240, 60, 520, 0.5))
    expected, _ = look(estimator, picture)
    (found,) = estimator.detect(picture)
    first = landmarks.body_region(found).side
    find_body, asked = landmarks.find_body, []

    def raised(network, frame, region):
        body = find_body(network, frame, region)
        asked.append(region.side)
        if wider == "somebody else" and region.side > first:
            return replace(body, points=body.points + np.float32([60, 0]))
        if wider == "the same" or region.side <= first:
            points = body.points.copy()
            points[11:13, 1] = points[9:11, 1].mean()  # at the mouth
            body = replace(body, points=points)
        return body

    monkeypatch.setattr(landmarks, "find_body", raised)
    points, _ = look(estimator, picture)
    assert len(points) == 1
    assert max(asked) > 1.3 * first
    shoulders = [layout.LEFT_SHOULDER, layout.RIGHT_SHOULDER]
    apart = np.abs(points[0, shoulders] - expected[0, shoulders]).max()
    assert (apart < 12) if wider == "right" else (apart > 30)
    assert np.linalg.norm(points[0, layout.NOSE] - expected[0, layout.NOSE]) < 12


def test_a_body_that_is_not_detected_is_looked_for_where_it_was(monkeypatch):
    """In small pictures too, and although its face would be found by itself."""
    estimator = BlazePose()
    picture = figure.scene((180, 240), (90, 22, 195, 0.5))
    estimator(picture)
    monkeypatch.setattr(estimator, "detect", lambda frame: [])
    points, scores = estimator(picture)
    assert len(points) == 1
    assert scores[0, layout.NECK] >= layout.SEEN
