"""`evaluate` on clips whose figures are known."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate import evaluate
from animate.cli.main import main
from animate.clip.record import ClipFile
from animate.errors import MediaError, RequestError, UserError
from animate.evaluation.pairs import pair_clips
from animate.evaluation.scores import ClipScores
from animate.files import sha256
from animate.request.request import AnimationRequest
from tests.clip.records import some_record
from tests.evaluation.scenes import blurred, images, noisy, sliding, texture, video

FRAMES = sliding(8)


def score(clip: Path, **options: object) -> ClipScores:
    (scores,) = evaluate(clip, protocol="quick", **options).clips  # type: ignore[arg-type]
    return scores


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images(tmp_path_factory.mktemp("truth") / "truth", FRAMES)


def test_a_clip_equals_itself(truth: Path) -> None:
    scores = score(truth, truth=truth)
    assert scores.value("psnr") == 100
    assert scores.value("ssim") == pytest.approx(1)
    assert scores.value("ms_ssim") == pytest.approx(1)
    assert scores.value("l1") == 0
    assert scores.frames == 8
    (note,) = scores.notes
    assert "states no frame rate" in note


def test_a_ramp_of_brightness_is_l1_and_drift(truth: Path, tmp_path: Path) -> None:
    ramp = [np.clip(f.astype(int) + 2 * i, 0, 255).astype(np.uint8) for i, f in enumerate(FRAMES)]
    scores = score(images(tmp_path / "ramp", ramp), truth=truth)
    curve = next(s.curve for s in scores.scores if s.measure == "l1")
    assert curve == pytest.approx([2 * i / 255 for i in range(8)], abs=0.002)
    still = score(images(tmp_path / "still", [FRAMES[0]] * 8))
    drifting = score(images(tmp_path / "drifting", [FRAMES[0] // 2 + 2 * i for i in range(8)]))
    assert still.value("colour_drift") == pytest.approx(0, abs=1e-6)
    # Two levels a frame are about 0.8 of L*.
    assert drifting.value("colour_drift") == pytest.approx(80, rel=0.15)


def test_one_frame_exchanged_is_the_worst_frame(truth: Path, tmp_path: Path) -> None:
    changed = list(FRAMES)
    changed[5] = texture(192, 176, seed=9)
    scores = score(images(tmp_path / "changed", changed), truth=truth)
    for measure in ("psnr", "ssim", "ms_ssim", "l1"):
        (worst,) = next(s for s in scores.scores if s.measure == measure).worst_frames(1)
        assert worst == 5
    still = score(truth)
    assert scores.value("flicker") < still.value("flicker")  # type: ignore[operator]
    assert scores.value("warping_error") > still.value("warping_error")  # type: ignore[operator]


@pytest.mark.parametrize("harm", ["blur", "noise", "late"])
def test_more_harm_scores_worse(harm: str, truth: Path, tmp_path: Path) -> None:
    grades = {
        "blur": [blurred(FRAMES, radius) for radius in (0, 1, 2, 4)],
        "noise": [noisy(FRAMES, level) for level in (0, 5, 10, 20)],
        "late": [[FRAMES[max(0, i - late)] for i in range(8)] for late in (0, 1, 2, 3)],
    }[harm]
    scores = [
        score(images(tmp_path / str(n), frames), truth=truth) for n, frames in enumerate(grades)
    ]
    for measure in ("psnr", "ssim", "ms_ssim"):
        values = [s.value(measure) for s in scores]
        assert values == sorted(values, reverse=True), measure  # type: ignore[type-var]


def test_black_and_repeated_frames_are_counted(tmp_path: Path) -> None:
    frames = [*FRAMES[:3], FRAMES[2], FRAMES[2], np.zeros_like(FRAMES[0])]
    scores = score(images(tmp_path / "frames", frames))
    assert scores.value("repeated_frames") == 2
    assert scores.value("longest_freeze") == 2
    assert scores.value("black_frames") == 1


def test_another_rate_is_aligned_by_time_and_said(truth: Path, tmp_path: Path) -> None:
    slow = video(tmp_path / "slow.mp4", FRAMES[::2], Fraction(25, 2))
    fast = video(tmp_path / "fast.mp4", FRAMES, 25)
    scores = score(slow, truth=fast)
    assert scores.value("psnr") > 35  # type: ignore[operator]
    assert any("12.5" in note and "time" in note for note in scores.notes)
    wrong = score(slow, truth=images(tmp_path / "wrong", FRAMES))  # rate unknown: the clip's
    assert wrong.value("psnr") < 30  # type: ignore[operator]


def test_another_length_and_size_are_said(truth: Path, tmp_path: Path) -> None:
    short = images(tmp_path / "short", [f[::2, ::2] for f in FRAMES[:5]])
    scores = score(short, truth=truth)
    assert any("truth has 8 frames" in note and "first 5" in note for note in scores.notes)
    assert any("192x176" in note and "96x88" in note for note in scores.notes)
    curve = next(s.curve for s in scores.scores if s.measure == "psnr")
    assert len(curve) == 5


def test_small_pictures_have_no_ms_ssim_and_the_reason_is_said(tmp_path: Path) -> None:
    small = images(tmp_path / "small", [f[:88, :96] for f in FRAMES])
    scores = score(small, truth=small)
    assert scores.value("ms_ssim") is None
    assert "161" in dict(scores.left_out)["ms_ssim"]


def test_one_tiny_frame_is_scored_by_what_can_be(tmp_path: Path) -> None:
    clip = images(tmp_path / "clip", [FRAMES[0][:8, :8]])
    scores = score(clip, truth=clip)
    assert scores.value("psnr") == 100
    left_out = dict(scores.left_out)
    assert "11 pixels" in left_out["ssim"]
    assert {"flicker", "warping_error", "colour_drift"} <= set(left_out)


def test_a_clip_without_record_or_truth_has_reasons(truth: Path) -> None:
    left_out = dict(score(truth).left_out)
    assert "record" in left_out["seams"]
    assert "truth" in left_out["psnr"]
    assert "reference" in left_out["sharpness"]


def write_record(clip: Path, *, leading: bool = False, **settings: object) -> Path:
    values = {"steps": 2, "window": 4, "overlap": 1, "schedule": "static", **settings}
    request = AnimationRequest(
        reference=Path("r.png"), driving=Path("d.mp4"), output=Path(clip.name)
    )
    file = ClipFile.of(clip, {clip.name: sha256(clip)}, clip.stat().st_size)
    record = some_record(request, settings=values, clip=file, leading=leading)
    return record.write(clip.with_suffix(".json"))


def test_seams_are_read_from_the_record(tmp_path: Path) -> None:
    frames = sliding(7)
    seen = []
    for number, jump in enumerate((0, 3, 8, 20)):
        rough = [
            np.clip(f.astype(int) + (jump if i in (3, 4, 5) else 0), 0, 255).astype(np.uint8)
            for i, f in enumerate(frames)
        ]
        clip = video(tmp_path / f"{number}.mkv", rough)
        write_record(clip)
        scores = score(clip)
        assert scores.borders == (3, 4)  # windows 0-3 and 3-6
        seen.append(scores.value("seams"))
    assert seen == sorted(seen)  # type: ignore[type-var]
    assert seen[0] == pytest.approx(1, abs=0.1)


def test_windows_begin_at_a_leading_reference_that_the_clip_does_not_show(tmp_path: Path) -> None:
    clip = video(tmp_path / "clip.mkv", sliding(6))
    write_record(clip, leading=True)
    assert score(clip).borders == (2, 3)  # windows 0-3 and 3-6, of which frame 0 is left out


def test_windows_are_those_of_the_whole_clip_where_a_part_is_scored(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("summary: mine\nmeasures: [seams, flicker]\nmax_frames: 4\n")
    clip = video(tmp_path / "clip.mkv", sliding(7))
    write_record(clip)
    (scores,) = evaluate(clip, protocol=str(own)).clips
    assert scores.frames == 4
    assert scores.borders == (3,)


def test_moving_windows_and_damaged_records_are_reasons(tmp_path: Path) -> None:
    clip = video(tmp_path / "clip.mkv", sliding(9))
    record = write_record(clip, schedule="shifting")
    assert "each step" in dict(score(clip).left_out)["seams"]
    write_record(clip, window=20)
    assert "one window" in dict(score(clip).left_out)["seams"]
    write_record(clip, window="many")
    assert "does not say" in dict(score(clip).left_out)["seams"]
    clip.write_bytes(video(tmp_path / "other.mkv", sliding(5)).read_bytes())
    assert "another clip" in dict(score(clip).left_out)["seams"]
    for text in ("{", "[]", '{"schema": 1}', '{"schema": 99, "request": {}}'):
        record.write_text(text)
        assert str(record) in dict(score(clip).left_out)["seams"]


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    truths = tmp_path / "truths"
    for name in ("a", "b"):
        images(truths / name, FRAMES)
    clips = tmp_path / "clips"
    images(clips / "a", FRAMES)
    images(clips / "b", noisy(FRAMES, 10))
    images(clips / "c", FRAMES)
    evaluation = evaluate(clips, truth=truths, protocol="quick")
    a, b, c = evaluation.clips
    assert a.value("psnr") == 100
    assert b.value("psnr") < 40  # type: ignore[operator]
    assert c.value("psnr") is None
    assert any("named c" in note for note in c.notes)
    means = {score.measure: score.value for score in evaluation.means()}
    assert means["psnr"] == pytest.approx((100 + b.value("psnr")) / 2)  # type: ignore[operator]


def test_a_folder_of_references_may_hold_any_kind_of_photo(tmp_path: Path) -> None:
    for name in ("clips/a.ts", "people/a.heic"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (pair,) = pair_clips(tmp_path / "clips", reference=tmp_path / "people")
    assert (pair.clip.name, pair.reference) == ("a.ts", tmp_path / "people" / "a.heic")


def test_one_unreadable_clip_among_several_is_named_and_the_others_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    video(clips / "good.mkv", FRAMES)
    (clips / "bad.mp4").write_bytes(b"no video at all")
    out = tmp_path / "scores.json"
    assert main(["evaluate", str(clips), "--protocol", "quick", "--json", str(out)]) == 3
    bad, good = json.loads(out.read_text())["clips"]
    assert "bad.mp4" in bad["error"]
    assert good["scores"]["flicker"] > 0.9
    assert "not scored" in capsys.readouterr().out
    with pytest.raises(UserError):
        evaluate(clips / "bad.mp4", protocol="quick")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.mp4"], "does not exist"),
        (["{clip}", "--protocol", "quik"], "did you mean"),
        (["{clip}", "--protocol", "xxxxxxxx"], "quick, or name a YAML file"),
        (["{clip}", "--truth", "nowhere"], "does not exist"),
        (["{clip}", "--json", "{clip}"], "input"),
        (["{clip}", "--json", "{record}"], "record"),
        (["{clip}", "--report", "{record}"], "record"),
        (["{clip}", "--report", "nowhere/page.html"], "does not exist"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = video(tmp_path / "clip.mkv", FRAMES)
    names = {"clip": str(clip), "record": str(clip.with_suffix(".json"))}
    given = [argument.format(**names) for argument in arguments]
    assert main(["evaluate", *given]) == 2
    assert words in capsys.readouterr().err
    assert clip.stat().st_size > 1000


def test_the_better_of_two_clips_is_marked(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = images(tmp_path / "worse", noisy(FRAMES, 12))
    better = images(tmp_path / "better", noisy(FRAMES, 3))
    options = ["--truth", str(truth), "--protocol", "quick"]
    assert main(["evaluate", str(worse), str(better), *options, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["evaluate", str(worse), str(better), *options]) == 0
    rows = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["PSNR [dB] (quick)"].rstrip().endswith("*")
    assert rows["L1 (quick)"].rstrip().endswith("*")


def test_the_published_protocol_gives_both_figures_in_one_run(truth: Path, tmp_path: Path) -> None:
    clip = images(tmp_path / "clip", noisy(FRAMES, 10))
    (scores,) = evaluate(clip, truth=truth, protocol="disco-tiktok").clips
    assert scores.protocols == ("disco-tiktok", "clean")
    quirky, clean = (scores.value("l1", name) for name in scores.protocols)
    assert quirky == pytest.approx(clean * 255 / (192 * 176))  # type: ignore[operator]
    assert scores.value("ssim", "disco-tiktok") != pytest.approx(scores.value("ssim", "clean"))
    assert scores.value("psnr", "disco-tiktok") == pytest.approx(scores.value("psnr", "clean"))
    # The figures of docs/evaluation.md.
    assert scores.value("psnr", "clean") == pytest.approx(28.17, abs=0.005)
    assert scores.value("psnr_uint8", "disco-tiktok") == pytest.approx(30.32, abs=0.005)
    assert scores.value("ssim", "disco-tiktok") == pytest.approx(0.875, abs=0.0005)
    assert scores.value("ssim", "clean") == pytest.approx(0.804, abs=0.0005)
    assert quirky == pytest.approx(0.000235, abs=5e-7)
    overflown = scores.value("psnr_uint8", "disco-tiktok")
    assert overflown > scores.value("psnr", "clean")  # type: ignore[operator]


def test_a_protocol_of_ones_own_is_a_file(truth: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("summary: mine\nmeasures: [psnr, flicker]\nsize: 96x88\nmax_frames: 3\n")
    (scores,) = evaluate(truth, truth=truth, protocol=str(own)).clips
    assert scores.value("psnr", "own") == 100
    assert scores.frames == 3
    assert scores.value("warping_error") is None
    for text, words in (
        ("summary: x\nmeasures: [psrn]\n", "psnr"),
        ("summary: x\nmeasures: [psnr]\nresise: y\n", "resize"),
        ("summary: x\nmeasures: [psnr]\nresize: nearest\n", "area-cubic"),
        ("measures: [psnr]\n", "summary"),
        ("summary: x\nmeasures: psnr\n", "list"),
    ):
        own.write_text(text)
        with pytest.raises(RequestError, match=words):
            evaluate(truth, truth=truth, protocol=str(own))


def test_each_protocol_compares_as_many_frames_as_it_says(truth: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("summary: mine\nmeasures: [psnr]\nmax_frames: 3\n")
    (scores,) = evaluate(truth, truth=truth, protocol=[str(own), "quick"]).clips
    lengths = {s.protocol: len(s.curve) for s in scores.scores if s.measure == "psnr"}
    assert lengths == {"own": 3, "quick": 8}


def test_a_damaged_clip_alone_is_an_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"\x00" * 2000)
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        score(bad)
