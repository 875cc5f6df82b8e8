"""Answers of the model hub, and of the disk, in words that say what to do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from animate.errors import ModelError, reason_of
from animate.models.store import ModelFile, hub_library

_USUAL_CACHE = "usually ~/.cache/huggingface"
_OUTDATED = "use a newer version of this program, or correct the variant if it is your own"


def endpoint() -> str:
    """The hub's address; `HF_ENDPOINT` changes it."""
    return str(hub_library().constants.ENDPOINT)


def storage_fault(file: ModelFile, folder: Path, reason: OSError) -> ModelError:
    """A fault of the disk, in words that say what to do."""
    words = reason_of(reason)
    if reason.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"{file}: no room left in {folder}; what came is kept: make room and run the "
            "same command again"
        )
    return ModelError(
        f"{file} cannot be stored in {folder}: {words}; set HF_HOME to a folder that you "
        "may write to"
    )


def explained(file: ModelFile, reason: Exception) -> ModelError:
    """An answer of the hub, or none, in words that say what to do."""
    response = getattr(reason, "response", None) or reason
    status = getattr(response, "status_code", None) or getattr(response, "code", None)
    headers: Any = getattr(response, "headers", None) or {}
    if isinstance(status, int):
        return ModelError(
            _refusal(
                file, status, headers.get("X-Error-Code"), headers.get("X-Error-Message") or ""
            )
        )
    if hub_library().constants.HF_HUB_OFFLINE:
        return ModelError(
            f"{file} is not here, and HF_HUB_OFFLINE is set, so that nothing is fetched; unset it "
            f"and run the same command again, or copy the cache folder (HF_HOME, {_USUAL_CACHE}) "
            "of a machine that has the file"
        )
    words = str(reason).strip().splitlines()
    text = words[0][:200] if words else type(reason).__name__
    return ModelError(
        f"{file} could not be fetched from {endpoint()} ({text}): if this machine is online, run "
        "the same command again, which goes on where this one ended; otherwise run it on a machine "
        f"that is online and copy its cache folder (HF_HOME, {_USUAL_CACHE}) here"
    )


def _refusal(file: ModelFile, status: int, code: str | None, message: str) -> str:
    assert file.source is not None
    repository, page = file.source.repository, f"{endpoint()}/{file.source.repository}"
    settings = f"{endpoint()}/settings/tokens"
    known = hub_library().get_token() is not None
    if status == 401 and "credential" in message.lower():
        return (
            f"{endpoint()} does not take your token: it is wrong or has expired; make one at "
            f"{settings} and run `hf auth login` (HF_TOKEN, where it is set, counts before that)"
        )
    if code == "GatedRepo" and not known:
        return (
            f"{repository} asks for an account: accept its licence ({file.source.licence}) at "
            f"{page}, make a token at {settings}, and run `hf auth login` or set HF_TOKEN; then "
            "run the same command again"
        )
    if code == "GatedRepo":
        return (
            f"your account has no access to {repository}: accept its licence "
            f"({file.source.licence}) at {page} with the account that your token belongs to"
        )
    if status == 403:
        return (
            f"your token may not read {repository} ({message or 'permission denied'}): at "
            f"{settings} allow it to read public gated repositories that you have access to, or "
            "take a token of the kind 'Read'"
        )
    if code == "RevisionNotFound":
        return f"{repository} has no revision {file.source.revision} any more; {_OUTDATED}"
    if code == "EntryNotFound":
        return (
            f"{repository} at {file.source.revision} has no file {file.path} any more; {_OUTDATED}"
        )
    if status in (401, 404):
        login = "" if known else "; if it is private, run `hf auth login` first"
        return (
            f"there is no repository {repository} at {endpoint()}, or not for you: "
            f"{_OUTDATED}{login}"
        )
    if status == 429:
        login = "" if known else ", or run `hf auth login`, which allows more"
        return (
            f"{endpoint()} has had too many requests from here (429): wait some minutes and run "
            f"the same command again{login}; what came is kept"
        )
    if status >= 500:
        return (
            f"{endpoint()} is out of order ({status}): wait and run the same command again; what "
            "came is kept"
        )
    return f"{endpoint()} refuses {file} ({status} {message}): look at {page}"
