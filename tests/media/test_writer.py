"""Clips are exact in time, true in colour, whole or absent, and the same for the same frames."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from animate.errors import InternalError, MediaError, RequestError
from animate.media import (
    ClipWriter,
    FrameSelection,
    available_encoders,
    check_output,
    open_video,
    open_writer,
)
from animate.media.codecs import why_not
from tests.media.clips import number_picture, read_number

VIDEOS = [
    ("h264", "mp4"),
    ("h264", "mov"),
    ("h264", "mkv"),
    ("h265", "mp4"),
    ("av1", "mp4"),
    ("av1", "webm"),
    ("vp9", "webm"),
    ("prores", "mov"),
    ("ffv1", "mkv"),
]


def smooth_picture(number: int = 0, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """Soft colours, so that halved colour resolution costs little."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    waves = [np.sin(3 * x + number / 9), np.cos(2 * y + number / 7), np.sin(2 * x + 3 * y)]
    return (np.stack(waves, -1) * 100 + 128).astype(np.uint8)


def write(path: Path, frames: list[np.ndarray], fps: Fraction, **options: object) -> Path:
    size = frames[0].shape[1::-1]
    with open_writer(path, size=size, fps=fps, **options) as writer:  # type: ignore[arg-type]
        for frame in frames:
            writer.write(frame)
    return path


def coded_bytes(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0)]


@pytest.mark.parametrize(("codec", "suffix"), VIDEOS)
def test_frames_rate_and_duration_come_back(tmp_path: Path, codec: str, suffix: str) -> None:
    frames = [number_picture(number) for number in range(9)]
    path = write(tmp_path / f"clip.{suffix}", frames, Fraction(29, 2), codec=codec)
    source = open_video(path)
    assert source.info.fps == Fraction(29, 2)
    assert source.info.duration == Fraction(18, 29)
    assert [read_number(frame.image) for frame in source.read()] == list(range(9))
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(("codec", "suffix"), VIDEOS)
def test_colours_come_back(tmp_path: Path, codec: str, suffix: str) -> None:
    frames = [smooth_picture(number) for number in range(3)]
    path = write(tmp_path / f"clip.{suffix}", frames, Fraction(25), codec=codec)
    bound = 0 if codec == "ffv1" else 2.0
    for frame, read in zip(frames, open_video(path).read(), strict=True):
        assert np.abs(frame.astype(int) - read.image).mean() <= bound


@pytest.mark.parametrize(("codec", "suffix"), VIDEOS)
def test_same_frames_same_bytes(tmp_path: Path, codec: str, suffix: str) -> None:
    frames = [smooth_picture(number) for number in range(4)]
    one = write(tmp_path / f"one.{suffix}", frames, Fraction(25), codec=codec)
    two = write(tmp_path / f"two.{suffix}", frames, Fraction(25), codec=codec)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no threads to look at")
@pytest.mark.parametrize(("codec", "suffix"), VIDEOS)
def test_encoders_leave_the_urgency_of_threads_as_it_was(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    """SVT-AV1 takes the highest real-time priority where it may, also for whoever calls it."""
    with open_writer(
        tmp_path / f"clip.{suffix}", size=(96, 64), fps=Fraction(25), codec=codec
    ) as writer:
        writer.write(smooth_picture())
        during = scheduling()
    assert during == {os.SCHED_OTHER}
    assert scheduling() == {os.SCHED_OTHER}


def test_trying_the_encoders_leaves_the_urgency_of_threads_as_it_was() -> None:
    why_not.cache_clear()
    assert why_not("av1") == ""
    assert scheduling() == {os.SCHED_OTHER}


def scheduling() -> set[int]:
    """Policies of this process's threads."""
    policies = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            policies.add(os.sched_getscheduler(int(thread.name)))
    return policies


def test_memory_that_nobody_wrote_decides_no_byte(tmp_path: Path) -> None:
    """x264's code for AVX-512 once let it decide where bits go: each run gave another clip."""
    code = """if True:
        import hashlib, sys
        from fractions import Fraction
        from pathlib import Path
        from animate.media import open_writer
        from tests.media.test_writer import VIDEOS, smooth_picture
        frames = [smooth_picture(number) for number in range(4)]
        for codec, suffix in VIDEOS:
            path = Path(sys.argv[1]) / f"{codec}.{suffix}"
            with open_writer(
                path, size=(96, 64), fps=Fraction(25), codec=codec, overwrite=True
            ) as writer:
                for frame in frames:
                    writer.write(frame)
            print(codec, suffix, hashlib.sha256(path.read_bytes()).hexdigest())
    """
    written = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "MALLOC_PERTURB_": fill, "PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for fill in ("1", "255")
    ]
    assert written[0] == written[1]
    assert written[0].count("\n") == len(VIDEOS)


