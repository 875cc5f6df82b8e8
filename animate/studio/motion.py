"""Poses under correction: an estimate that stays, a list of edits beside it, and the edited file.

Beside `dance.npz`, as `cnx pose extract` writes it, stand `dance.edits.json` (every edit, at once)
and `dance.edited.npz` (the corrected poses, written when they are saved). Edits lie on poses
that were cleaned as `cnx run` cleans them, so an edited file is followed with `--no-smooth`: frames
that nobody edited are those of the estimate, to the bit.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from animate.clip.typed_json import read_json
from animate.driving.estimators import estimator_options
from animate.driving.poses import person_of
from animate.errors import MediaError, RequestError
from animate.files import sha256, write_bytes
from animate.media import read_image
from animate.studio.pictures import Stamp, stamp_of
from pose.clean import clean
from pose.edit import Draft, Edit, edit_from_plain, edit_to_plain
from pose.errors import PoseError
from pose.estimators import load_estimator
from pose.estimators.base import Estimator
from pose.extract import extract
from pose.marks import Mark, find_marks
from pose.people import PersonSummary, summaries
from pose.retarget import retarget
from pose.sequence import PoseSequence

EDITED = ".edited"
EDITS_SUFFIX = ".edits.json"
_FORMAT = 1
_MOST_EDITS = 20_000
_MOST_OPEN = 4


class ConflictError(RequestError):
    """An edit of poses that somebody else has changed meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody in a video."""

    number: int
    name: str
    """Number and side, such as "0 main" or "1 left"."""
    frames: int
    """Frames in which the person is seen."""
    edited: tuple[int, ...]
    """Frames that differ from the estimate, of this person."""


@dataclass(frozen=True, kw_only=True)
class MotionState:
    """Poses as pages show them."""

    poses: str
    """Name of the estimate."""
    edited: str
    """Name of the edited poses; there when they were saved."""
    frames: int
    fps: str
    canvas: tuple[int, int]
    revision: int
    """Rises with every change; an edit names the one that it was made on."""
    saved: bool
    """True if the edited file holds what is seen, or nothing was edited."""
    edits: int
    """Edits that are in force."""
    undone: int
    """Edits that were taken back and can be made again."""
    people: tuple[Person, ...]
    marks: tuple[Mark, ...]
    cuts: tuple[int, ...]
    changed: tuple[int, int] = (0, 0)
    """First frame that the last change touched, and the one after the last."""


@dataclass(kw_only=True)
class _Motion:
    """One pose file's draft."""

    stamp: Stamp
    raw: PoseSequence
    draft: Draft
    marks: tuple[Mark, ...]
    edits: list[Edit] = field(default_factory=list)
    undone: list[Edit] = field(default_factory=list)
    revision: int = 0
    saved: int = 0
    """Revision of the edited file."""
    changed: tuple[int, int] = (0, 0)
    fit: tuple[tuple[int, Stamp, str, str], PoseSequence] | None = None
    """What was laid onto a picture last, and what of: revision, picture, person and mode."""

    @cached_property
    def people(self) -> tuple[PersonSummary, ...]:
        """Who is seen in the estimate, which stays as it is."""
        return summaries(self.raw)


