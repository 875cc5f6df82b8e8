"""Whatever lies in a folder, `cnx clean` removes only what this program has made."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from animate.cli.main import main
from animate.clip.work_folder import WorkFolder
from animate.files import hidden_name
from tests.clip.test_work_folder import begun

NAMES = st.one_of(
    st.sampled_from(
        [
            "poses", "lock", "closing", "work.json", "latents-000001-000000", "frames-000000",
            ".clip.mp4.work", ".work", ".poses.work", "data", "clip.mp4", "thesis.txt",
            ".x.0123abcd.partial", ".x.0123abcd0123abcd.cnx-partial", ".x..cnx-partial",
            f".x.{'0' * 32}.part", f"{'0' * 32}.npz", "frames-1",
        ]
    ),
    st.text("abc.-_", min_size=1, max_size=12).filter(lambda name: name.strip(".")),
)  # fmt: skip
MARKERS = [
    b"", b"{", b"[]", b'{"version": 1}', b'{"version": 2, "clip": "c.mp4"}',
    b'{"version": 1, "digest": "d", "request": {"output": "c"}, "conditions": {}}',
    b'{"made_by": "cnx", "version": 2, "clip": "c"}',
]  # fmt: skip
CONTENTS = st.one_of(st.binary(max_size=20), st.sampled_from(MARKERS))
TREES: st.SearchStrategy[dict[str, object]] = st.recursive(
    st.dictionaries(NAMES, CONTENTS, max_size=4),
    lambda below: st.dictionaries(NAMES, st.one_of(CONTENTS, below), max_size=4),
    max_leaves=10,
)


def grow(folder: Path, tree: dict[str, object]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in tree.items():
        if isinstance(content, dict):
            grow(folder / name, content)
        else:
            (folder / name).write_bytes(content)  # type: ignore[arg-type]


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        os.path.relpath(path, folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@settings(max_examples=150, deadline=None)
@given(tree=TREES, recursive=st.booleans())
def test_foreign_bytes_stay_and_ours_go(tree: dict[str, object], recursive: bool) -> None:
    """Folders of every make, among them a killed run's work with others' files in it, and links."""
    with tempfile.TemporaryDirectory() as name:
        top, outside = Path(name) / "top", Path(name) / "outside"
        outside.mkdir()
        (outside / "lock").write_bytes(b"outside")
        grow(top, tree)
        work = top / ".killed.mp4.work"
        folder = WorkFolder.open(work, "/c.mp4", begun())
        (work / "latents-000001-000000").write_bytes(b"ours")
        assert folder.leave(done=False)
        ours = {os.path.relpath(path, top) for path in work.rglob("*")}
        partial = hidden_name(top / "clip.mp4")
        partial.write_bytes(b"ours")
        ours.add(partial.name)
        grow(work, {"mine": b"mine", "poses": {"theirs.npz": b"mine"}})
        (top / ".link.work").symlink_to(outside)
        before = files_below(top)
        assert main(["clean", str(top), "--yes", "--quiet", *["--recursive"] * recursive]) == 0
        expected = {path: data for path, data in before.items() if path not in ours}
        assert files_below(top) == expected
        assert (outside / "lock").read_bytes() == b"outside"


def test_work_of_a_killed_run_goes_and_the_users_poses_stay(tmp_path: Path) -> None:
    data = tmp_path / "proj" / "data" / "poses"
    data.mkdir(parents=True)
    for number in range(33):
        (data / f"{number:032d}.npz").write_bytes(b"mine")
    work = tmp_path / "proj" / ".clip.mp4.work"
    folder = WorkFolder.open(work, "/c.mp4", begun())
    (work / "frames-000000").write_bytes(b"ours")
    folder.leave(done=False)
    assert json.loads((work / "work.json").read_text())["clip"] == "/c.mp4"
    assert main(["clean", "--recursive", str(tmp_path / "proj"), "--yes", "--quiet"]) == 0
    assert len(list(data.iterdir())) == 33
    assert not work.exists()
    shutil.rmtree(tmp_path / "proj")
