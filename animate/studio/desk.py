"""Everything that one studio holds: its project, drafts, queues and news."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Protocol

from animate.batch.forecast import PlannedMemory
from animate.errors import RequestError
from animate.request.request import AnimationRequest
from animate.studio.clips import ClipQueue
from animate.studio.estimates import EstimateQueue
from animate.studio.events import Hub
from animate.studio.forms import Outlook, outlook, read_request
from animate.studio.motion import MotionDesk, MotionState
from animate.studio.pictures import FrameStore
from animate.studio.project import MissingError, Project

MOST_UPLOAD = 4 << 30
_MOST_VARIATIONS = 24


class Change(Protocol):
    """A change of poses, as a page asks for it."""

    @property
    def revision(self) -> int: ...

    @property
    def edit(self) -> object: ...


class Studio:
    """One project under work."""

    def __init__(self, folder: Path, *, most_upload: int = MOST_UPLOAD) -> None:
        """Raises RequestError for a folder that cannot be worked in.

        most_upload: bytes of a file that a browser may send
        """
        self.project = Project(folder)
        self.most_upload = most_upload
        self.hub = Hub()
        self.frames = FrameStore()
        self.motion = MotionDesk(self.project.name)
        self.clips = ClipQueue(self.project, self._clips_changed)
        self.estimates = EstimateQueue(self.project, self._estimates_changed)
        self._memory = PlannedMemory()

    def start(self) -> None:
        """Begin the work that waits."""
        self.clips.start()
        self.estimates.start()

    def close(self) -> None:
        """Stop the work; clips go on when a studio is started again."""
        self.hub.close()
        self.estimates.close()
        self.clips.close()

    def state(self) -> dict[str, object]:
        """Plain values of everything that is shown and may change."""
        return {
            "folder": self.project.root.name,
            "files": self._files(),
            "clips": [asdict(view) for view in self.clips.views()],
            "estimates": [asdict(view) for view in self.estimates.views()],
        }

    def change_motion(self, action: str, poses: Path, change: Change) -> MotionState:
        """Do one of edit, undo, redo and save; everybody learns of it. Raises as `MotionDesk`."""
        if action == "edit":
            state = self.motion.edit(poses, change.revision, change.edit)
        elif action == "undo":
            state = self.motion.undo(poses, change.revision)
        elif action == "redo":
            state = self.motion.redo(poses, change.revision)
        elif action == "save":
            state = self.motion.save(poses)
            self.publish_files()
        else:
            raise MissingError(f"nothing is called {action} here")
        news = {"poses": state.poses, "revision": state.revision, "saved": state.saved}
        self.hub.publish("motion", news)
        return state

    def outlook(self, settings: Mapping[str, object]) -> Outlook:
        """A clip before it is made. Raises RequestError for settings that cannot be."""
        request = self._request(settings)
        return outlook(self.project, request, self.clips.records(), self._memory)

    def submit(self, settings: Mapping[str, object], variations: Mapping[str, object]) -> list[str]:
        """Queue a clip for every combination of the varied settings; the names of their records.

        Raises RequestError for settings that cannot be; nothing is queued then.
        """
        names, choices = list(variations), []
        for name, values in variations.items():
            if not isinstance(values, list) or not values:
                raise RequestError(f"variations of {name} are not a list of values")
            choices.append(values)
        combinations = list(product(*choices))
        if len(combinations) > _MOST_VARIATIONS:
            raise RequestError(
                f"that makes {len(combinations)} clips; {_MOST_VARIATIONS} at a time are enough"
            )
        requests: list[AnimationRequest] = []
        for combination in combinations:
            varied = {**settings, **dict(zip(names, combination, strict=True))}
            request = self._request(varied, {request.output for request in requests})
            requests.append(request)
        return self.clips.submit(requests)

    def publish_files(self) -> None:
        """Let everybody know that files have come or gone."""
        self.hub.publish("files", self._files())

    def _request(
        self, settings: Mapping[str, object], outputs_so_far: set[Path] | None = None
    ) -> AnimationRequest:
        """The request of a form, with a name for its clip that no file and no clip has yet."""
        values = dict(settings)
        name = str(values.get("output") or _usual_name(values))
        if values.get("output"):
            self.project.path(name)  # refused, not mended, where it leads elsewhere
        outputs = {record.output for record in self.clips.records()} | (outputs_so_far or set())
        path = self.project.free_path(name)
        number = 2
        while path in outputs:
            path = self.project.free_path(f"{Path(name).stem}-{number}{Path(name).suffix}")
            number += 1
        return read_request(self.project, {**values, "output": self.project.name(path)})

    def _files(self) -> list[dict[str, object]]:
        return [asdict(entry) for entry in self.project.entries()]

    def _clips_changed(self) -> None:
        views = self.clips.views()
        self.hub.publish("clips", [asdict(view) for view in views])
        if not any(view.status == "running" for view in views):
            self.publish_files()

    def _estimates_changed(self) -> None:
        views = self.estimates.views()
        self.hub.publish("estimates", [asdict(view) for view in views])
        if not any(view.status == "running" for view in views):
            self.publish_files()


def _usual_name(settings: Mapping[str, object]) -> str:
    reference, driving = (
        Path(str(settings.get(name) or "clip")).stem for name in ("reference", "driving")
    )
    return f"{reference}_{driving}.mp4"
