"""The order of work of stills, from the files of a request to the pictures and their record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animate import files
from animate.driving.estimators import estimator_options
from animate.errors import MediaError, RequestError
from animate.media.image import read_image, write_png
from animate.progress import Progress
from animate.request.schema import paths_of, plain
from animate.request.still import StillRequest
from animate.stills.pipeline import StillPipeline
from pose.draw import draw
from pose.estimators import load_estimator


@dataclass(frozen=True, kw_only=True)
class StillResult:
    """Pictures that were made."""

    outputs: tuple[Path, ...]
    record: Path
    """JSON file with every setting, digest and time."""
    kept: int
    """Pictures of an earlier run of the same series, which were not made again."""


def make_stills(request: StillRequest, progress: Progress) -> StillResult:
    """Make the pictures of a request; those of a series that are there already are kept.

    Raises MediaError, ModelError, PoseError or RequestError; nothing half-written is left.
    """
    if request.base is None:
        raise RequestError("base is missing: name a diffusers folder or a single-file checkpoint")
    for setting, path in paths_of(request, "input"):
        if not path.is_dir():
            files.check_readable(path, setting.name.replace("_", " "), MediaError)
    outputs = list(_outputs(request))
    record_path = request.output.with_suffix(".json")
    digest = _digest(request)
    ready = _ready(record_path, digest)
    missing = [path for path in outputs if path.name not in ready or not path.exists()]
    if request.overwrite:
        missing = outputs
    for path in (*missing, record_path):
        replaced = request.overwrite or (path == record_path and (bool(ready) or not path.exists()))
        files.check_output(path, overwrite=replaced, what="picture", error=MediaError)
    if not missing:
        return StillResult(outputs=tuple(outputs), record=record_path, kept=len(outputs))

    pipeline = _loaded(request)
    control = _control_picture(request, progress)
    if warning := pipeline.check_prompt(request.prompt):
        progress.warn(warning)
    made = {name: value for name, value in ready.items() if not request.overwrite}
    seconds = time.monotonic()
    with progress.stage("stills", len(missing)) as stage:
        for path in missing:
            seed = request.seed + outputs.index(path)
            picture = pipeline(
                request.prompt,
                control,
                negative_prompt=request.negative,
                size=request.size,
                steps=request.steps,
                guidance_scale=request.guidance,
                seed=seed,
                control_weight=request.control_weight,
                control_range=request.control_range,
                scheduler=request.scheduler,
                init=_picture(request.init),
                strength=request.strength,
                ip_image=_picture(request.ip_image),
            )
            pixels = np.asarray(picture.convert("RGB"))
            write_png(path, pixels)
            made[path.name] = {"seed": seed, "sha256": files.sha256(path)}
            _write_record(record_path, request, digest, made, time.monotonic() - seconds)
            stage.advance()
    return StillResult(outputs=tuple(outputs), record=record_path, kept=len(outputs) - len(missing))


def _outputs(request: StillRequest) -> Iterator[Path]:
    if request.count == 1:
        yield request.output
        return
    stem, suffix = request.output.stem, request.output.suffix
    for number in range(request.count):
        yield request.output.with_name(f"{stem}-{number:04}{suffix}")


def _loaded(request: StillRequest) -> StillPipeline:
    assert request.base is not None
    pipeline = StillPipeline.from_files(
        request.base,
        design=request.model,
        controlnext=request.controlnext,
        unet=request.unet,
        device=request.device,
        precision=request.precision,
    )
    pipeline.load_lora(request.lora)
    if request.ip_adapter and request.ip_encoder is not None:
        pipeline.load_ip_adapter(request.ip_adapter[0], request.ip_encoder)
    return pipeline


def _picture(path: Path | None) -> np.ndarray | None:
    return None if path is None else read_image(path)


def _control_picture(request: StillRequest, progress: Progress) -> np.ndarray | None:
    """The control picture (H,W,3) uint8 RGB; one that is made here is written beside the result."""
    if request.control_from is None:
        return _picture(request.control)
    photo = read_image(request.control_from)
    picture = {"canny": canny, "pose": _pose, "depth": _depth}[request.control_kind](photo, request)
    path = request.output.with_name(f"{request.output.stem}-{request.control_kind}.png")
    files.check_output(path, overwrite=True, what="control picture", error=MediaError)
    write_png(path, picture)
    progress.note(f"control: {path}")
    return picture


def canny(photo: np.ndarray, request: StillRequest | None = None) -> np.ndarray:
    """(H,W,3) edges of a photo, by the published thresholds around the median of its grey."""
    import cv2

    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    median = float(np.median(grey))
    edges = cv2.Canny(grey, int(max(0, 0.67 * median)), int(min(255, 1.33 * median)))
    return np.repeat(edges[..., None], 3, 2)


def _pose(photo: np.ndarray, request: StillRequest) -> np.ndarray:
    estimator = load_estimator("blazepose", **estimator_options("blazepose", None, "cpu"))
    points, scores = estimator(photo)
    if not len(points):
        raise MediaError(f"nobody is seen in {request.control_from}; give another photo")
    height, width = photo.shape[:2]
    return draw(points, scores, (width, height), (width, height), "published")


def _depth(photo: np.ndarray, request: StillRequest) -> np.ndarray:
    """(H,W,3) depth of a photo, near is bright, by a model that the user named."""
    from PIL import Image
    from transformers import pipeline

    try:
        estimate: Any = pipeline("depth-estimation", model=str(request.depth_model), device="cpu")
    except (ValueError, OSError, KeyError) as reason:
        raise MediaError(
            f"depth model {request.depth_model} cannot be loaded: {reason}"
        ) from reason
    depth = np.asarray(estimate(Image.fromarray(photo))["depth"].convert("L"))
    return np.repeat(depth[..., None], 3, 2)


def _digest(request: StillRequest) -> str:
    """SHA-256 of all that decides the pictures of a series but their number."""
    import hashlib

    settings = plain(request)
    for name in ("output", "count", "overwrite", "device"):
        del settings[name]
    inputs = {
        str(path): _input_digest(path) for _, path in paths_of(request, "input") if path.exists()
    }
    text = json.dumps({"settings": settings, "inputs": inputs}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _input_digest(path: Path) -> str:
    if path.is_file():
        return files.sha256(path)
    names = sorted(file for file in path.rglob("*") if file.is_file())
    return json.dumps([[str(file.relative_to(path)), file.stat().st_size] for file in names])


def _ready(record: Path, digest: str) -> dict[str, Any]:
    """Pictures by name that an earlier run of the same series has made and nobody changed."""
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        if values["digest"] != digest:
            return {}
        return {
            name: entry
            for name, entry in dict(values["pictures"]).items()
            if _is_same(record.with_name(name), entry["sha256"])
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_same(path: Path, digest: str) -> bool:
    return path.is_file() and files.sha256(path) == digest


def _write_record(
    path: Path, request: StillRequest, digest: str, pictures: dict[str, Any], seconds: float
) -> None:
    from animate import __version__

    values = {
        "kind": "still",
        "program": f"cnx-animate {__version__}",
        "request": plain(request),
        "digest": digest,
        "pictures": pictures,
        "seconds": round(seconds, 3),
    }
    files.write_text(path, json.dumps(values, indent=2) + "\n")
