"""Keys of jobs: the fingerprint of the clip that a request asks for, before it is made.

Two jobs with one key make the same file; a record with a job's key is of that very clip. Names and
folders of inputs do not count, their contents do. Neither do the device, threads or memory plan,
which change nothing beyond rounding, nor this program's version.
"""

from __future__ import annotations

from animate.clip.fingerprint import FileDigests, Fingerprint, file_settings, picture_settings
from animate.errors import MediaError
from animate.files import check_readable
from animate.generate.settings import settle
from animate.media import check_driving, read_image
from animate.models.store import recorded_digest
from animate.models.variants import ModelVariant, resolve
from animate.request.request import AnimationRequest
from animate.request.values import Size


class Keys:
    """Computes keys; a file is read once for as long as it is not changed."""

    def __init__(self) -> None:
        self.digests = FileDigests()
        """Digests of the inputs, for those who make the clips."""
        self._sizes: dict[tuple[str, int, int], Size] = {}
        self._models: dict[str, tuple[ModelVariant, dict[str, str]]] = {}

    def of(self, request: AnimationRequest) -> Fingerprint:
        """The key of a request.

        Raises MediaError, RequestError or ModelError where the job cannot work.
        """
        variant, weights = self.model(request.model)
        _check_inputs(request)
        try:
            inputs = self.digests.of_inputs(request)
            if request.runtime.sign is not None:  # who signs, with whatever key
                inputs["certificate"] = self.digests.of(request.runtime.sign.chain)
        except OSError as reason:
            raise MediaError(
                f"{reason.filename} cannot be read: {(reason.strerror or str(reason)).lower()}"
            ) from reason
        settings = settle(request, variant, self._size_of(request))
        pictures = picture_settings(request, settings, variant.name)
        return Fingerprint(
            inputs=inputs, settings={**pictures, **file_settings(request)}, weights=weights
        )

    def model(self, name: str) -> tuple[ModelVariant, dict[str, str]]:
        """The variant of that name, and the digests of its weights. Raises ModelError."""
        if name not in self._models:
            variant = resolve(name).variant
            digests = {}
            for component in variant.components.values():
                for reference in component.weights:
                    file = variant.file(reference)
                    path = file.locate()
                    stated = file.digest or (recorded_digest(path) if path else None)
                    digests[file.path] = stated or "not here"
            self._models[name] = variant, digests
        return self._models[name]

    def _size_of(self, request: AnimationRequest) -> Size:
        """The clip's size, or the reference's where the request leaves it open."""
        if stated := request.size or request.enlarge_to:
            return stated
        state = request.reference.stat()
        stamp = (str(request.reference), state.st_size, state.st_mtime_ns)
        if stamp not in self._sizes:
            height, width = read_image(request.reference).shape[:2]
            self._sizes[stamp] = Size(width, height)
        return self._sizes[stamp]


def _check_inputs(request: AnimationRequest) -> None:
    """Raise MediaError for an input that is missing or no file."""
    check_readable(request.reference, "reference image", MediaError)
    check_driving(request.driving)
    sign = request.runtime.sign
    certificate = [] if sign is None else [("certificate", sign.chain)]
    for name, path in (*request.paths("input"), *certificate):
        if name != "driving" and not path.is_dir():
            check_readable(path, name.replace("_", " "), MediaError)
