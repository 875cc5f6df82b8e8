"""Previews of a clip while it is made: its model's colours, kept for the next time, and a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from animate.device import computing_dtype
from animate.driving.cache import colours_folder
from animate.errors import MediaError
from animate.files import write_bytes
from animate.generate.engine import Engine
from animate.generate.preview import (
    LatentColours,
    LivePreview,
    OnPreview,
    Painter,
    Preview,
    TinyDecoder,
    fit_colours,
    sheet,
)
from animate.media import write_png
from animate.models.components import Components
from animate.models.tiny_decoder import load_tiny_decoder
from animate.progress import Progress
from animate.request.request import AnimationRequest
from animate.request.setting import NONE
from temporal.offload import offloaded

_FIT = 1
"""Number of the way that colours are fitted; another way has another."""


def live_preview(
    engine: Engine, request: AnimationRequest, on_preview: OnPreview | None, progress: Progress
) -> LivePreview | None:
    """Previews into the request's file, and to whoever listens; None where nobody wants any."""
    listeners: list[OnPreview] = []
    if request.preview is not None:
        listeners.append(_file_writer(request.preview, progress))
    if on_preview is not None:
        listeners.append(on_preview)
    if not listeners:
        if request.runtime.preview_decoder is not None:
            progress.warn("--preview-decoder draws nothing, since no preview is asked for")
        return None

    def tell_all(preview: Preview) -> None:
        for listener in listeners:
            listener(preview)

    return LivePreview(painter=_painter(engine, request), on_preview=tell_all)


def _painter(engine: Engine, request: AnimationRequest) -> Painter:
    """The tiny decoder that is named, or the colours of the model's own latents."""
    folder = request.runtime.preview_decoder
    if folder is None:
        return colours_of(engine, colours_file(request.runtime.cache, engine.components))
    vae, scale = engine.components.vae, engine.latent_scale
    network = load_tiny_decoder(folder, channels=vae.config.latent_channels, scale=scale)
    return TinyDecoder(network=network.to(engine.device, computing_dtype(vae)), side=scale)


def _file_writer(path: Path, progress: Progress) -> OnPreview:
    """Writes previews to a file, whole ones only. A disk that is full is no reason to stop."""
    failed: list[MediaError] = []

    def write(preview: Preview) -> None:
        try:
            write_png(path, sheet(preview))
        except MediaError as reason:
            if not failed:
                progress.warn(f"the preview is not renewed: {reason}")
            failed.append(reason)

    return write


def colours_file(folder: Path | None, parts: Components) -> Path | None:
    """The file that keeps the colours of a model's autoencoder; None where nothing is to be kept.

    `folder` None is the user's own cache.
    """
    if folder == NONE:
        return None
    references = parts.variant.components["vae"].weights
    names = [parts.variant.file(reference).path for reference in references]
    digests = [parts.digests.get(name, "") for name in names]
    if not all(digests):
        return None
    key = hashlib.sha256("|".join([str(_FIT), *digests]).encode()).hexdigest()[:32]
    return colours_folder(folder) / f"{key}.json"


def colours_of(engine: Engine, file: Path | None) -> LatentColours:
    """The colours in the file; or fitted now, on the engine's device, and kept there."""
    if file is not None and (known := _read(file)) is not None:
        return known
    vae = engine.components.vae
    with offloaded(vae, engine.device, engine.offload):
        colours = fit_colours(vae, engine.device)
    if file is not None:
        _keep(file, colours)
    return colours


def _read(file: Path) -> LatentColours | None:
    try:
        matrix = torch.tensor(json.loads(file.read_text()), dtype=torch.float32)
    except (OSError, ValueError, TypeError):
        return None  # it is made again
    return LatentColours(matrix=matrix) if matrix.ndim == 2 and matrix.shape[1] == 3 else None


def _keep(file: Path, colours: LatentColours) -> None:
    """A folder that cannot be written is no reason to stop: the next clip fits them again."""
    data = json.dumps(colours.matrix.tolist()).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, data, follow=False)
    except OSError:
        return