class MotionDesk:
    """The drafts of a project. Called from any thread; a draft is changed by one at a time."""

    def __init__(self, name_of: Callable[[Path], str]) -> None:
        """`name_of` gives the name that pages know a path by."""
        self._name_of = name_of
        self._lock = threading.RLock()
        self._motions: dict[Path, _Motion] = {}
        self._estimators: dict[str, Estimator] = {}
        self._references: dict[tuple[Stamp, str], PoseSequence] = {}

    def state(self, poses: Path) -> MotionState:
        """The state of a pose file. Raises PoseError where it cannot be used."""
        with self._lock:
            return self._state(poses, self._motion(poses))

    def points(self, poses: Path, layer: str, first: int, stop: int) -> bytes:
        """x, y and score (float32, little-endian) of frames, people and 134 points.

        layer: "edited", or "estimated" for the estimator's own
        Raises RequestError for frames that are not there.
        """
        with self._lock:
            motion = self._motion(poses)
            if not 0 <= first < stop <= motion.raw.frames:
                raise RequestError(f"there are frames 0 to {motion.raw.frames - 1}")
            if layer == "edited":
                points, scores = motion.draft.points, motion.draft.scores
            elif layer == "estimated":
                points, scores = motion.raw.points, motion.raw.scores
            else:
                raise RequestError(f"layer {layer!r} is not edited or estimated")
            return packed(points[first:stop], scores[first:stop])

    def edit(self, poses: Path, revision: int, values: object) -> MotionState:
        """Make an edit on the revision that its page saw.

        Raises ConflictError where that is an older one, PoseError where the edit does not fit.
        """
        edit = edit_from_plain(values)
        with self._changing(poses, revision) as motion:
            if len(motion.edits) >= _MOST_EDITS:
                raise RequestError(f"there are {_MOST_EDITS} edits already; save, and begin anew")
            motion.changed = motion.draft.apply(edit)
            motion.edits.append(edit)
            motion.undone.clear()
        return self.state(poses)

    def undo(self, poses: Path, revision: int) -> MotionState:
        """Take the last edit back. Raises ConflictError as `edit`, RequestError without an edit."""
        with self._changing(poses, revision) as motion:
            if not motion.edits:
                raise RequestError("there is no edit to take back")
            edit = motion.edits.pop()
            motion.undone.append(edit)
            motion.draft = Draft(motion.draft.base, motion.edits)
            motion.changed = (edit.first, edit.last + 1)
        return self.state(poses)

    def redo(self, poses: Path, revision: int) -> MotionState:
        """Make the edit again that was taken back last. Raises as `undo`."""
        with self._changing(poses, revision) as motion:
            if not motion.undone:
                raise RequestError("there is no edit to make again")
            edit = motion.undone.pop()
            motion.edits.append(edit)
            motion.changed = motion.draft.apply(edit)
        return self.state(poses)

    def save(self, poses: Path) -> MotionState:
        """Write the edited file, whole. Raises MediaError where it cannot be written."""
        with self._lock:
            motion = self._motion(poses)
            path = edited_path(poses)
            try:
                write_bytes(path, motion.draft.sequence.to_bytes(), follow=False)
            except OSError as reason:
                raise MediaError(f"{path} cannot be written: {reason.strerror}") from reason
            motion.saved = motion.revision
            self._write_edits(poses, motion)
            return self._state(poses, motion)

    def fitted(
        self, poses: Path, reference: Path, person: str, mode: str, first: int, stop: int
    ) -> bytes:
        """The edited person's motion on the reference's picture, frames as `points` gives them.

        Raises PoseError when nobody is seen in either, MediaError for a damaged picture.
        """
        with self._lock:
            motion = self._motion(poses)
            sequence, revision = motion.draft.sequence, motion.revision
        at = (revision, stamp_of(reference), person, mode)
        fit = motion.fit
        if fit is None or fit[0] != at:
            chosen = person_of(sequence, person, poses)
            fit = at, retarget(chosen, self.reference(reference), mode=mode).sequence
            motion.fit = fit
        laid = fit[1]
        return packed(laid.points[first:stop], laid.scores[first:stop])

    def reference(self, photo: Path, estimator: str = "blazepose") -> PoseSequence:
        """The main person of a photo, one frame. Raises PoseError when nobody is seen."""
        at = (stamp_of(photo), estimator)
        if at not in self._references:
            picture = read_image(photo)
            poses = extract(
                [picture], self._estimator(estimator), fps=Fraction(1), source=sha256(photo)
            )
            self._references[at] = person_of(poses, "main", photo)
        return self._references[at]

    def _estimator(self, name: str) -> Estimator:
        with self._lock:
            if name not in self._estimators:
                options = estimator_options(name, None, "cpu")
                self._estimators[name] = load_estimator(name, **options)
            return self._estimators[name]

    @contextmanager
    def _changing(self, poses: Path, revision: int) -> Iterator[_Motion]:
        with self._lock:
            motion = self._motion(poses)
            if revision != motion.revision:
                raise ConflictError(
                    "these poses were edited in another window meanwhile; here is what they are "
                    "now, make the edit again"
                )
            edits, undone, changed = [*motion.edits], [*motion.undone], motion.changed
            try:
                yield motion
                motion.revision += 1
                self._write_edits(poses, motion)
            except BaseException:  # a full disk: what was edited before is what there is
                motion.edits, motion.undone, motion.changed = edits, undone, changed
                motion.draft = Draft(motion.draft.base, edits)
                motion.revision = revision
                raise

    def _motion(self, poses: Path) -> _Motion:
        stamp = stamp_of(poses)
        motion = self._motions.get(poses)
        if motion is None or motion.stamp != stamp:
            motion = _opened(poses, stamp)
            self._motions[poses] = motion
            for old in list(self._motions)[:-_MOST_OPEN]:
                del self._motions[old]
        return motion

    def _state(self, poses: Path, motion: _Motion) -> MotionState:
        raw, draft = motion.raw, motion.draft
        differs = (draft.points != draft.base.points).any(axis=(2, 3))
        differs |= (draft.scores != draft.base.scores).any(axis=2)
        return MotionState(
            poses=self._name_of(poses),
            edited=self._name_of(edited_path(poses)),
            frames=raw.frames,
            fps=str(raw.fps),
            canvas=raw.canvas,
            revision=motion.revision,
            saved=motion.saved == motion.revision and _is_there(poses, motion),
            edits=len(motion.edits),
            undone=len(motion.undone),
            people=tuple(
                Person(
                    number=someone.index,
                    name=someone.name,
                    frames=someone.frames,
                    edited=tuple(np.flatnonzero(differs[:, someone.index]).tolist()),
                )
                for someone in motion.people
            ),
            marks=motion.marks,
            cuts=raw.cuts,
            changed=motion.changed,
        )

    def _write_edits(self, poses: Path, motion: _Motion) -> None:
        values = {
            "format": _FORMAT,
            "poses": motion.raw.digest,
            "edits": [edit_to_plain(edit) for edit in motion.edits],
            "undone": [edit_to_plain(edit) for edit in motion.undone],
            "saved": motion.saved == motion.revision,
        }
        path = edits_path(poses)
        try:
            write_bytes(path, (json.dumps(values) + "\n").encode(), follow=False)
        except OSError as reason:
            raise MediaError(f"{path} cannot be written: {reason.strerror}") from reason


