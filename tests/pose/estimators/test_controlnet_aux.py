"""The optional backend: never imported unasked, honest where its stack is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pose.errors import PoseError
from pose.estimators import load_estimator


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mmpose", None)
    with pytest.raises(PoseError, match=r"mmpose.*cnx-animate\[controlnet-aux\]"):
        load_estimator("controlnet-aux")


def test_it_is_not_imported_by_the_others():
    code = (
        "import sys; from pose.estimators import load_estimator; load_estimator('blazepose');"
        "assert not {'controlnet_aux', 'torch', 'animate'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_checkpoints_have_to_be_local(controlnet_aux, tmp_path):
    with pytest.raises(PoseError, match="detector checkpoint as a local file"):
        load_estimator("controlnet-aux")
    with pytest.raises(PoseError, match="pose checkpoint as a local file"):
        load_estimator("controlnet-aux", detector=tmp_path / "detector.pth")


def test_its_own_failure_becomes_one_message(controlnet_aux):
    with pytest.raises(PoseError, match="RuntimeError: no such device"):
        controlnet_aux("broken")


def test_it_sees_blue_first(controlnet_aux):
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[..., 2] = 40
    frame[0, 0] = 255
    points, _ = controlnet_aux()(frame)
    assert points[0, 0, 0] == pytest.approx(frame[..., 2].mean())
