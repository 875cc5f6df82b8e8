from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animate.geometry import native_size, place
from animate.values import Size

sizes = st.builds(Size, st.integers(8, 300), st.integers(8, 300))


@given(sizes, sizes, st.sampled_from(["crop", "pad", "stretch"]))
def test_pictures_come_out_at_the_size_asked_for(source: Size, canvas: Size, fit: str) -> None:
    image = np.zeros((source.height, source.width, 3), np.uint8)
    assert place(source, canvas, fit).picture(image).shape == (canvas.height, canvas.width, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_points_stay_on_the_spot_they_mark(fit: str) -> None:
    image = np.zeros((200, 120, 3), np.uint8)
    image[90:110, 50:70] = 255
    placement = place(Size(120, 200), Size(96, 96), fit)  # type: ignore[arg-type]
    rows, columns = np.nonzero(placement.picture(image)[..., 0] > 127)
    centre = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    assert placement.points(np.array([60.0, 100.0])) == pytest.approx(centre, abs=0.75)


def test_padding_shows_all_and_cropping_fills() -> None:
    image = np.full((40, 80, 3), 9, np.uint8)
    padded = place(Size(80, 40), Size(40, 40), "pad")
    assert padded.scaled == (40, 20)
    assert (padded.picture(image) == 9).all()
    assert place(Size(80, 40), Size(40, 40), "crop").scaled == (80, 40)


@pytest.mark.parametrize(
    ("source", "native"),
    [((800, 1275), (96, 160)), ((1920, 1080), (176, 96)), ((512, 512), (96, 96))],
)
def test_native_sizes_keep_the_shape(source: tuple[int, int], native: tuple[int, int]) -> None:
    assert native_size(Size(*source), 96, 16) == native
