"""One run and its work folder: opened before the work, gone when the clip is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from animate.clip.keeper import FolderKeeper
from animate.clip.marker import Begun, read_begun
from animate.clip.record import Conditions, Resumed
from animate.clip.work_folder import POSES, WorkFolder, closes, work_folder
from animate.errors import WorkError
from animate.files import is_sequence
from animate.generate.clip_state import Keeper, KeepsNothing
from animate.progress import Progress
from animate.request.request import AnimationRequest
from animate.request.schema import build, plain
from animate.request.setting import NONE


@dataclass(frozen=True, kw_only=True)
class Work:
    """A run's side of its work folder."""

    folder: WorkFolder | None
    """None for a run without one."""
    keeper: Keeper
    """Keeper of the work that the pipeline offers."""
    request: AnimationRequest
    """The run's request, with a folder for poses where no cache keeps them."""

    @property
    def replaces(self) -> bool:
        """True if a clip at the output's name may be replaced: that was asked for, or is ours."""
        if self.request.overwrite:
            return True
        return self.folder is not None and closes(self.folder.path, self.request.output)

    def close_soon(self, digests: Mapping[str, str]) -> None:
        """Note that the clip, whose files have these digests, is about to appear at its name."""
        if self.folder is not None:
            self.folder.close_soon(self.request.output, digests)

    @property
    def resumed(self) -> Resumed | None:
        """The beginning of this clip, where an earlier run made it."""
        if self.folder is None or not self.folder.resumed:
            return None
        return Resumed(begun_with=self.folder.begun.conditions)


@contextmanager
def working(
    request: AnimationRequest,
    digest: str,
    model: str,
    conditions: Conditions,
    progress: Progress,
) -> Iterator[Work]:
    """The work folder of a run; removed at a clean exit unless it is to be kept.

    On an exception it stays if anything in it took time to make, and the exception has a note
    that says how to go on.

    digest: of everything that decides the pictures
    model: name or folder of the model that is used
    conditions: what their last bits may depend on as well; other ones than at the beginning are
        said, and the number of threads is set as it was
    Raises WorkError; see `WorkFolder.open`.
    """
    path = folder_of(request)
    if path is None:
        yield Work(folder=None, keeper=KeepsNothing(), request=request)
        return
    stored = stored_request(request, model)
    begun = Begun(digest=digest, request=stored, conditions=conditions, given_in=str(Path.cwd()))
    folder = WorkFolder.open(path, str(stored["output"]), begun, discard=request.overwrite)
    if folder.discarded:
        progress.warn(f"the work in {path} is of no use to this run; it is begun anew")
    keeper = FolderKeeper(folder, every=request.runtime.save_every, progress=progress)
    work = Work(folder=folder, keeper=keeper, request=_with_poses(request, folder))
    finished = False
    try:
        with ExitStack() as stack:
            if folder.resumed:
                stack.callback(_same_conditions(work, conditions, progress))
            yield work
        finished = True
    except BaseException as error:
        if folder.leave(done=False):
            error.add_note(f"what is done is kept; to go on: cnx resume {path}")
        raise
    finally:
        if finished:
            folder.leave(done=True, keep=request.runtime.keep_work)


def folder_of(request: AnimationRequest) -> Path | None:
    """The folder that keeps a request's work; None for none."""
    sequence = is_sequence(request.output)
    return work_folder(request.output, request.runtime.work, sequence=sequence)


def may_replace(request: AnimationRequest) -> bool:
    """True if a clip at the output's name is that of a run that was killed as it ended.

    Asked before anything is loaded, and without the lock; `Work.replaces` has it.
    """
    path = folder_of(request)
    return request.overwrite or (path is not None and closes(path, request.output))


def stored_request(request: AnimationRequest, model: str) -> dict[str, object]:
    """A request as plain values that mean the same in any working directory.

    model: what finds the model that is used; the request may leave it open
    """
    return {**plain(request.with_paths(Path.absolute)), "model": model}


def find_request(path: Path) -> tuple[AnimationRequest, Path]:
    """The request whose work is in a folder, or beside the clip `path`, to go on with there, and
    the working directory that it was given in.

    Raises WorkError where there is none, or it is of another version; RequestError for settings
    that are unknown here.
    """
    beside = work_folder(path, None, sequence=is_sequence(path))
    for folder in (path, beside):
        begun = read_begun(folder) if folder is not None else None
        if folder is not None and begun is not None:
            request = build(AnimationRequest, begun.request)
            runtime = replace(request.runtime, work=folder.absolute())
            return replace(request, runtime=runtime), Path(begun.given_in)
    raise WorkError(
        f"there is no unfinished work in {path}, nor beside a clip of that name; unfinished work "
        "is in hidden folders beside the clips: ls -d .*.work"
    )


def _with_poses(request: AnimationRequest, folder: WorkFolder) -> AnimationRequest:
    if request.runtime.cache != NONE:
        return request
    return replace(request, runtime=replace(request.runtime, cache=folder.path / POSES))


def _same_conditions(work: Work, conditions: Conditions, progress: Progress) -> Callable[[], None]:
    """Set the number of threads as it was; returns what sets it back. Says what is different."""
    assert work.folder is not None
    assert work.resumed is not None
    threads, begun = torch.get_num_threads(), work.resumed.begun_with
    if work.request.runtime.threads is None and begun.threads != threads:
        torch.set_num_threads(begun.threads)
        progress.note(f"{begun.threads} threads, as the run began with")
        conditions = replace(conditions, threads=begun.threads)
    old, new = plain(begun), plain(conditions)
    changed = [f"{name} {old[name]} is now {new[name]}" for name in new if old[name] != new[name]]
    if changed:
        progress.warn(
            f"not everything is as the run began: {', '.join(changed)}; frames may differ by "
            "rounding from those of a run that was not interrupted"
        )
    progress.note(f"going on with the work in {work.folder.path}")
    return lambda: torch.set_num_threads(threads)
