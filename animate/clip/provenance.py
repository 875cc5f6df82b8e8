"""Provenance that a clip states: a few words in the file itself, and signed ones if asked for.

The sidecar has everything. The container's comment has a short copy that stays with the clip when
the sidecar is lost: model, seed, digests of inputs and of all settings. Content Credentials (C2PA)
say the same, bound to the file's bytes by a signature; they are an extra, and come last, since
whatever changes the file afterwards breaks them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import animate
from animate.clip.fingerprint import Fingerprint
from animate.clip.record import Credentials, ModelRecord
from animate.clip.typed_json import from_plain
from animate.errors import ExecutorError, MediaError, RequestError, reason_of
from animate.files import check_readable, is_sequence
from animate.media.comments import COMMENTED, read_comment
from animate.request.values import Signing

SIGNED_FORMATS = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
"""Suffixes of clips that can hold Content Credentials, and their media types."""

SETTINGS_LABEL = "cnx-animate.generate.settings"
_MAKER = "cnx-animate"
# Of the IPTC's vocabulary, as the C2PA specification asks for.
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@dataclass(frozen=True, kw_only=True)
class ShortCopy:
    """The record's essence: who made the clip, of what, with which settings."""

    made_by: str
    synthetic: bool = True
    model: str
    seed: int
    digest: str
    """Fingerprint of the pictures."""
    inputs: Mapping[str, str]
    """First 16 digits of the digest of each input."""
    adapters: int = 0
    """Number of adapters (LoRA)."""

    @classmethod
    def of(cls, model: ModelRecord, seed: int, fingerprint: Fingerprint) -> Self:
        """The essence of a clip that is about to be written."""
        return cls(
            made_by=f"{_MAKER} {animate.__version__}",
            model=model.name,
            seed=seed,
            digest=fingerprint.digest,
            inputs={name: digest[:16] for name, digest in fingerprint.inputs.items()},
            adapters=len(model.lora),
        )

    def values(self) -> dict[str, object]:
        """As plain JSON values; `adapters` only where there are any."""
        values = asdict(self)
        return values if self.adapters else {k: v for k, v in values.items() if k != "adapters"}

    def metadata(self) -> dict[str, str]:
        """As a container's metadata. The same clip has the same."""
        return {"comment": json.dumps(self.values(), separators=(",", ":"))}


def read_short_copy(clip: Path) -> ShortCopy | None:
    """The short copy in a clip (the first picture of a sequence); None if it has none of ours.

    Raises MediaError when the clip cannot be read.
    """
    try:
        copy: ShortCopy = from_plain(ShortCopy, json.loads(_comment(clip)))
    except (ValueError, RecursionError):
        return None
    return copy if copy.made_by.startswith(_MAKER) else None


def _comment(clip: Path) -> str:
    if is_sequence(clip):
        from PIL import Image

        from animate.media.image import FORMATS

        pictures = sorted(clip.parent.glob(f"*{clip.suffix}"))
        if not pictures:
            raise MediaError(f"{clip} has no pictures; check the path")
        try:
            with Image.open(pictures[0], formats=FORMATS) as picture:
                return str(picture.info.get("comment", ""))
        except OSError as reason:
            raise MediaError(f"{pictures[0]} cannot be read: {reason_of(reason)}") from reason
    import av

    from animate.media.containers import local_url

    check_readable(clip, "clip", MediaError)
    if clip.suffix.lower() in COMMENTED:
        try:
            return read_comment(clip)
        except OSError as reason:
            raise MediaError(f"clip {clip} cannot be read: {reason_of(reason)}") from reason
    try:
        with av.open(local_url(clip), metadata_errors="replace") as container:
            metadata = {name.lower(): value for name, value in container.metadata.items()}
    except (av.error.FFmpegError, OSError) as reason:
        raise MediaError(f"clip {clip} cannot be read: {reason_of(reason)}") from reason
    return metadata.get("comment", "")


def check_signable(output: Path) -> None:
    """Raise RequestError for a clip whose kind cannot hold credentials."""
    if is_sequence(output) or output.suffix.lower() not in SIGNED_FORMATS:
        raise RequestError(
            f"{output} cannot hold Content Credentials; clips that can: {', '.join(SIGNED_FORMATS)}"
        )


def check_signing(sign: Signing, output: Path) -> None:
    """Everything that can be known to be wrong with `--sign` before any work.

    Raises RequestError for a clip that cannot hold credentials, MediaError for files that are not
    there, ExecutorError where the extra is missing.
    """
    check_signable(output)
    _signer(sign)


