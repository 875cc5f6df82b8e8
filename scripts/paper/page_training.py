"""The page's part on training: curves, the comparison of ways, and what of the claims holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scripts.paper.figures import Convergence
from scripts.paper.laboratory import Setting
from scripts.paper.markdown import origin, table
from scripts.paper.plots import PANELS
from scripts.paper.summary import Comparison, Curve, curves, pair_of

PAIRS: tuple[tuple[str, str, str], ...] = (
    (
        "Cross normalisation against zero convolution, -S",
        "cross normalisation, -S",
        "zero convolution, -S",
    ),
    (
        "Cross normalisation against zero convolution, -F",
        "cross normalisation, -F",
        "zero convolution, -F",
    ),
    (
        "Cross normalisation against zero convolution, from nothing",
        "from nothing: cross normalisation",
        "from nothing: zero convolution",
    ),
    (
        "One stage (-S) against ControlNet's copy",
        "cross normalisation, -S",
        "ControlNet, base frozen",
    ),
    (
        "One stage (-F) against ControlNet's copy",
        "cross normalisation, -F",
        "ControlNet, base frozen",
    ),
    (
        "One stage against ControlNet's copy, from nothing",
        "from nothing: cross normalisation",
        "from nothing: ControlNet",
    ),
    (
        "One stage (-S) against T2I-Adapter",
        "cross normalisation, -S",
        "T2I-Adapter, base frozen",
    ),
    ("-F against -S", "cross normalisation, -F", "cross normalisation, -S"),
    ("Control against none, -F", "cross normalisation, -F", "no control, -F"),
    (
        "Published code against equation 10, -S",
        "cross normalisation, -S",
        "equation 10, -S",
    ),
    (
        "Published code against equation 10, -F",
        "cross normalisation, -F",
        "equation 10, -F",
    ),
    *(
        (
            f"Modulation per {extent} against {other}, {part}",
            f"modulation per {extent}, {part}",
            f"{other}, {part}",
        )
        for other in ("cross normalisation", "zero convolution")
        for extent in ("position", "channel")
        for part in ("-S", "-F")
    ),
    (
        "Published code against plain addition, -S",
        "cross normalisation, -S",
        "plain addition, -S",
    ),
)
"""Heading, first and second way of what is compared."""
MODULATION = "modulation per "
"""First words of the ways that multiply and add."""


def convergence_section(part: Convergence, drawn: set[str]) -> str:
    """The whole part; `drawn` are the pictures that there are."""
    measured = curves(part)
    blocks = [_method(part.setting, part.seeds)]
    for file, (title, _) in PANELS.items():
        if file in drawn:
            blocks.append(f"![{title}]({file})")
    blocks.append(_table_of_ways(measured))
    pairs = ((title, pair_of(measured, first, second)) for title, first, second in PAIRS)
    known_pairs = [(title, pair) for title, pair in pairs if pair is not None]
    blocks.append(_table_of_pairs(known_pairs))
    blocks.append(_verdict(dict(known_pairs)))
    blocks += modulation_answer(measured)
    blocks.append(origin(part))
    return "\n\n".join(blocks)


def _method(setting: Setting, seeds: Sequence[int]) -> str:
    width, height = setting.size
    return f"""## (c) Training