@pytest.mark.parametrize("fps", [Fraction(0), Fraction(1, 10**9), Fraction(1001)])
def test_rates_beyond_reason_are_refused(tmp_path: Path, fps: Fraction) -> None:
    with pytest.raises(RequestError, match=r"frames per second; use 1/3600 to 1000"):
        open_writer(tmp_path / "clip.mp4", size=(64, 48), fps=fps)


@pytest.mark.parametrize("fps", ["29/2", "30000/1001", "15000/1001", "23.976", "7/3", "1", "120"])
def test_mp4_holds_every_rate_exactly(tmp_path: Path, fps: str) -> None:
    rate = Fraction(fps)
    path = write(tmp_path / "clip.mp4", [smooth_picture()] * 67, rate)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == rate
        assert stream.frames == 67
        assert stream.duration * stream.time_base == 67 / rate
        times = sorted(
            packet.pts * packet.time_base for packet in container.demux(stream) if packet.size
        )
        assert times == [number / rate for number in range(67)]
        assert container.duration == pytest.approx(float(67 / rate) * 1e6, abs=1)


def test_h264_is_tagged_and_can_start_before_it_is_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path / "clip.mp4",
        [smooth_picture()] * 3,
        Fraction(25),
        metadata={"title": "A dance", "comment": "made by a test"},
    )
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "yuv420p"
        assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
        assert frame.color_range == 1
        assert container.metadata["title"] == "A dance"
        assert container.metadata["comment"] == "made by a test"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_the_rgb_of_a_flat_picture_follows_bt709(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [np.full((64, 64, 3), (255, 0, 0), np.uint8)], Fraction(25))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        y, u, v = (np.frombuffer(plane, np.uint8)[0] for plane in frame.planes)
    assert (abs(int(y) - 63), abs(int(u) - 102), abs(int(v) - 240)) <= (1, 1, 1)


