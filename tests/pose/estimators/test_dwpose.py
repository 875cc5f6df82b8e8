"""DWPose: the published processing to the published numbers, the pins, and the device."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from pose import layout
from pose.errors import PoseError
from pose.estimators import dwpose as module
from pose.estimators import dwpose_processing as processing
from pose.estimators import load_estimator
from pose.estimators.sessions import runtime
from tests.pose.estimators import stand_ins

VECTORS = Path(__file__).parents[2] / "data" / "parity" / "pose.safetensors"


@pytest.fixture(scope="module")
def vectors():
    with safe_open(VECTORS, "np") as file:
        settings = json.loads(file.metadata()["settings"])
        return settings, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def normal(shape: tuple[int, ...], name: str, salt: str) -> np.ndarray:
    """The vectors' standard-normal arrays: a function of salt and name."""
    seed = zlib.crc32(f"{salt}:{name}".encode())
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def logistic(values):
    return 1 / (1 + np.exp(-values))


def detector_output(settings, tensors) -> np.ndarray:
    raw = np.full((1, 8400, 85), logistic(np.float32(-6)), np.float32)
    raw[..., :4] = 0.5 * normal(raw.shape, "yolox", settings["salt"])[..., :4]
    raw[:, settings["detector_cells"]] = tensors["dwpose.detector_output"]
    return raw


def test_detector_input(vectors):
    _, tensors = vectors
    values, scale = processing.detector_input(tensors["dwpose.frame"])
    assert scale == 640 / 240
    assert np.array_equal(values[..., ::8, ::8], tensors["dwpose.detector_input_every_8th"])


def test_boxes(vectors):
    settings, tensors = vectors
    boxes = processing.detected_boxes(detector_output(settings, tensors), 640 / 240)
    assert np.array_equal(boxes, tensors["dwpose.boxes"])


def test_pose_inputs(vectors):
    _, tensors = vectors
    inputs = processing.pose_inputs(tensors["dwpose.frame"], tensors["dwpose.boxes"])
    assert inputs.shape == (2, 3, 384, 288)
    assert np.array_equal(inputs[..., ::4, ::4], tensors["dwpose.pose_input_every_4th"])


def test_points_and_scores(vectors):
    settings, tensors = vectors
    simcc = [
        np.concatenate(
            [
                logistic(2 * normal((1, 133, bins), f"simcc_{axis}{i}", settings["salt"]) - 1)
                for i in range(2)
            ]
        )
        for axis, bins in (("x", 576), ("y", 768))
    ]
    points, scores = processing.to_layout(
        *processing.decoded_points(*simcc, tensors["dwpose.boxes"])
    )
    assert np.abs(points - tensors["dwpose.keypoints"]).max() < 1e-9
    assert np.array_equal(scores, tensors["dwpose.scores"])


def test_the_neck_is_there_only_with_both_shoulders():
    points = np.zeros((2, 133, 2))
    points[:, 5], points[:, 6] = (10, 20), (30, 24)
    scores = np.full((2, 133), 0.9)
    scores[1, 6] = 0.3
    points, scores = processing.to_layout(points, scores)
    assert points[0, layout.NECK].tolist() == [20, 22]
    assert scores[:, layout.NECK].tolist() == [1, 0]


def test_nothing_on_an_axis_is_no_point():
    x, y = np.zeros((1, 133, 576), np.float32), np.full((1, 133, 768), 0.5, np.float32)
    points, scores = processing.decoded_points(x, y, np.array([[0, 0, 100, 100]], np.float32))
    assert (scores == 0).all()
    assert (points < 0).all()


def test_the_networks_are_joined(dwpose):
    """Boxes in the detector's picture, bins in the pose network's: points in the frame."""
    frame = np.full((320, 320, 3), 255, np.uint8)  # half of the detector's input
    points, scores = dwpose(frame)
    assert len(points) == 2  # not the second box of one person, the bicycle, the doubtful one
    x, y = stand_ins.joint_bins()
    for person, box in enumerate(stand_ins.PEOPLE):
        left, top, right, bottom = (v / 2 for v in box)
        width = max((right - left) * 1.25, (bottom - top) * 1.25 * 288 / 384)
        height = width * 384 / 288
        nose = (
            (left + right) / 2 + (x[0, 0].argmax() / 576 - 0.5) * width,
            (top + bottom) / 2 + (y[0, 0].argmax() / 768 - 0.5) * height,
        )
        assert points[person, layout.NOSE] == pytest.approx(nose, abs=1e-3)
    assert scores[0, layout.NOSE] == pytest.approx(0.9)


def test_without_a_box_the_whole_frame_is_one():
    frame = np.zeros((50, 80, 3), np.uint8)
    assert processing.whole_frame(frame).tolist() == [[0, 0, 80, 50]]


def test_the_digest_is_that_of_the_files(dwpose, dwpose_files, tmp_path):
    copied = tmp_path / "other name.onnx"
    copied.write_bytes(dwpose_files[1].read_bytes())
    same = load_estimator("dwpose", detector=dwpose_files[0], pose=copied, verify=False)
    assert same.digest == dwpose.digest
    swapped = load_estimator("dwpose", detector=dwpose_files[1], pose=dwpose_files[1], verify=False)
    assert swapped.digest != dwpose.digest