def _is_there(poses: Path, motion: _Motion) -> bool:
    return not motion.edits or edited_path(poses).is_file()


def packed(points: np.ndarray, scores: np.ndarray) -> bytes:
    """Points (F,P,134,2) and scores (F,P,134) as float32 triples, little-endian."""
    return np.concatenate([points, scores[..., None]], axis=3).astype("<f4").tobytes()


def edited_path(poses: Path) -> Path:
    """The file of edited poses beside an estimate."""
    return poses.with_name(f"{poses.stem}{EDITED}{poses.suffix}")


def edits_path(poses: Path) -> Path:
    """The file of edits beside an estimate."""
    return poses.with_name(poses.stem + EDITS_SUFFIX)


def is_edited(poses: Path) -> bool:
    """True for the name of an edited file."""
    return poses.stem.endswith(EDITED)


def _opened(poses: Path, stamp: Stamp) -> _Motion:
    """A draft with the edits beside it. Edits of other poses are put aside under another name."""
    if is_edited(poses):
        raise RequestError(
            f"{poses.name} holds edits already; open the poses that it was made of, "
            f"{poses.stem.removesuffix(EDITED)}{poses.suffix}"
        )
    raw = PoseSequence.load(poses)
    motion = _Motion(stamp=stamp, raw=raw, draft=Draft(clean(raw)), marks=find_marks(raw))
    path = edits_path(poses)
    if not path.is_file():
        return motion
    try:
        values = read_json(path)
        if values["format"] != _FORMAT or values["poses"] != raw.digest:
            raise ValueError("of other poses")
        edits = [edit_from_plain(item) for item in values["edits"]]
        motion.draft = Draft(motion.draft.base, edits)
        motion.edits = edits
        motion.undone = [edit_from_plain(item) for item in values["undone"]]
        motion.revision = len(edits)
        motion.saved = len(edits) if values["saved"] else -1
    except (OSError, ValueError, KeyError, TypeError, PoseError):
        os.replace(path, path.with_name(f"{path.name}.old"))
    return motion


def motion_values(state: MotionState) -> dict[str, object]:
    """Plain JSON values of a state."""
    return asdict(state)
