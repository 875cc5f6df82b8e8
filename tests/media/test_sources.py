"""What readers of video files do, run over every backend and every kind of file."""

from __future__ import annotations

import importlib.util
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate.errors import MediaError, RequestError
from animate.media import FrameSelection, FrameSource, open_video
from tests.media.clips import cut_file, make_video, number_picture, read_number

BACKENDS = [
    "pyav",
    pytest.param(
        "decord",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("decord") is None, reason="decord is not installed"
        ),
    ),
]
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def opened(path: Path, backend: str, *, refused: bool = False) -> FrameSource:
    """The source, or for one that decord must refuse (`refused`), the other after the refusal."""
    if backend == "decord" and refused:
        with pytest.raises(MediaError, match=r'decord .* use the "pyav" backend') as caught:
            open_video(path, backend)
        assert str(path) in str(caught.value)
        backend = "pyav"
    return open_video(path, backend)


def numbers(source: FrameSource, **selection: object) -> list[int]:
    return [read_number(frame.image) for frame in source.read(FrameSelection(**selection))]  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov", "ts"])
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24), Fraction(15)])
def test_containers_tell_the_exact_rate(
    media: Path, backend: str, suffix: str, rate: Fraction
) -> None:
    path = make_video(
        media / f"rate-{rate.numerator}-{backend}.{suffix}", 25, rate=rate, size=(64, 48)
    )
    source = opened(path, backend, refused=suffix in ("avi", "ts"))
    assert source.info.fps == rate
    assert source.info.frames == 25
    assert numbers(source) == list(range(25))
    assert numbers(source, start=12, max_frames=3) == [12, 13, 14]


