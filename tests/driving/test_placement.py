from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animate.driving.placement import Box, native_size, person_box, place_picture
from animate.request.values import Fill, Size

boxes = st.tuples(*[st.floats(0, 1)] * 4)
sizes = st.builds(Size, st.integers(8, 300), st.integers(8, 300))


@given(sizes, sizes, st.sampled_from(["crop", "pad", "stretch"]))
def test_pictures_come_out_at_the_size_asked_for(source: Size, canvas: Size, fit: str) -> None:
    image = np.zeros((source.height, source.width, 3), np.uint8)
    placement = place_picture(source, canvas, fit)  # type: ignore[arg-type]
    assert placement.picture(image).shape == (canvas.height, canvas.width, 3)


@pytest.mark.parametrize(("fill", "left"), [("edge", 50), ("white", 255), ("#040506", 4)])
def test_what_is_around_a_padded_picture_is_filled(fill: str, left: int) -> None:
    image = np.full((80, 40, 3), 200, np.uint8)
    image[:, :4] = 50
    placement = place_picture(Size(40, 80), Size(80, 80), "pad", fill=Fill.parse(fill))
    page = placement.picture(image)
    assert (page[:, :20, 0] == left).all()
    np.testing.assert_array_equal(page[:, 20:60], image)


def test_a_blurred_surrounding_is_the_picture_without_its_detail() -> None:
    image = np.full((80, 40, 3), 100, np.uint8)
    image[::4] = 140
    placement = place_picture(Size(40, 80), Size(80, 80), "pad", fill=Fill("blur"))
    around = placement.picture(image)[:, :20]
    assert around.mean() == pytest.approx(110, abs=3)
    assert around.std() < 6


def test_a_placement_on_a_placement_is_one() -> None:
    image = np.zeros((90, 60, 3), np.uint8)
    image[30:50, 20:40] = 255
    small = place_picture(Size(60, 90), Size(40, 40), "crop")
    further = place_picture(Size(40, 40), Size(200, 160), "crop")
    both = small.enlarged(further)
    assert both.canvas == (200, 160)
    points = np.array([[20.0, 30.0], [40.0, 50.0]])
    assert both.points(points) == pytest.approx(further.points(small.points(points)), abs=3)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_points_stay_on_the_spot_they_mark(fit: str) -> None:
    image = np.zeros((200, 120, 3), np.uint8)
    image[90:110, 50:70] = 255
    placement = place_picture(Size(120, 200), Size(96, 96), fit)  # type: ignore[arg-type]
    rows, columns = np.nonzero(placement.picture(image)[..., 0] > 127)
    centre = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    assert placement.points(np.array([60.0, 100.0])) == pytest.approx(centre, abs=0.75)


def test_padding_shows_all_and_cropping_fills() -> None:
    image = np.full((40, 80, 3), 9, np.uint8)
    padded = place_picture(Size(80, 40), Size(40, 40), "pad")
    assert padded.scaled == (40, 20)
    assert (padded.picture(image) == 9).all()
    assert place_picture(Size(80, 40), Size(40, 40), "crop").scaled == (80, 40)


@pytest.mark.parametrize(
    ("source", "native"),
    [((800, 1275), (96, 160)), ((1920, 1080), (176, 96)), ((512, 512), (96, 96))],
)
def test_native_sizes_keep_the_shape(source: tuple[int, int], native: tuple[int, int]) -> None:
    assert native_size(Size(*source), 96, 16) == native


@given(sizes, sizes, boxes)
def test_a_crop_keeps_the_person_inside(
    source: Size, canvas: Size, ends: tuple[float, float, float, float]
) -> None:
    (left, right), (top, bottom) = sorted(ends[:2]), sorted(ends[2:])
    person = Box(
        left * source.width, top * source.height, right * source.width, bottom * source.height
    )
    placement = place_picture(source, canvas, "crop", person)
    image = np.zeros((source.height, source.width, 3), np.uint8)
    assert placement.picture(image).shape == (canvas.height, canvas.width, 3)
    x, y = placement.offset
    assert canvas.width - placement.scaled.width <= x <= 0  # no border shows
    assert canvas.height - placement.scaled.height <= y <= 0
    corners = placement.points(np.array([person[:2], person[2:]])).astype(float)
    shown = corners[1] - corners[0]
    if shown[0] <= canvas.width - 2:
        assert corners[:, 0].min() > -1.01
        assert corners[:, 0].max() < canvas.width + 1.01
    if shown[1] <= canvas.height - 2:
        assert corners[:, 1].max() < canvas.height + 1.01
    assert corners[0, 1] > -1.01  # the head, whatever happens


def test_a_crop_stays_in_the_middle_where_that_shows_the_person() -> None:
    source, canvas = Size(200, 100), Size(100, 100)
    middle = place_picture(source, canvas, "crop")
    assert place_picture(source, canvas, "crop", Box(60, 0, 140, 100)) == middle
    assert place_picture(source, canvas, "crop", Box(0, 0, 60, 100)).offset == (0, 0)
    assert place_picture(source, canvas, "crop", Box(130, 0, 180, 100)).offset == (-80, 0)
    padded = place_picture(source, canvas, "pad")
    assert place_picture(source, canvas, "pad", Box(0, 0, 60, 100)) == padded


def test_the_box_of_a_person_has_room_for_hair_and_counts_what_is_seen() -> None:
    points = np.array([[50.0, 20.0], [60.0, 120.0], [199.0, 5.0]])
    box = person_box(points, np.array([0.9, 0.9, 0.1]), Size(200, 150), 0.3)
    assert box == pytest.approx((46, 12, 64, 124))
    assert person_box(points, np.zeros(3), Size(200, 150), 0.3) is None
