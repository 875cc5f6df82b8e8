"""`cnx evaluate`: how good clips are, measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from animate.cli.arguments import Parser, make_parser, parse, progress_of
from animate.errors import RequestError
from animate.files import check_output, real_path
from animate.progress import JsonLines

if TYPE_CHECKING:
    from animate.evaluation.scores import Evaluation, Score

_MOST_COLUMNS = 4
"""Clips that are shown beside each other; of more only the means are."""


def main(argv: list[str]) -> int:
    """Parse, score, print; returns the exit code. Errors pass through."""
    arguments = parse(parser(), argv)
    _check_outputs(arguments)
    progress = progress_of(arguments)

    from animate.evaluation.evaluate import evaluate
    from animate.evaluation.network_files import remember_folder, remembered_folder

    weights = arguments.weights or remembered_folder()
    evaluation = evaluate(
        arguments.clips,
        truth=arguments.truth,
        reference=arguments.reference,
        driving=arguments.driving,
        protocol=arguments.protocol or ["clean"],
        weights=weights,
        report=arguments.report,
        progress=progress,
    )
    if arguments.weights is not None:
        remember_folder(arguments.weights)
    if arguments.json is not None:
        evaluation.write_json(arguments.json)
    if isinstance(progress, JsonLines):
        progress.event("evaluation", **evaluation.to_dict(curves=False))
    elif not arguments.quiet:
        print("\n".join(table(evaluation)))
    return 3 if any(clip.error for clip in evaluation.clips) else 0


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "evaluate",
        "How good clips are. Against a true video: PSNR, SSIM and the like. Against what was\n"
        "asked for: pose, identity, background, duration. By themselves: seams, flicker, drift,\n"
        "frames that are black or repeated. What the options leave open is taken from the record\n"
        "beside a clip. Folders are paired by the names of their files. Exit code 3 where some\n"
        "clips could not be scored. docs/evaluation.md defines each measure.",
        "cnx evaluate a.mp4 b.mp4 --reference me.png --driving dance.mp4 --report scores.html",
        "cnx evaluate CLIP... [options]",
    )
    command.add_argument(
        "clips",
        nargs="+",
        type=Path,
        metavar="CLIP",
        help="a clip, numbered images, or a folder of clips",
    )
    for flag, text, metavar in (
        ("--truth", "the true clip, or a folder with one for each clip", "VIDEO|FOLDER"),
        ("--reference", "the image whose person the clip shows", "IMAGE"),
        ("--driving", "the video or pose file that the clip follows", "VIDEO|POSES"),
        (
            "--weights",
            "folder with the networks of LPIPS, FID, FID-VID, FVD; kept for later",
            "FOLDER",
        ),
        ("--report", "write a page with players, curves and worst frames here", "FILE.html"),
        ("--json", "write all figures and curves here", "FILE"),
    ):
        command.add_argument(flag, type=Path, metavar=metavar, help=text)
    command.add_argument(
        "--protocol",
        action="append",
        metavar="PROTOCOL",
        help="clean (default), quick, disco-tiktok or a YAML file; may be given several times",
    )
    return command


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse files that would replace an input, before any work."""
    from animate.clip.record import record_paths

    inputs = {real_path(path) for path in arguments.clips}
    for clip in arguments.clips:
        pattern = clip / "%04d.png" if clip.is_dir() else clip
        inputs |= {real_path(record) for record in record_paths(pattern)}
    for name in ("truth", "reference", "driving"):
        if (path := getattr(arguments, name)) is not None:
            inputs.add(real_path(path))
    for path, role in ((arguments.json, "JSON file"), (arguments.report, "report")):
        if path is None:
            continue
        if real_path(path) in inputs:
            raise RequestError(f"{path} is an input or its record; name another file to write")
        check_output(path, overwrite=True, role=role, error=RequestError)


def table(evaluation: Evaluation) -> list[str]:
    """Lines of a table: a measure a row, a clip a column, better values marked with *."""
    from animate.evaluation.scores import best_of
    from animate.evaluation.verdict import verdict

    clips = [clip for clip in evaluation.clips if not clip.error]
    means = evaluation.means()
    lines: list[str] = []
    columns = clips if len(clips) <= _MOST_COLUMNS else []
    heads = [clip.clip.name for clip in columns] or [f"mean of {len(clips)} clips"]
    width = max(12, *(len(head) + 1 for head in heads))
    lines.append(f"{'':<58}" + "".join(f"{head:>{width}}" for head in heads))
    for mean in means:
        values = [clip.value(mean.measure, mean.protocol) for clip in columns] or [mean.value]
        best = best_of(mean.measure, values)
        cells = [
            f"{'-' if v is None else f'{v:.4g}'}{'*' if i in best else ' '}"
            for i, v in enumerate(values)
        ]
        lines.append(f"{_row_name(mean):<58}" + "".join(f"{cell:>{width}}" for cell in cells))
    lines += [f"{_row_name(s):<58}{s.value:>{width - 1}.4g}" for s in evaluation.pooled]
    lines += [
        f"{protocol}: {measure}: {quirk}"
        for protocol, quirks in evaluation.quirks.items()
        for measure, quirk in quirks.items()
    ]
    if sentences := verdict(evaluation):
        lines += ["", "which is better, and why", *(f"  {line}" for line in sentences), ""]
    for clip in columns:
        lines += [f"{clip.clip.name}: {note}" for note in clip.notes]
        reasons: dict[str, list[str]] = {}
        for measure, reason in clip.left_out:
            reasons.setdefault(reason, []).append(measure)
        for reason, measures in reasons.items():
            lines.append(f"{clip.clip.name}: no {', '.join(measures)}: {reason}")
    lines += [f"{clip.clip}: not scored: {clip.error}" for clip in evaluation.clips if clip.error]
    return lines


def _row_name(score: Score) -> str:
    definition = score.definition
    unit = f" [{definition.unit}]" if definition.unit else ""
    protocol = f" ({score.protocol})" if score.protocol else ""
    return f"{definition.title}{unit}{protocol}"