def sign_clip(clip: Path, sign: Signing, copy: ShortCopy, name: str = "") -> Credentials:
    """Put signed Content Credentials into a clip that is not at its name yet; its last change.

    `name` is the one that it will have, where `clip` is a partial file. Returns the credentials for
    the record. Raises MediaError when it cannot be done; the file is of no use then.
    """
    c2pa, signer, name = _c2pa(), _signer(sign), name or clip.name
    kind = SIGNED_FORMATS[Path(name).suffix.lower()]
    builder = c2pa.Builder(json.dumps(_manifest(name, kind, copy)))
    try:
        with tempfile.TemporaryFile(dir=clip.parent) as signed, open(clip, "r+b") as file:
            builder.sign(signer, kind, file, signed)
            signed.seek(0)
            file.seek(0)
            shutil.copyfileobj(signed, file)
            file.truncate()
    except (c2pa.C2paError, OSError) as reason:
        raise MediaError(f"{name} could not be signed: {reason}") from reason
    signature = read_credentials(clip, name)
    assert signature is not None
    return Credentials(signer=signature.signer, state=signature.state)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Content Credentials of a clip, checked against its bytes."""

    state: str
    """Trusted, Valid (of a signer that this machine does not know) or Invalid (the file was
    changed, or the signature is wrong)."""
    signer: str
    settings: Mapping[str, object] | None
    """The short copy that was signed."""


def read_credentials(clip: Path, name: str = "") -> Signature | None:
    """The Content Credentials of a clip; None if it has none. `name` says its kind otherwise.

    Raises ExecutorError where the extra is missing, MediaError when they cannot be read.
    """
    c2pa = _c2pa()
    kind = SIGNED_FORMATS.get(Path(name or clip.name).suffix.lower())
    if kind is None:
        return None
    try:
        with open(clip, "rb") as file:
            reader = c2pa.Reader(kind, file)
            store = json.loads(reader.json())
            state = str(reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, OSError) as reason:
        raise MediaError(
            f"the Content Credentials of {clip} cannot be read: {reason_of(reason)}"
        ) from reason
    active = store["manifests"][store["active_manifest"]]
    settings = [a["data"] for a in active["assertions"] if a["label"] == SETTINGS_LABEL]
    signature = active.get("signature_info", {})
    return Signature(
        state=state,
        signer=signature.get("common_name") or signature.get("issuer") or "unknown",
        settings=settings[0] if settings else None,
    )


def _manifest(name: str, kind: str, copy: ShortCopy) -> dict[str, object]:
    maker = {"name": _MAKER, "version": animate.__version__}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": _SOURCE_TYPE,
        "softwareAgent": maker,
    }
    return {
        "claim_generator_info": [maker],
        "title": name,
        "format": kind,
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [created]}},
            {"label": SETTINGS_LABEL, "data": copy.values()},
        ],
    }


def _signer(sign: Signing) -> Any:
    """The signer of a certificate chain and its key."""
    chain, key = map(str, sign)
    certificates = check_readable(chain, "certificate chain", MediaError).read_bytes()
    secret = check_readable(key, "private key", MediaError).read_bytes()
    c2pa = _c2pa()
    algorithm = _algorithm(secret, key)
    _check_pair(certificates, secret, chain, key)
    try:
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, certificates, secret, None))
    except (c2pa.C2paError, ValueError) as reason:
        raise MediaError(f"{chain} and {key} cannot sign: {reason}") from reason


def _algorithm(secret: bytes, key: str) -> bytes:
    """The signature that goes with a private key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(secret, password=None)
    except (ValueError, TypeError) as reason:
        raise MediaError(
            f"private key {key} cannot be used: {reason}; give a PKCS#8 PEM file without a password"
        ) from reason
    if isinstance(private, ec.EllipticCurvePrivateKey):
        bits = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
        if private.curve.name in bits:
            return bits[private.curve.name]
    elif isinstance(private, rsa.RSAPrivateKey):
        return b"ps256"
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    raise MediaError(f"private key {key} is of a kind that Content Credentials do not know")


def _check_pair(certificates: bytes, secret: bytes, chain: str, key: str) -> None:
    """Raise MediaError unless the key belongs to the chain's first certificate, still valid."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    try:
        leaf = load_pem_x509_certificates(certificates)[0]
    except ValueError as reason:
        raise MediaError(f"certificate chain {chain} cannot be used: {reason}") from reason
    if leaf.public_key() != load_pem_private_key(secret, password=None).public_key():
        raise MediaError(
            f"private key {key} does not belong to the first certificate of {chain}; the signer's "
            "own certificate comes first"
        )
    if leaf.not_valid_after_utc < datetime.now(UTC):
        raise MediaError(f"the certificate in {chain} ended on {leaf.not_valid_after_utc:%Y-%m-%d}")


def _c2pa() -> Any:
    try:
        import c2pa
    except ImportError as reason:
        raise ExecutorError(
            "to sign, c2pa-python is needed; install it: pip install 'cnx-animate[c2pa]'"
        ) from reason
    return c2pa
