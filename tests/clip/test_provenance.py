from __future__ import annotations

import importlib.util
import json
import sys
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate.animator import Animator
from animate.cli.main import main
from animate.clip.provenance import (
    ShortCopy,
    check_signing,
    read_credentials,
    read_short_copy,
    sign_clip,
)
from animate.clip.record import Credentials
from animate.errors import ExecutorError, MediaError, RequestError
from animate.media import open_writer
from animate.request.request import AnimationRequest
from animate.request.values import Signing
from tests.scene import write_scene
from tests.toy import toy_model

needs_c2pa = pytest.mark.skipif(
    importlib.util.find_spec("c2pa") is None, reason="needs c2pa: pip install 'cnx-animate[c2pa]'"
)
COPY = ShortCopy(
    made_by="cnx-animate 1.0",
    model="tiny",
    seed=7,
    digest="ab" * 32,
    inputs={"reference": "12" * 8, "driving": "34" * 8},
)


def write(path: Path, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    with open_writer(path, size=(64, 48), fps=Fraction(25), metadata=metadata) as writer:
        for level in range(6):
            writer.write(np.full((48, 64, 3), 40 * level, np.uint8))
    return path


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """CERT:KEY of a signer whose root nobody knows."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    folder = tmp_path_factory.mktemp("keys")
    now = datetime.now().astimezone()

    def named(name: str) -> Any:
        parts = ((NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, "Tests"))
        return x509.Name([x509.NameAttribute(*part) for part in parts])

    def certificate(subject: str, key: Any, issuer: str, by: Any, usage: dict[str, bool]) -> Any:
        root = subject == issuer
        flags = ("digital_signature", "content_commitment", "key_encipherment", "crl_sign",
                 "data_encipherment", "key_agreement", "key_cert_sign", "encipher_only",
                 "decipher_only")  # fmt: skip
        builder = (
            x509.CertificateBuilder(named(issuer), named(subject), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=20))
            .add_extension(x509.BasicConstraints(root, None), critical=True)
            .add_extension(x509.KeyUsage(**{f: usage.get(f, False) for f in flags}), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
            )
        )
        if not root:
            mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(mail, critical=True)
        return builder.sign(by, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("Root", root_key, "Root", root_key, {"key_cert_sign": True})
    leaf = certificate("A signer", key, "Root", root_key, {"digital_signature": True})
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return f"{folder}/chain.pem:{folder}/key.pem"


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "frames/%04d.png"])
def test_the_copy_comes_back_from_the_file_itself(name: str, tmp_path: Path) -> None:
    clip = write(tmp_path / name, COPY.metadata())
    copy = read_short_copy(clip)
    assert copy == COPY
    assert copy is not None
    assert copy.digest == COPY.digest
    assert copy.synthetic is True


def test_a_clip_of_somebody_else_says_nothing_of_ours(tmp_path: Path) -> None:
    assert read_short_copy(write(tmp_path / "a.mp4")) is None
    assert read_short_copy(write(tmp_path / "b.mp4", {"comment": "holiday"})) is None
    assert read_short_copy(write(tmp_path / "c.mp4", {"comment": '{"made_by": 3}'})) is None


def test_the_same_clip_has_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{name}.mp4", COPY.metadata()).read_bytes() for name in "ab")
    assert first == second


@needs_c2pa
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_a_signed_clip_says_by_whom_and_of_what(name: str, tmp_path: Path, signing: str) -> None:
    clip = write(tmp_path / name, COPY.metadata())
    assert read_credentials(clip) is None
    assert sign_clip(clip, Signing.parse(signing), COPY) == Credentials(
        signer="A signer", state="Valid"
    )
    found = read_credentials(clip)
    assert found is not None
    assert found.settings == COPY.values()
    assert read_short_copy(clip) == COPY, "the container's own words stay"
    assert [file.name for file in tmp_path.iterdir()] == [name], "nothing is left beside it"


@needs_c2pa
def test_a_change_after_signing_is_seen(
    tmp_path: Path, signing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write(tmp_path / "a.mp4", COPY.metadata())
    sign_clip(clip, Signing.parse(signing), COPY)
    data = bytearray(clip.read_bytes())
    data[-20] ^= 1
    clip.write_bytes(data)
    found = read_credentials(clip)
    assert found is not None
    assert found.state == "Invalid"
    assert main(["info", str(clip)]) == 2
    assert "changed after it was signed" in capsys.readouterr().err


@needs_c2pa
def test_what_cannot_be_signed_is_known_before_any_work(tmp_path: Path, signing: str) -> None:
    chain, _, key = signing.rpartition(":")
    check_signing(Signing.parse(signing), tmp_path / "a.mp4")
    with pytest.raises(RequestError, match=r"\.mp4"):
        check_signing(Signing.parse(signing), tmp_path / "a.mkv")
    with pytest.raises(RequestError, match="CERT:KEY"):
        check_signing(Signing.parse("chain.pem"), tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"private key .*no\.pem does not exist"):
        check_signing(Signing.parse(f"{chain}:{tmp_path}/no.pem"), tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"certificate chain .*key\.pem cannot be used"):
        check_signing(Signing.parse(f"{key}:{key}"), tmp_path / "a.mp4")
    swapped = tmp_path / "swapped.pem"
    parts = Path(chain).read_text().split("-----END CERTIFICATE-----\n")
    swapped.write_text("-----END CERTIFICATE-----\n".join([parts[1], parts[0], ""]))
    with pytest.raises(MediaError, match=r"key\.pem does not belong to the first certificate"):
        check_signing(Signing.parse(f"{swapped}:{key}"), tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="PKCS#8"):
        check_signing(Signing.parse(f"{chain}:{chain}"), tmp_path / "a.mp4")


def test_without_c2pa_the_extra_is_named(
    tmp_path: Path, signing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(ExecutorError, match=r"pip install 'cnx-animate\[c2pa\]'"):
        check_signing(Signing.parse(signing), tmp_path / "a.mp4")


@needs_c2pa
def test_a_run_from_request_to_info(
    tmp_path: Path, signing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    toy_model(tmp_path / "toy")
    files = write_scene(tmp_path)
    runtime = {"sign": signing}
    request = AnimationRequest.from_dict(
        {**files, "output": tmp_path / "clip.mp4", "retarget": "none", "runtime": runtime}
    )
    result = Animator.from_pretrained(tmp_path / "toy")(request)
    record = json.loads(result.sidecar.read_text())
    assert record["credentials"] == {"signer": "A signer", "state": "Valid"}
    assert record["windows"] == "this process"
    assert main(["info", str(result.output)]) == 0
    shown = capsys.readouterr().out
    assert "of this very run" in shown
    assert "Valid, by A signer" in shown
    assert main(["info", "--json", str(result.output)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["copy"]["digest"] == record["digest"]
    assert found["same_run"] is True
    assert main(["info", "--progress", "json", str(result.output)]) == 0
    assert json.loads(capsys.readouterr().out)["copy"] == found["copy"]


def test_info_of_a_clip_that_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(write(tmp_path / "a.mp4"))]) == 2
    assert "does not say where it comes from" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "none.mp4")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_sequence_of_another_kind_starts_no_program(tmp_path: Path) -> None:
    """A PostScript file would be given to an interpreter, whatever its name."""
    (tmp_path / "0001.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n")
    with pytest.raises(MediaError, match="cannot be read"):
        read_short_copy(tmp_path / "%04d.png")