def test_h265_has_the_tag_that_apple_players_want(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [smooth_picture()] * 2, Fraction(25), codec="h265")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_h265_of_small_pictures_leaves_the_memory_whole(tmp_path: Path) -> None:
    """Its cost tree once wrote behind the end of its memory, which ended some later process."""
    code = """if True:
        import sys
        from fractions import Fraction
        from pathlib import Path
        import numpy as np
        from animate.media import open_writer
        for number in range(40):
            path = Path(sys.argv[1]) / f"{number}.mp4"
            with open_writer(path, size=(48, 48), fps=Fraction(25), codec="h265") as writer:
                for frame in np.random.default_rng(0).integers(0, 255, (5, 48, 48, 3), np.uint8):
                    writer.write(frame)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "MALLOC_PERTURB_": "85", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("codec", "suffix"), VIDEOS)
def test_the_shortest_clips(tmp_path: Path, codec: str, suffix: str, count: int) -> None:
    frames = [number_picture(number) for number in range(count)]
    for attempt in range(12 if codec == "h265" else 1):  # x265 fails one of several times
        path = write(tmp_path / f"{attempt}.{suffix}", frames, Fraction(25), codec=codec)
        read = [read_number(frame.image) for frame in open_video(path).read()]
        assert read == list(range(count))


def test_quality_changes_the_bytes(tmp_path: Path) -> None:
    frames = [number_picture(number) for number in range(4)]
    for codec, suffix, good, bad in (("h264", "mp4", 5, 45), ("webp", "webp", 95, 10)):
        sizes = [
            write(
                tmp_path / f"{quality}.{suffix}", frames, Fraction(25), codec=codec, quality=quality
            )
            .stat()
            .st_size
            for quality in (good, bad)
        ]
        assert sizes[0] > sizes[1]


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animations(tmp_path: Path, suffix: str) -> None:
    frames = [smooth_picture(number) for number in range(8)]
    path = write(tmp_path / f"clip.{suffix}", frames, Fraction(29, 2))
    with PIL.Image.open(path) as image:
        assert image.n_frames == 8  # type: ignore[attr-defined]
        assert image.info["loop"] == 0
        total = 0
        for number, frame in enumerate(frames):
            image.seek(number)
            read = np.asarray(image.convert("RGB")).astype(int)
            total += image.info["duration"]
            assert np.abs(read - frame).mean() < 9
    assert total == pytest.approx(8 * 2000 / 29, abs=10)


def test_odd_sizes_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"even sizes only, not 97x65; choose 96x64"):
        ClipWriter(tmp_path / "clip.mp4", size=(97, 65), fps=Fraction(25))
    with pytest.raises(MediaError, match="even sizes"):
        check_output(tmp_path / "clip.mp4", False, size=(96, 65))
    frame = smooth_picture(size=(97, 65))
    assert next(
        iter(open_video(write(tmp_path / "clip.mkv", [frame], Fraction(25), codec="ffv1")).read())
    ).image.shape == (65, 97, 3)


def test_wrong_choices_are_named(tmp_path: Path) -> None:
    size, fps = (64, 64), Fraction(25)
    for name, options, words in (
        ("a.mp4", {"codec": "vp8"}, "codec 'vp8' is not one of h264"),
        ("a.webm", {"codec": "h264"}, r"does not go into webm; name the output \.mp4"),
        ("a.mp4", {"codec": "png"}, r"name the output like .*/a/%04d\.png"),
        ("a.%04d.png", {"codec": "h264"}, "png or png16"),
        ("a.%04d.png", {"quality": 3}, "cannot have a quality"),
        ("a.mp4", {"quality": 99}, "must be 0 to 51, not 99"),
        ("a.mkv", {"codec": "ffv1", "quality": 1}, "no quality"),
        ("a.mp4", {"fps": Fraction(0)}, "frames per second"),
    ):
        with pytest.raises(RequestError, match=words):
            open_writer(tmp_path / name, **{"size": size, "fps": fps, **options})  # type: ignore[arg-type]
    for name, words in (
        ("a", "no known suffix"),
        ("a.png", "no known suffix"),
        ("no/a.mp4", "mkdir"),
    ):
        with pytest.raises(MediaError, match=words):
            open_writer(tmp_path / name, size=size, fps=fps)
        with pytest.raises(MediaError, match=words):
            check_output(tmp_path / name, False)
    assert os.listdir(tmp_path) == []


def test_hardware_encoders_are_only_offered_where_they_work(tmp_path: Path) -> None:
    offered = [codec.name for codec in available_encoders()]
    assert {"h264", "h265", "av1", "vp9", "prores", "ffv1", "gif", "webp"} <= set(offered)
    if "h264_nvenc" not in offered:
        with pytest.raises(RequestError, match=r"does not work on this machine.*; these do: h264"):
            open_writer(tmp_path / "a.mp4", size=(64, 64), fps=Fraction(25), codec="h264_nvenc")


def test_existing_files_stay_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [smooth_picture()], Fraction(25))
    before = path.read_bytes()
    with pytest.raises(MediaError, match="exists already"):
        write(path, [smooth_picture(5)], Fraction(25))
    assert path.read_bytes() == before
    write(path, [smooth_picture(5)], Fraction(25), overwrite=True)
    assert path.read_bytes() != before


def stopped(path: Path, error: type[BaseException]) -> None:
    with open_writer(path, size=(96, 64), fps=Fraction(25), overwrite=True) as writer:
        for number in range(30):
            writer.write(smooth_picture(number))
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.gif", "frames/%04d.png"])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        stopped(tmp_path / name, error)
    assert os.listdir(tmp_path) == []


def test_an_interruption_keeps_the_old_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [smooth_picture()], Fraction(25))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        stopped(path, KeyboardInterrupt)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("name", ["clip.mp4", "%04d.png"])
def test_no_frame_is_an_error(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(MediaError, match="no frame was given"),
        open_writer(tmp_path / name, size=(64, 64), fps=Fraction(25)),
    ):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> str:
        return "file:/dev/full"

    monkeypatch.setattr("animate.media.writer.local_url", full)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(60)]
    with pytest.raises(MediaError, match=r"clip\.mkv cannot be written: no space left"):
        write(tmp_path / "clip.mkv", noise, Fraction(25))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_named_with_the_images_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    frames = [np.zeros((8, 8, 3), np.uint8)]
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MediaError, match=r"/Shot/%04d\.png cannot be written: no space left"):
        write(tmp_path / "Shot" / "%04d.png", frames, Fraction(25))


@pytest.mark.parametrize("name", ["clip.mp4", "%04d.png"])
def test_wrong_frames_are_our_fault(tmp_path: Path, name: str) -> None:
    for frame in (np.zeros((64, 64), np.uint8), np.zeros((64, 60, 3), np.uint8)):
        with pytest.raises(InternalError, match="was given"):
            write_one(tmp_path / name, frame)


def write_one(path: Path, frame: np.ndarray) -> None:
    with open_writer(path, size=(64, 64), fps=Fraction(25)) as writer:
        writer.write(frame)


def test_sixteen_bits_are_kept_where_they_can_be(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 96 * 64 * 3).reshape(64, 96, 3).astype(np.uint16)
    write(tmp_path / "a.%04d.png", [ramp], Fraction(25), codec="png16")
    import cv2

    read = cv2.imread(str(tmp_path / "a.0001.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read[..., ::-1], ramp)
    path = write(tmp_path / "a.mov", [ramp], Fraction(25), codec="prores")
    with av.open(str(path)) as container:
        deep = next(container.decode(video=0))
        assert deep.format.name == "yuv422p10le"
        assert len(np.unique(np.frombuffer(deep.planes[0], np.uint16))) > 256


def test_numbered_images(tmp_path: Path) -> None:
    frames = [smooth_picture(number) for number in range(5)]
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "notes.txt").write_text("mine")
    write(tmp_path / "shots" / "a.####.png", frames, Fraction(29, 2))
    names = sorted(os.listdir(tmp_path / "shots"))
    assert names == [*(f"a.{number:04d}.png" for number in range(1, 6)), "notes.txt"]
    for number, frame in enumerate(frames, 1):
        with PIL.Image.open(tmp_path / "shots" / f"a.{number:04d}.png") as image:
            assert np.array_equal(np.asarray(image), frame)
            assert image.info["fps"] == "29/2"
    with pytest.raises(MediaError, match=r"5 files of output .* exist already"):
        write(tmp_path / "shots" / "a.%04d.png", frames, Fraction(25))
    write(tmp_path / "shots" / "a.%04d.png", frames[:2], Fraction(25), overwrite=True)
    assert sorted(os.listdir(tmp_path / "shots")) == ["a.0001.png", "a.0002.png", "notes.txt"]
    write(tmp_path / "new" / "%04d.png", frames[:2], Fraction(25), codec="png16")
    assert sorted(os.listdir(tmp_path / "new")) == ["0001.png", "0002.png"]
    assert sorted(os.listdir(tmp_path)) == ["new", "shots"]
    with pytest.raises(MediaError, match="mkdir"):
        write(tmp_path / "no" / "new" / "%04d.png", frames, Fraction(25))


def test_a_selection_written_keeps_its_time(tmp_path: Path, plain: Path) -> None:
    source = open_video(plain)
    selection = FrameSelection(stride=2, start=4, max_frames=7)
    frames = [frame.image for frame in source.read(selection)]
    path = write(tmp_path / "clip.mp4", frames, selection.output_fps(source.info))
    info = open_video(path).info
    assert info.duration == source.sampling(selection).duration == Fraction(14, 25)


def test_an_empty_codec_is_no_codec(tmp_path):
    with pytest.raises(RequestError, match="codec '' is not one of"):
        open_writer(tmp_path / "a.mp4", size=(16, 16), fps=Fraction(1), codec="")
