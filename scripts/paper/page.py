"""docs/evidence.md from the figures alone: every number and verdict in it is read from the JSON."""

from __future__ import annotations

from collections.abc import Iterable

from scripts.benchmarks.rows import Row
from scripts.paper.figures import (
    Arithmetic,
    Convergence,
    Counts,
    Figures,
    Formulas,
    Stills,
    TimedStep,
    Times,
)
from scripts.paper.markdown import origin, table
from scripts.paper.page_training import convergence_section
from scripts.paper.plots import TIMES
from scripts.paper.summary import curves, pair_of


def render(figures: Figures, pictures: Iterable[str]) -> str:
    """The page for the parts that `figures` holds."""
    drawn = set(pictures)
    parts = [_head(figures)]
    if figures.counts:
        parts.append(_counts(figures.counts))
    if figures.arithmetic or figures.times:
        parts.append("## (b) A step")
    if figures.arithmetic:
        parts.append(_arithmetic(figures.arithmetic))
    if figures.times:
        parts.append(_times(figures.times, TIMES in drawn))
    if figures.stills:
        parts.append(_stills(figures.stills))
    if figures.convergence:
        parts.append(convergence_section(figures.convergence, drawn))
    if figures.formulas:
        parts.append(_formulas(figures.formulas, figures.convergence))
    return "\n\n".join(parts) + "\n"


def _head(figures: Figures) -> str:
    return f"""# The paper's claims, measured

What ControlNeXt (Peng et al., arXiv 2408.06070) says of its size, speed and training, held against
what this repository measures. `python scripts/evidence.py` wrote this page and every number in it
(all of them are in [evidence.json](evidence.json)); do not edit it by hand.
{"**Toy sizes: a trial of the script, no evidence.**" if figures.quick else ""}"""


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f}"


def _counts(part: Counts) -> str:
    rows = []
    for row in part.counts:
        network = {"": "", "first": ", SVD v1's network", "later": ", later network"}
        total, learned = row.published or (part.published_bases[row.base], None)
        rows.append(
            (
                f"{row.base}, {row.method}{network[row.network]}",
                _millions(row.total), f"{total:,}",
                "" if learned is None else _millions(row.learned),
                "" if learned is None else f"{learned:,}",
            )
        )  # fmt: skip
    networks = part.control_networks
    compared = [row for row in part.counts if row.network != "later" and row.published is not None]
    equal = [row for row in compared if row.equal]
    head = ("millions of parameters", "total", "paper", "learned", "paper")
    return f"""## (a) Parameters

{table(head, rows)}

{len(equal)} of {len(compared)} lines of the paper's table come out to the million (the paper cuts
fractions off) when the control network is the one that was published first, for SVD v1: three
blocks, 1,280 channels out, {_millions(networks["first"])} M. The code published later for SD1.5,
SDXL and SVD v2 has a smaller network: two blocks, 320 channels, {_millions(networks["later"])} M.
With it each figure is {_millions(networks["first"] - networks["later"])} M lower than the paper's
(before fractions are cut off); that is the whole difference.
The 1,528 M and 53 M of this project's `selective` training are the later network's.

Counted as learned beside the control network: SD1.5 and SVD all attention output projections
(`to_out`), SDXL those of the cross-attention alone (`attn2`), as the published training commands
have it. diffusers has no ControlNet for SVD; `scripts/paper/baselines/controlnet.py` is the copy of
its encoder that was counted. {origin(part)}"""


def _arithmetic(part: Arithmetic) -> str:
    rows = []
    for base, steps in part.steps.items():
        for method, counted in steps.items():
            more = "" if method == "base" else f"{counted.percent:+.1f} %"
            rows.append((f"{base} ({part.sizes[base]}), {method}", f"{counted.tflop:.3f}", more))
    for method in ("ControlNet", "ControlNeXt"):
        values = [steps[method].percent for steps in part.steps.values()]
        rows.append((f"mean, {method}", "", f"{sum(values) / len(values):+.1f} %"))
    return f"""### Arithmetic

Products and convolutions of one conditional call of the UNet and of the control network, counted at
the sizes that the models were trained on; no machine changes them. The paper's means for
the time of a step are +41.9 % and +10.4 %.

{table(("TFLOP", "step", "more"), rows)}"""


def _times(part: Times, drawn: bool) -> str:
    rows = [
        (
            f"{row.base} ({row.size}), {row.method}",
            f"{row.cpu:.2f}", _grown(row, "cpu"),
            f"{row.wall:.2f}", _grown(row, "wall"),
        )
        for row in part.rows
    ]  # fmt: skip
    for name, published in part.published_percent.items():
        means = {clock: f"{values[name]:+.1f} %" for clock, values in part.mean_percent.items()}
        rows.append(
            (
                f"mean, {name} (paper {published:+.1f} %)",
                "", means["cpu"], "", means["wall"],
            )
        )  # fmt: skip
    counts = sorted({row.rounds for row in part.rows})
    rounds = " or ".join(map(str, counts))
    text = f"""### Time

Full size, random weights, {part.precision}, one conditional call of the UNet at a time, the
three ways in turn in one process; medians of {rounds} rounds after one that is thrown away. The
control network runs at every step. The machine had other work, so processor time is the
figure to trust; wall time stands beside it.

{table(("seconds", "processor", "more", "wall", "more"), rows)}
"""
    if drawn:
        text += f"\n![Growth of the time of a step]({TIMES})\n"
    if part.overhead:
        text += "\n" + _overhead(part.overhead)
    return text + f"\n{origin(part)}"