def test_other_files_than_the_published_are_refused(dwpose_files, monkeypatch):
    detector, pose = dwpose_files
    with pytest.raises(PoseError, match=r"not the published yolox_l.onnx.*216,746,733"):
        load_estimator("dwpose", detector=detector, pose=pose)
    pin = module.NetworkPin(name="yolox_l.onnx", size=detector.stat().st_size, sha256="0" * 64)
    monkeypatch.setattr(module, "DETECTOR", pin)
    with pytest.raises(PoseError, match=r"sha256 is .* instead of 0000"):
        load_estimator("dwpose", detector=detector, pose=pose)


def test_a_folder_holds_the_published_names(dwpose_files, tmp_path):
    with pytest.raises(PoseError, match=r"yolox_l.onnx does not exist"):
        load_estimator("dwpose", folder=tmp_path)
    for path, pin in zip(dwpose_files, (module.DETECTOR, module.POSE), strict=True):
        (tmp_path / pin.name).write_bytes(path.read_bytes())
    assert load_estimator("dwpose", folder=tmp_path, verify=False).name == "dwpose"


@pytest.mark.parametrize(
    ("width", "height", "bins", "names"),
    [
        (192, 256, 2, ("simcc_x", "simcc_y")),
        (288, 384, 3, ("b", "a")),
        (256, 256, 2, ("simcc_x", "simcc_y")),
    ],
)
def test_any_whole_body_simcc_network_serves(dwpose_files, tmp_path, width, height, bins, names):
    """Sizes and names are the file's; `a` and `b` come in the other order."""
    file = stand_ins.write_simcc(tmp_path / "rtmw.onnx", width, height, bins, names)
    options = {"detector": dwpose_files[0], "verify": False}
    estimator = load_estimator("dwpose", **options, network=file)
    points, scores = estimator(np.full((320, 320, 3), 255, np.uint8))
    for person, box in enumerate(stand_ins.PEOPLE):
        middle = (box[0] + box[2]) / 4, (box[1] + box[3]) / 4  # the frame is half of the input
        assert points[person, layout.NOSE] == pytest.approx(middle, abs=1e-3)
    assert scores[0, layout.NOSE] == pytest.approx(0.8)
    assert estimator.digest != load_estimator("dwpose", **options, pose=dwpose_files[1]).digest


def test_a_network_of_other_points_is_refused(dwpose_files, tmp_path):
    names = ("simcc_x", "simcc_y")
    body = stand_ins.write_simcc(tmp_path / "body.onnx", 192, 256, 2, names, points=17)
    for path in (body, dwpose_files[0]):
        with pytest.raises(PoseError, match="is no whole-body SimCC network"):
            load_estimator("dwpose", detector=dwpose_files[0], network=path, verify=False)


def test_missing_files_name_the_licence():
    with pytest.raises(PoseError, match="non-commercial"):
        load_estimator("dwpose")


def test_a_device_that_is_not_there_is_an_error(dwpose, dwpose_files, monkeypatch):
    assert dwpose.provider == "CPUExecutionProvider"
    detector, pose = dwpose_files
    for unknown in ("tpu", "cuda:x", "cpu:1"):
        with pytest.raises(PoseError, match="choose cpu or cuda"):
            load_estimator("dwpose", detector=detector, pose=pose, verify=False, device=unknown)
    monkeypatch.setattr(runtime(), "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PoseError, match="onnxruntime-gpu"):
        load_estimator("dwpose", detector=detector, pose=pose, verify=False, device="cuda")


def test_networks_run_on_the_card_that_is_named(dwpose_files, monkeypatch):
    detector, pose = dwpose_files
    asked = []

    class Session:
        def __init__(self, path, options, providers):
            asked.extend(providers)

        def get_providers(self):
            return ["CUDAExecutionProvider"]

        def get_inputs(self):
            return [type("Input", (), {"name": "x", "shape": [1, 3, 384, 288]})]

        def get_outputs(self):
            bins = {"simcc_x": [1, 133, 576], "simcc_y": [1, 133, 768]}
            return [type("Output", (), {"name": key, "shape": bins[key]}) for key in bins]

    monkeypatch.setattr(runtime(), "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(runtime(), "InferenceSession", Session)
    digests = set()
    for device, number in (("cuda", "0"), ("cuda:1", "1")):
        asked.clear()
        files = {"detector": detector, "pose": pose, "verify": False}
        digests.add(load_estimator("dwpose", **files, device=device).digest)
        assert asked == [("CUDAExecutionProvider", {"device_id": number})] * 2
    assert len(digests) == 1, "which card it is changes no pose"


def test_what_is_no_network_is_an_error(tmp_path):
    path = tmp_path / "detector.onnx"
    path.write_text("not a network")
    with pytest.raises(PoseError, match=r"detector.onnx cannot be opened"):
        load_estimator("dwpose", detector=path, pose=path, verify=False)
