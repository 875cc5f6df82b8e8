"""People who stay themselves through a clip."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pose import layout
from pose.appearance import clothes, without
from pose.errors import PoseError
from pose.likeness import box, prominence, same_trunk, similarity
from pose.people import choose_person
from pose.sequence import PoseSequence
from pose.tracking import Tracker, TrackingOptions
from tests.pose import figure

CANVAS = (800, 600)


def person(centre: float, top: float = 80, height: float = 400, raised: float = 0.4):
    """(134,2) points and (134,) scores of a standing figure."""
    points, scores = np.zeros((134, 2), np.float32), np.zeros(134, np.float32)
    for joint, place in figure.joints(centre, top, height, raised).items():
        points[joint], scores[joint] = place, 0.9
    return points, scores


def frame(*people):
    if not people:
        return np.zeros((0, 134, 2), np.float32), np.zeros((0, 134), np.float32)
    points, scores = zip(*people, strict=True)
    return np.stack(points), np.stack(scores)


def tracked(frames, *, fps=25.0, cuts=(), options=None):
    tracker = Tracker(CANVAS, options)
    for index, (points, scores) in enumerate(frames):
        if index in cuts:
            tracker.new_shot()
        tracker.update(points, scores, time=index / fps)
    points, scores = tracker.assemble()
    return PoseSequence(
        points=points,
        scores=scores,
        canvas=CANVAS,
        fps=Fraction(25),
        times=np.arange(len(points)) / fps,
        cuts=tuple(cuts),
    )


def middles(sequence, index):
    return sequence.points[:, index, [layout.NECK]].mean(axis=1)[:, 0]


def test_similarity_is_one_for_oneself_and_falls_with_distance():
    assert similarity(person(100), person(100)) == pytest.approx(1)
    values = [similarity(person(100), person(100 + shift)) for shift in (5, 20, 60, 400)]
    assert sorted(values, reverse=True) == values
    assert values[-1] < 1e-3
    assert similarity(person(100), person(160), slack=3) > values[2]


def test_similarity_needs_a_joint_seen_in_both():
    points, scores = person(100)
    left, right = scores.copy(), scores.copy()
    left[:9], right[9:] = 0, 0
    assert similarity((points, left), (points, right)) == 0


def test_similarity_follows_the_published_formula():
    points, scores = person(100)
    moved = points + np.float32([3, 4])
    left, top, right, bottom = box(points, scores)
    seen = np.flatnonzero(scores)
    sigma = {0: 0.026, 1: 0.079, 2: 0.079, 5: 0.079, 3: 0.072, 6: 0.072, 4: 0.062, 7: 0.062}
    sigma |= {8: 0.107, 11: 0.107, 9: 0.087, 12: 0.087, 10: 0.089, 13: 0.089}
    area = 0.53 * (right - left) * (bottom - top)
    expected = [np.exp(-25 / (2 * area * (2 * sigma[j]) ** 2)) for j in seen]
    assert similarity((points, scores), (moved, scores)) == pytest.approx(np.mean(expected))


def test_people_keep_their_place_whatever_the_order_of_detection():
    frames = []
    for step in range(12):
        two = [person(200 + 4 * step), person(600 - 4 * step, height=380)]
        frames.append(frame(*(two if step % 2 else two[::-1])))
    sequence = tracked(frames)
    assert sequence.people == 2
    assert sequence.present.all()
    for index in range(2):
        assert np.abs(np.diff(middles(sequence, index))).max() < 5


def test_people_who_pass_each_other_stay_themselves():
    frames = [
        frame(person(200 + 10 * k, raised=0.1), person(600 - 10 * k, top=60, raised=1.3))
        for k in range(41)
    ]
    sequence = tracked(frames)
    assert sequence.people == 2
    for index in range(2):
        steps = np.diff(middles(sequence, index))
        assert np.sign(steps).min() == np.sign(steps).max()


def test_the_best_total_is_taken_and_not_the_best_first():
    """The nearest pair is a wrong one here: greedy matching would leave the other far apart."""
    before = frame(person(200), person(260))
    after = frame(person(150), person(205))  # both moved left by about 52
    tracker = Tracker(CANVAS)
    tracker.update(*before, time=0.0)
    tracker.update(*after, time=0.04)
    points, _ = tracker.assemble()
    moved = points[1, :, layout.NECK, 0] - points[0, :, layout.NECK, 0]
    assert moved == pytest.approx([-50, -55], abs=0.1) or moved == pytest.approx(
        [-55, -50], abs=0.1
    )


def test_a_person_lost_for_a_while_is_the_same_person():
    frames = [frame(person(300 + 3 * k)) for k in range(30)]
    frames[10:18] = [frame()] * 8
    sequence = tracked(frames)
    assert sequence.people == 1
    assert sequence.present[:, 0].tolist() == [True] * 10 + [False] * 8 + [True] * 12


def test_one_who_comes_back_elsewhere_is_the_same_if_there_was_time():
    def gap(length: int) -> int:
        frames = [frame(person(150))] * 10 + [frame()] * length + [frame(person(650))] * 10
        return tracked(frames).people

    assert gap(1) == 2
    assert gap(25) == 1


def test_reach_and_widening_and_similarity_decide():
    away = [frame(person(150))] * 10 + [frame()] * 25 + [frame(person(650))] * 10
    assert tracked(away, options=TrackingOptions(reach=0.0)).people == 2
    jump = [frame(person(300)), frame(), frame(person(345))] * 1
    tracker = {
        widening: Tracker(CANVAS, TrackingOptions(widening=widening, similarity=0.6))
        for widening in (0.0, 10.0)
    }
    for one in tracker.values():
        for index, people in enumerate(jump):
            one.update(*people, time=index / 2)
    assert len(tracker[0.0]._tracks) == 2
    assert len(tracker[10.0]._tracks) == 1


def test_the_main_person_is_large_central_and_stays():
    small_and_long = [person(120, top=300, height=200)]
    large_and_short = [person(420)]
    frames = [frame(*small_and_long, *(large_and_short if k > 3 else [])) for k in range(20)]
    sequence = tracked(frames)
    assert sequence.points[-1, 0, layout.NECK, 0] == pytest.approx(420)
    assert not sequence.present[:4, 0].any()
    assert sequence.present[:, 1].all()


def test_size_and_place_and_score_make_prominence():
    points, scores = person(400)
    base = prominence(points, scores, CANVAS)
    assert 0 < base < 1
    assert prominence(points, scores / 2, CANVAS) < base
    assert prominence(*person(700), CANVAS) < base
    assert prominence(*person(400, height=200), CANVAS) < base
    assert prominence(np.zeros((134, 2), np.float32), np.zeros(134, np.float32), CANVAS) == 0


def test_a_cut_keeps_the_main_person_first():
    left = [frame(person(250), person(700, top=300, height=200))] * 8
    right = [frame(person(120, top=300, height=200), person(560))] * 8
    sequence = tracked(left + right, cuts=(8,))
    assert sequence.people == 2
    assert middles(sequence, 0).tolist() == [250] * 8 + [560] * 8
    assert middles(sequence, 1).tolist() == [700] * 8 + [120] * 8


def test_a_glimpse_is_dropped_only_beside_somebody():
    ghost = person(650, height=150)
    frames = [frame(person(300), *([ghost] if k == 7 else [])) for k in range(30)]
    assert tracked(frames).people == 1
    assert tracked(frames, options=TrackingOptions(glimpse=1)).people == 2
    alone = [frame(ghost) if k == 7 else frame() for k in range(30)]
    assert tracked(alone).people == 1
    assert tracked([frame(person(300)), frame()]).present[:, 0].tolist() == [True, False]


def test_nobody_at_all():
    sequence = tracked([frame()] * 3)
    assert sequence.points.shape == (3, 0, 134, 2)
    with pytest.raises(PoseError, match="nobody"):
        choose_person(sequence)


def test_ten_people():
    frames = [
        frame(*(person(40 + 80 * k + step, height=140) for k in range(10))) for step in range(6)
    ]
    sequence = tracked(frames)
    assert sequence.people == 10
    assert sequence.present.all()
    for index in range(10):
        assert np.abs(np.diff(middles(sequence, index))).max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "options", [{"similarity": 0.0}, {"widening": -1.0}, {"reach": -1.0}, {"glimpse": 0}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(PoseError, match=next(iter(options))):
        TrackingOptions(**options)


RED, BLUE = (200.0, 30.0, 30.0), (30.0, 40.0, 190.0)


def worn(*colours):
    return np.repeat(np.array(colours)[:, None], 3, axis=1)


def crossing(*, hidden: range, turn: bool = False, dressed: bool = True):
    """Two people who cross, the second one hidden for some frames; who is at the left at last.

    With `turn` the hidden one turns round behind the other and comes back out.
    """
    tracker = Tracker(CANVAS)
    middle = len(hidden) // 2 + hidden.start
    for k in range(40):
        steps = k if not turn or k < middle else 2 * middle - k
        first, second = person(200 + 10 * k), person(600 - 10 * steps, top=70)
        people = [first] if k in hidden else [second, first] if k % 2 else [first, second]
        colours = [RED if who is first else BLUE for who in people]
        time = k / 25
        tracker.update(*frame(*people), time=time, colours=worn(*colours) if dressed else None)
    points, scores = tracker.assemble()
    return points[..., layout.NECK, 0], scores[..., layout.NECK] > 0


@pytest.mark.parametrize("hidden", [range(17, 24), range(18, 27), range(14, 26)])
@pytest.mark.parametrize("dressed", [False, True])
def test_one_who_is_hidden_while_crossing_comes_out_on_the_other_side(hidden, dressed):
    """Being lost is no merit: the one in front is not given to the track that waits."""
    necks, seen = crossing(hidden=hidden, dressed=dressed)
    assert necks.shape[1] == 2
    (front,) = np.flatnonzero(seen.all(axis=0))
    assert necks[:, front] == pytest.approx(200 + 10 * np.arange(40))
    back = necks[seen[:, 1 - front], 1 - front]
    assert (np.diff(back) < 0).all()


def test_clothes_tell_who_turned_round_behind_somebody():
    """Motion alone would expect them to pass."""
    necks, seen = crossing(hidden=range(15, 26), turn=True)
    (front,) = np.flatnonzero(seen.all(axis=0))
    assert necks[:, front] == pytest.approx(200 + 10 * np.arange(40))


def test_clothes_are_looked_at_along_trunk_arms_and_thighs():
    picture = figure.scene(CANVAS, (300, 60, 480, 0.6))
    points, scores = frame(person(300, top=60, height=480, raised=0.6))
    trunk, arms, thighs = clothes(picture, points, scores)[0]
    assert np.abs(trunk - figure.SHIRT).max() < 25
    assert np.abs(arms - figure.SHIRT).max() < 45
    assert np.abs(thighs - figure.TROUSERS).max() < 25
    scores[:, layout.BODY] = 0
    assert np.isnan(clothes(picture, points, scores)).all()


def test_others_are_painted_over_and_the_expected_one_stays():
    picture = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    points, _ = frame(person(300, 60, 480, 0.6), person(380, 60, 480, 0.6))
    alone = without(picture, points[:1], points[1])
    changed = (alone != picture).any(axis=-1)
    ends = [layout.NOSE, layout.RIGHT_ELBOW, layout.RIGHT_KNEE]
    for others, expected in points[:, ends].astype(int).transpose(1, 0, 2):
        assert changed[others[1], others[0]]
        assert not changed[expected[1], expected[0]]
    assert without(picture, points[:0], points[1]) is picture


def test_two_poses_on_one_spot_are_one_person():
    assert same_trunk(person(300), person(310, raised=0.9))
    assert not same_trunk(person(300), person(340))


def test_who_should_be_there_is_missed_until_patience_ends():
    tracker = Tracker(CANVAS)
    for k in range(10):
        tracker.update(*frame(person(200 + 10 * k)), time=k / 25)
    (expected,) = tracker.missing(*frame(), time=10 / 25)
    assert expected[0][layout.NECK, 0] == pytest.approx(300, abs=4)
    assert tracker.is_same(person(300), expected)
    assert not tracker.is_same(person(600), expected)
    assert not tracker.missing(*frame(person(300)), time=10 / 25)
    assert tracker.missing(*frame(), time=9 / 25 + 0.9)
    assert not tracker.missing(*frame(), time=9 / 25 + 1.1)


def test_nobody_is_missed_who_has_left_the_picture():
    tracker = Tracker(CANVAS)
    for k in range(10):
        tracker.update(*frame(person(600 + 20 * k)), time=k / 25)
    assert tracker.missing(*frame(), time=10 / 25)
    assert not tracker.missing(*frame(), time=13 / 25)


def test_a_shadow_elsewhere_does_not_become_the_one_who_left():
    frames = [frame(person(400 + 20 * k)) for k in range(20)] + [frame()] * 40
    frames[50] = frame(person(200, height=200))
    sequence = tracked(frames)
    assert sequence.people == 1
    assert not sequence.present[20:].any()


def test_clothes_do_not_outweigh_motion():
    """Whoever passes in front shows other colours where somebody's clothes are looked for."""
    tracker = Tracker(CANVAS)
    for k in range(20):
        first, second = person(200 + 10 * k), person(420 + 10 * k, top=70)
        people = [second] if k > 15 else [first, second]
        colours = [BLUE] if k > 15 else [BLUE, RED]
        tracker.update(*frame(*people), time=k / 25, colours=worn(*colours))
    points, scores = tracker.assemble()
    necks, seen = points[..., layout.NECK, 0], scores[..., layout.NECK] > 0
    (there,) = np.flatnonzero(seen.all(axis=0))
    assert necks[:, there] == pytest.approx(420 + 10 * np.arange(20))