def _stills(part: Stills) -> str:
    rows = [
        (
            row.method, _millions(row.total), _millions(row.learned), f"{row.cpu:.2f}",
            "" if row.method == "base" else f"{row.cpu_percent:+.1f} %", f"{row.wall:.2f}",
            f"{row.peak_bytes / 2**30:.2f}",
        )
        for row in part.rows
    ]  # fmt: skip
    head = ("", "total, M", "learned, M", "processor, s", "more", "wall, s", "peak, GiB")
    return f"""### Ways to control a still

Stable Diffusion 1.5 with random weights ({part.size}, {part.precision}), one conditional
call of the UNet, all in turn in one process (`python scripts/evidence.py --only
stills`); medians of {part.rounds} rounds. ControlNet, T2I-Adapter and IP-Adapter are diffusers'
own classes; the networks of T2I-Adapter and the encoder of IP-Adapter's picture (not counted) run
once for a picture and not in a step. Peaks are the weights and what torch has allocated at the
widest moment of a step, by its own record. The machine had other work. ControlNeXt is the released
design (controlnext-sd15): its network has no stem, so that its first blocks work at the picture's
full size; those of the later designs do not.

{table(head, rows)}

{origin(part)}"""


def _grown(row: TimedStep, clock: str) -> str:
    return "" if row.method == "base" else f"{row.percent(clock):+.1f} %"


def _overhead(rows: Iterable[Row]) -> str:
    lines = []
    counted = ""
    for row in rows:
        assert row.baseline is not None, "an overhead is beside what it is over"
        more = f"{100 * (row.value / row.baseline - 1):+.1f} %"
        lines.append(
            (
                row.name,
                f"{row.value:.2f} {row.unit}", f"{row.baseline:.2f} {row.unit}", more, row.note,
            )
        )  # fmt: skip
        if row.name.startswith("arithmetic"):
            counted = more
    return f"""### As the product runs it

Under guidance the UNet runs twice a step and the control network once, for the conditional half
(`python scripts/benchmark.py control_overhead`). The two are timed apart and summed, without the
normalising and adding of one feature map. The paper says +4.9 % for SVD.

{table(("", "with control", "bare", "more", "conditions"), lines)}

Counted in arithmetic at the native size, control is {counted} of a guided step: no
arrangement that computes the whole published network at every step does less. Overlapping windows
lower the share, since a frame's control is computed once however many windows show it.
"""


def _formulas(part: Formulas, convergence: Convergence | None) -> str:
    rows = [
        (
            f"{row.formula}, {row.network} control network",
            f"{row.deviation:.3f}", f"{row.offset:+.3f}",
        )
        for row in part.rows
    ]  # fmt: skip
    scaled = {(row.formula, row.scale): row.deviation for row in part.scaled}
    scales = sorted({scale for _, scale in scaled})
    second = [
        (formula, *(f"{scaled[formula, scale]:.3g}" for scale in scales))
        for formula in dict.fromkeys(formula for formula, _ in scaled)
    ]
    text = f"""## (d) Two formulas of cross normalisation

The paper's equation 10 is `(c - mean_x) / sqrt(var_x + eps)` times a learned scale: control `c`
standardised by the statistics of the main branch `x` alone. The published code is
`(c - mean_c) * std_x / std_c + mean_x`: standardised by its own, then given those of the main
branch. On features of the bundled model ({part.characters} characters, {part.frames} frames,
noise levels from 0.7 to 15; UNet {part.digest}) what is added has, relative to the main branch's
deviation:

{table(("", "deviation", "offset of the mean"), rows)}

The code's result does not depend on the size of the control features; equation 10's is proportional
to it, and it divides where it would have to multiply to match the main branch (features twice as
large get control half as large). Deviation of what is added when the trained control features are
multiplied:

{table(("times", *(f"{scale:g}" for scale in scales)), second)}

So weights trained with one formula cannot be used with the other: putting equation 10 into the
bundled model changes the UNet's output by {100 * part.output_change:.0f} % of its norm."""
    if convergence is not None:
        measured = curves(convergence)
        for share in ("-S", "-F"):
            pair = pair_of(measured, f"cross normalisation, {share}", f"equation 10, {share}")
            if pair is not None:
                text += (
                    f" Trained from the same base (part c), {share}: {pair.verdict} "
                    f"(published code minus equation 10: {pair.gap})."
                )
    return text + f" {origin(part)}"