def test_uneven_frames_are_sampled_by_time(media: Path, backend: str) -> None:
    # frames of 40 ms, but number 3 stays for 200 ms and number 10 for 120 ms
    lengths = [200 if number == 3 else 120 if number == 10 else 40 for number in range(20)]
    times = [0, *np.cumsum(lengths)[:-1].tolist()]
    path = make_video(media / f"uneven-{backend}.mkv", 20, times=times, time_base=Fraction(1, 1000))
    source = open_video(path, backend)
    assert source.info.variable_rate
    assert source.info.fps == 25
    expected = [number for number in range(20) for _ in range(lengths[number] // 40)]
    assert numbers(source) == expected
    assert [frame.time for frame in source.read()] == [Fraction(number, 25) for number in range(26)]
    assert numbers(source, start=0.32, max_frames=4) == [4, 5, 6, 7]
    assert "variable frame rate" in source.warnings[0]


def test_jitter_neither_drops_nor_repeats(media: Path, backend: str) -> None:
    jitter = np.random.default_rng(0).integers(-9, 10, 40)
    times = [number * 40 + int(jitter[number]) + 9 for number in range(40)]
    path = make_video(media / f"jitter-{backend}.mkv", 40, times=times, time_base=Fraction(1, 1000))
    assert numbers(open_video(path, backend)) == list(range(40))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_pictures_come_upright(media: Path, backend: str, degrees: int, mirrored: bool) -> None:
    """Stored so that the display matrix turns it back to how `number_picture` draws it."""

    def stored(number: int, _: tuple[int, int]) -> np.ndarray:
        upright = number_picture(number)
        upright = upright[:, ::-1] if mirrored else upright
        return np.ascontiguousarray(np.rot90(upright, -degrees // 90))

    size = (64, 96) if degrees in (90, 270) else (96, 64)
    path = make_video(
        media / f"turned-{degrees}-{mirrored}-{backend}.mp4",
        4,
        size=size,
        rotate=(degrees, mirrored),
        picture=stored,
    )
    source = opened(path, backend, refused=mirrored)
    assert source.info.size == (96, 64)
    assert (source.info.rotation, source.info.mirrored) == (
        -degrees % 360 if mirrored else degrees,  # the matrix mirrors last, the info first
        mirrored,
    )
    images = [frame.image for frame in source.read()]
    assert [read_number(image) for image in images] == [0, 1, 2, 3]
    assert images[0].shape == (64, 96, 3)
    assert images[0][10, 10, 0] > 150 > images[0][10, 80, 0]


@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(8, 9)])
def test_pixels_become_square(media: Path, backend: str, aspect: Fraction) -> None:
    path = make_video(
        media / f"aspect-{aspect.numerator}-{backend}.mkv", 3, aspect=aspect, size=(96, 64)
    )
    source = open_video(path, backend)
    assert source.info.pixel_aspect == aspect
    assert source.info.size == ((140, 64) if aspect > 1 else (96, 72))
    image = next(iter(source.read())).image
    assert image.shape[1::-1] == source.info.size


def test_odd_sizes(media: Path, backend: str) -> None:
    path = make_video(media / f"odd-{backend}.mkv", 3, size=(97, 65), pixels="yuv444p")
    source = open_video(path, backend)
    assert source.info.size == (97, 65)
    assert numbers(source) == [0, 1, 2]


def test_a_late_first_frame_is_time_zero(media: Path, backend: str) -> None:
    times = list(range(50, 62))
    path = make_video(media / f"late-{backend}.mkv", 12, times=times, time_base=Fraction(1, 25))
    source = open_video(path, backend)
    assert source.info.start == 2
    assert [frame.time for frame in source.read()][:2] == [0, Fraction(1, 25)]
    assert numbers(source, start=0.2, max_frames=2) == [5, 6]


def test_a_cut_off_file_names_the_break(media: Path, backend: str) -> None:
    whole = make_video(
        media / f"whole-{backend}.mp4", 60, container_options={"movflags": "+faststart"}
    )
    path = cut_file(whole, media / f"cut-{backend}.mp4", 0.8)
    source = opened(path, backend, refused=True)
    found = source.info.frames
    assert found is not None
    assert 10 < found < 60
    with pytest.raises(
        MediaError, match=r"cut-.*promises 60 frames.*only \d+ frames.*copy it again"
    ):
        source.read()
    assert numbers(source, end=found - 1) == list(range(found - 1))
    assert numbers(source, max_frames=5) == [0, 1, 2, 3, 4]
    assert "cut off" in source.warnings[0]


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_a_cut_off_file_of_other_containers(media: Path, backend: str, suffix: str) -> None:
    whole = make_video(
        media / f"whole-{backend}.{suffix}", 80, options={"x264-params": "bframes=0"}
    )
    path = cut_file(whole, media / f"cut-{backend}.{suffix}", 0.8)
    with pytest.raises(MediaError, match=r"cut off|damaged"):
        list(opened(path, backend, refused=True).read())


def test_files_that_are_no_video(tmp_path: Path, sounding: Path, plain: Path, backend: str) -> None:
    import av
    import PIL.Image

    (tmp_path / "hollow").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "words.mp4").write_text("not a video\n" * 100)
    (tmp_path / "words.txt").write_text("not a video\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20000))
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{plain}\n#EXT-X-ENDLIST\n")
    PIL.Image.new("RGB", (20, 20)).save(tmp_path / "still.png")
    PIL.Image.new("RGB", (20, 20)).save(tmp_path / "still.jpg")
    cut_file(plain, tmp_path / "headless.mp4", 0.5)
    with av.open(str(tmp_path / "sound.m4a"), "w") as out, av.open(str(sounding)) as given:
        stream = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    for name, words in (
        ("missing.mp4", "does not exist"),
        ("empty.mp4", "is empty"),
        ("words.mp4", "damaged, cut off or not a video"),
        ("words.txt", "no video"),
        ("noise.mp4", "damaged, cut off or not a video"),
        ("list.m3u8", "no video|not a video"),
        ("still.png", "no video"),
        ("still.jpg", "no video"),
        ("headless.mp4", "damaged, cut off or not a video"),
        ("sound.m4a", "only sound"),
        ("hollow", "holds no images"),
    ):
        with pytest.raises(MediaError, match=words) as caught:
            open_video(tmp_path / name, backend)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_lists_that_name_pipes_are_not_followed(tmp_path: Path, plain: Path, backend: str) -> None:
    os.mkfifo(tmp_path / "pipe.ts")
    pipe = tmp_path / "pipe.ts"
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{pipe}\n#EXT-X-ENDLIST\n"
    lists = {
        "list.m3u8": hls,
        "list.mp4": hls,
        "list.ffconcat": f"ffconcat version 1.0\nfile '{pipe}'\n",
        "list.mkv": f"ffconcat version 1.0\nfile '{plain}'\n",
        "list.mpd": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{pipe}</BaseURL></MPD>',
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match=f"{name} .*(no video|not a video)"):
            open_video(tmp_path / name, backend)


def test_only_files_with_a_size_are_opened(tmp_path: Path, backend: str) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to("/proc/self/mounts")  # states no size, as kmsg does
    for path, words in (
        (tmp_path / "pipe.mp4", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "link.mp4", "is empty"),
    ):
        with pytest.raises(MediaError, match=words):
            open_video(path, backend)


def test_strange_file_names(plain: Path, tmp_path: Path, backend: str) -> None:
    for name in ("a b.mp4", "ö😀.mp4", "http:x.mp4", "%d.mp4", "-i.mp4", "no-suffix"):
        path = tmp_path / name
        path.write_bytes(plain.read_bytes())
        assert numbers(open_video(path, backend), max_frames=2) == [0, 1]


def test_unknown_backends_are_named(plain: Path, backend: str) -> None:
    with pytest.raises(RequestError, match="pyav or decord"):
        open_video(plain, backend + "x")


@pytest.mark.parametrize(("codec", "suffix"), [("libsvtav1", "mp4"), ("libvpx-vp9", "webm")])
def test_other_codecs(media: Path, backend: str, codec: str, suffix: str) -> None:
    from animate.media import open_writer

    path = media / f"{codec}-{backend}.{suffix}"
    name = {"libsvtav1": "av1", "libvpx-vp9": "vp9"}[codec]
    with open_writer(path, size=(96, 64), fps=Fraction(25), codec=name) as writer:
        for number in range(6):
            writer.write(number_picture(number))
    source = opened(path, backend, refused=name == "av1")
    assert numbers(source) == list(range(6))
    assert numbers(source, start=2, end=4) == [2, 3]


def test_woven_fields_become_full_frames(media: Path, backend: str) -> None:
    """Vertical bars that move 8 pixels a field: woven, they comb; made whole, they do not."""

    def woven(number: int, size: tuple[int, int]) -> np.ndarray:
        fields = [bars(2 * number + field, size) for field in (0, 1)]
        picture = fields[1].copy()  # the encoder stores the lower field (odd rows) first
        picture[1::2] = fields[0][1::2]
        return picture

    path = make_video(
        media / f"woven-{backend}.mkv",
        10,
        picture=woven,
        size=(128, 64),
        options={"crf": "5", "flags": "+ildct+ilme"},
    )
    source = opened(path, backend, refused=True)
    assert source.info.interlaced
    frames = list(source.read())
    assert [frame.index for frame in frames] == list(range(10))
    for frame in frames[1:-1]:
        grey = frame.image[..., 1].astype(int)
        combing = np.abs(grey[1:-1] * 2 - grey[:-2] - grey[2:]).mean()
        assert combing < 3
        first_field = bars(2 * frame.index, (128, 64))[..., 1].astype(int)
        assert np.abs(grey - first_field).mean() < 12
    assert [frame.index for frame in source.read(FrameSelection(start=4, max_frames=2))] == [4, 5]


def bars(step: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    row = np.where((np.arange(width) - 8 * step) // 32 % 2, 220, 30).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


@pytest.mark.parametrize(("transfer", "code"), [(16, "pq"), (18, "hlg")])
def test_high_dynamic_range_is_tone_mapped(
    media: Path, backend: str, transfer: int, code: str
) -> None:
    """Grey patches: black stays black, reference white is light, brighter light does not clip."""
    signals = {"pq": (0.0, 0.44, 0.58, 0.75), "hlg": (0.0, 0.52, 0.75, 1.0)}[code]

    def patches(_: int, size: tuple[int, int]) -> np.ndarray:
        row = np.repeat([round(255 * signal) for signal in signals], size[0] // 4)
        return np.broadcast_to(row[None, :, None], (size[1], size[0], 3)).astype(np.uint8)

    def tagged(stream: object) -> None:
        for name, value in (("color_trc", transfer), ("color_primaries", 9), ("colorspace", 9)):
            setattr(stream, name, value)

    path = make_video(
        media / f"{code}-{backend}.mkv",
        2,
        pixels="yuv420p10le",
        picture=patches,
        size=(128, 64),
        options={"crf": "1"},
        prepare=tagged,
    )
    source = opened(path, backend, refused=True)
    assert source.info.transfer == code
    assert "HDR" in source.warnings[0]
    image = next(iter(source.read())).image
    black, middle, white, bright = (int(image[32, x].mean()) for x in (16, 48, 80, 112))
    assert black < 4
    assert 90 < middle < 215
    assert middle < white < bright <= 255
    assert 215 < white < 245
    assert np.ptp(image[32, 80].astype(int)) <= 3  # grey stays grey


def test_transparent_video_is_laid_over_white(media: Path, backend: str) -> None:
    import PIL.Image

    path = media / f"clear-{backend}.gif"
    frames = []
    for number in range(3):
        frame = PIL.Image.new("P", (64, 48), 0)
        frame.putpalette([255, 0, 0, 0, 0, 255])
        frame.paste(1, (20, 20, 40, 40 + number))
        frames.append(frame)
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=100, transparency=0, disposal=2
    )
    source = opened(path, backend, refused=True)
    assert source.info.fps == 10
    images = [frame.image for frame in source.read()]
    assert images[1][5, 5].tolist() == [255, 255, 255]
    assert images[1][30, 30].tolist() == [0, 0, 255]


def test_damaged_frames_in_the_middle_are_held_and_told(media: Path, backend: str) -> None:
    import av

    whole = make_video(media / f"well-{backend}.mkv", 40, options={"bf": "0", "sc_threshold": "0"})
    path = media / f"hurt-{backend}.mkv"
    with av.open(str(whole)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size:
                if 10 <= number < 20:  # a whole group of pictures, its key frame included
                    broken = av.Packet(b"\0\0\0\1" + bytes(packet.size - 4))
                    broken.pts, broken.dts = packet.pts, packet.dts
                    broken.time_base, broken.is_keyframe = packet.time_base, packet.is_keyframe
                    packet = broken
                packet.stream = stream
                new.mux(packet)
    source = opened(path, backend)
    if backend == "decord":
        with pytest.raises(MediaError, match=r'use the "pyav" backend'):
            list(source.read())
        return
    frames = list(source.read())
    assert [read_number(frame.image) for frame in frames] == [*range(10), *[9] * 10, *range(20, 40)]
    assert "10 damaged frames" in source.warnings[-1]