A toy of the real architecture ({width}x{height} pixels, UNet channels
{", ".join(map(str, setting.channels))}, {setting.latents}-channel latents in closed form) on
procedural characters: {setting.clips} to train on, {setting.held_out} that no run sees to
validate on. A base is trained for {setting.base_steps} steps to continue a reference *without*
poses. Every way of control then starts from it and trains {setting.steps} steps of
{setting.batch} clips of {setting.frames} frames: weights that come from the base at a rate of
{setting.kept_rate:g}, new ones at {setting.new_rate:g}. Single stages are
added at weight 1, as in the bundled model (the published -S has about that, the published -F 0.2).
Runs "from nothing" train everything at {setting.scratch_rate:g}. Noise levels are drawn around
{math.exp(setting.sigma_mean):.0f}, where a pose and not the noisy picture
decides, and latents count by what they do to pixels. Seeds
{", ".join(map(str, seeds))}: each decides the new weights, the clips and the noise, which all ways
share step by step; the base is one. The loss is the training objective's, with exact poses and
fixed noise, the mean over the noise levels
{", ".join(f"{sigma:g}" for sigma in setting.sigmas)}; curves are means over seeds, bands one
standard deviation. bfloat16 autocast."""


def _table_of_ways(measured: dict[str, Curve]) -> str:
    rows = []
    for curve in measured.values():
        middle = len(curve.steps) // 2
        rows.append(
            (
                curve.name,
                f"{len(curve.seeds)}",
                f"{curve.new_parameters / 1e3:,.0f} k", f"{curve.learned_parameters / 1e3:,.0f} k",
                f"{curve.mean[0]:.3f}", f"{curve.mean[middle]:.3f}",
                f"{curve.mean[-1]:.4f} ± {curve.spread[-1]:.4f}", f"{curve.follows:+.4f}",
                f"{curve.seconds:.0f} s",
            )
        )  # fmt: skip
    first = next(iter(measured.values()))
    head = (
        "", "seeds", "new weights", "learned", "loss at 0",
        f"at {first.steps[len(first.steps) // 2]}",
        f"at {first.steps[-1]}", "with another's poses", "processor time",
    )  # fmt: skip
    return (
        table(head, rows) + '\n\n"With another\'s poses": how much the last loss rises when every '
        "character is given the poses of another; 0 means that poses are ignored."
    )


def _table_of_pairs(known_pairs: Sequence[tuple[str, Comparison]]) -> str:
    rows = [
        (
            title,
            pair.gap, f"{pair.wins} of {pair.seeds}",
            "never" if pair.reached is None else f"{pair.reached:g}",
            pair.verdict,
        )
        for title, pair in known_pairs
    ]  # fmt: skip
    head = ("first against second", "difference at the end", "seeds won",
            "first reaches the second's end at", "so")  # fmt: skip
    return (
        table(head, rows)
        + '\n\nBelow 0 the first is better. "No clear difference": the '
        + ("seeds disagree, or the difference is within its own standard deviation.")
    )


def _verdict(comparisons: dict[str, Comparison]) -> str:
    lines = ["### Do the claims hold here?", ""]
    claims = (
        (PAIRS[0][0], "Cross normalisation trains faster than zero convolution (fine-tuning, -S)"),
        (PAIRS[1][0], "Cross normalisation trains faster than zero convolution (fine-tuning, -F)"),
        (PAIRS[2][0], "Cross normalisation trains faster than zero convolution (from nothing)"),
        (PAIRS[3][0], "One light stage with -S does as well as ControlNet's copy"),
        (PAIRS[4][0], "One light stage with -F does as well as ControlNet's copy"),
        (PAIRS[5][0], "One light stage does as well as ControlNet's copy (from nothing)"),
    )
    adapters = (
        (f"Modulation per {extent} against cross normalisation, {part}",
         f"Modulation (multiply and add) per {extent} is a better adapter than cross "
         f"normalisation's addition ({part})")
        for extent in ("position", "channel") for part in ("-S", "-F")
    )  # fmt: skip
    for key, claim in (*claims, *adapters):
        if key in comparisons:
            equal_is_enough = "as well as" in claim
            lines.append(f"- {claim}: **{holds(comparisons[key], equal_is_enough)}**.")
    return "\n".join([
        *lines,
        "",
        "What this cannot say: the paper fine-tunes networks hundreds of times this size, with a "
        "strong base, for thousands of steps. A toy shows the direction of an effect, if it is "
        "there at this size, and not its size at theirs.",
    ])  # fmt: skip


def holds(pair: Comparison, equal_is_enough: bool) -> str:
    """Words that say if the claim that the first is better (or as good) holds."""
    if pair.seeds < 2:
        return f"not judged: one seed ({pair.gap})"
    if pair.clear and pair.difference < 0:
        return f"holds ({pair.difference:+.4f})"
    if not pair.clear:
        return f"{'holds within the spread' if equal_is_enough else 'not shown'} ({pair.gap})"
    return f"does not hold ({pair.difference:+.4f})"


def modulation_answer(measured: dict[str, Curve]) -> list[str]:
    """The paper's open question, answered from the runs that there are; empty without any."""
    modulated = [curve for name, curve in measured.items() if name.startswith(MODULATION)]
    if not modulated:
        return []
    pairs = [
        pair
        for curve in modulated
        for other in ("cross normalisation", "zero convolution")
        if (pair := pair_of(measured, curve.name, f"{other}, {curve.name[-2:]}")) is not None
    ]
    text = [
        "### Is there an adapter by feature modulation?",
        "Built beside addition: a scale and a shift of the normalised features, from a 1x1 "
        "convolution that starts at zero, for every position or one for each channel (FiLM). "
        + _sizes_beside_addition(measured, modulated)
        + " With another's poses its loss rises by "
        + ", ".join(f"{curve.follows:+.4f} ({curve.name})" for curve in modulated)
        + ".",
    ]
    return ["\n\n".join([*text, f"**{_answer(pairs)}**"])]


def _sizes_beside_addition(measured: dict[str, Curve], modulated: Sequence[Curve]) -> str:
    added = measured.get("cross normalisation, -S")
    if added is None:
        return ""
    extra = modulated[0].new_parameters - added.new_parameters
    return (
        f"It has {extra / 1e3:,.0f} k weights more than cross normalisation's "
        f"{added.new_parameters / 1e3:,.0f} k and trains the same number of steps."
    )


def _answer(pairs: Sequence[Comparison]) -> str:
    """In words, with the numbers of comparisons behind them."""
    judged = [pair for pair in pairs if pair.seeds > 1]
    if not judged:
        return "Not answered: no way of modulation was trained with two seeds beside addition."
    better, worse = (
        [pair for pair in judged if pair.clear and (pair.difference < 0) == lower]
        for lower in (True, False)
    )
    lines = (
        f"{len(judged)} comparisons with cross normalisation and zero convolution, -S and -F: "
        f"modulation ends lower in {len(better)}, higher in {len(worse)}, and "
        f"{len(judged) - len(better) - len(worse)} show no clear difference"
    )
    normalised = [pair for pair in judged if pair.second.startswith("cross normalisation")]
    winners = [pair.first for pair in normalised if pair in better]
    if winners:
        return (
            f"Yes, and a better one than cross normalisation here: {', '.join(winners)}. {lines}."
        )
    if normalised and all(pair in worse for pair in normalised):
        return f"Yes, but a worse one than cross normalisation here. {lines}."
    return f"Yes, but none that is shown to be better than cross normalisation here. {lines}."
