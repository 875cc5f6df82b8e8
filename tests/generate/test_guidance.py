"""Guidance: along the window, within an interval, and none where it would cancel out."""

from __future__ import annotations

import pytest
import torch

from animate.errors import RequestError
from animate.generate.guidance import guide, step_scales, window_scales
from animate.request.values import Guidance, NoiseInterval

SIGMAS = [700.0, 50.0, 5.0, 0.5]


def test_the_scale_runs_linearly_over_the_window():
    assert window_scales(Guidance(1, 3), 5).tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert window_scales(Guidance(2, 3), 1).tolist() == [2.0]


def test_outside_the_interval_there_is_none():
    scales = step_scales(Guidance(1, 3), 5, SIGMAS, interval=NoiseInterval(low=1, high=50))
    assert [scale is None for scale in scales] == [True, False, False, True]
    assert all(scale is not None for scale in step_scales(Guidance(1, 3), 5, SIGMAS))


def test_a_scale_of_one_is_none():
    assert step_scales(Guidance(1, 1), 5, SIGMAS) == (None,) * 4
    assert None not in step_scales(Guidance(0, 0), 5, SIGMAS)


def test_guiding_goes_from_blank_through_known():
    blank, known = torch.zeros(2, 3, 1, 1, 1), torch.ones(2, 3, 1, 1, 1)
    guided = guide(blank, known, torch.tensor([0.0, 1.0, 2.5]))
    assert guided.flatten(1).tolist() == [[0.0, 1.0, 2.5]] * 2


@pytest.mark.parametrize("ends", [(5, 5), (6, 5), (-1, 5), (float("nan"), 5)])
def test_an_empty_interval_is_refused(ends):
    with pytest.raises(RequestError, match=r"such as 0\.3:10"):
        NoiseInterval.parse(ends)
