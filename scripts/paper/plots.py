"""The page's pictures: curves with spread, and bars. Small PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from animate.errors import UserError
from scripts.paper.figures import Convergence, Times
from scripts.paper.summary import Curve, curves

PANELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "evidence-normalisation.png": (
        "Fine-tuning: cross normalisation and zero convolution",
        (
            "cross normalisation, -S", "zero convolution, -S", "cross normalisation, -F",
            "zero convolution, -F", "no control, -F",
        ),
    ),
    "evidence-stages.png": (
        "Fine-tuning: one stage, or many",
        (
            "cross normalisation, -S", "cross normalisation, -F", "ControlNet, base frozen",
            "T2I-Adapter, base frozen",
        ),
    ),
    "evidence-formulas.png": (
        "Fine-tuning: how control is brought to the features (-S)",
        (
            "cross normalisation, -S", "equation 10, -S", "plain addition, -S",
            "zero convolution, -S",
        ),
    ),
    "evidence-modulation.png": (
        "Fine-tuning: addition and modulation",
        (
            "cross normalisation, -S", "modulation per position, -S", "cross normalisation, -F",
            "modulation per position, -F", "modulation per channel, -F",
        ),
    ),
    "evidence-nothing.png": (
        "From nothing: everything is trained",
        (
            "from nothing: cross normalisation", "from nothing: zero convolution",
            "from nothing: ControlNet",
        ),
    ),
}  # fmt: skip
"""Title and ways of control of each picture of curves."""
TIMES = "evidence-times.png"
_COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#e09f3e", "#6c757d")


def draw_curves(convergence: Convergence, folder: Path) -> list[str]:
    """Write the pictures of those panels that have at least two curves; returns their names."""
    measured = curves(convergence)
    written = []
    labelled: set[str] = set()
    for file, (title, names) in PANELS.items():
        chosen = [measured[name] for name in names if name in measured]
        new = {curve.name for curve in chosen} - labelled
        if len(chosen) > 1 and new:  # not the same curves under another title
            labelled |= new
            _curves(chosen, title, folder / file)
            written.append(file)
    return written


def _curves(chosen: Sequence[Curve], title: str, file: Path) -> None:
    figure, axes = _axes((6.4, 3.8))
    for curve, colour in zip(chosen, _COLOURS, strict=False):
        axes.plot(curve.steps, curve.mean, color=colour, label=curve.name, marker="o", ms=3)
        low, high = curve.mean - curve.spread, curve.mean + curve.spread
        axes.fill_between(curve.steps, low, high, color=colour, alpha=0.18, lw=0)
    axes.set_xlabel("steps")
    axes.set_ylabel("validation loss")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    _save(figure, file)


def draw_times(times: Times, folder: Path) -> str:
    """Write bars of how much longer a step takes; returns the name."""
    figure, axes = _axes((6.4, 3.0))
    bases = list(dict.fromkeys(row.base for row in times.rows))
    groups = [*bases, "mean", "published mean"]
    for index, method in enumerate(("ControlNet", "ControlNeXt")):
        percents = {row.base: row.cpu_percent for row in times.rows if row.method == method}
        values = [percents[base] for base in bases]
        values += [times.mean_percent["cpu"][method], times.published_percent[method]]
        where = [group + 0.38 * (index - 0.5) for group in range(len(groups))]
        bars = axes.bar(where, values, 0.36, color=_COLOURS[1 - index], label=method)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("% more time a step")
    axes.margins(y=0.25)  # room for the legend above the bars
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center")
    _save(figure, folder / TIMES)
    return TIMES


def _axes(size: tuple[float, float]) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as reason:
        raise UserError(
            "the plots need matplotlib; install it with: pip install 'cnx-animate[train]'"
        ) from reason
    figure: Any = Figure(figsize=size, dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, file: Path) -> None:
    # Nothing that changes from run to run goes into the file.
    figure.savefig(file, metadata={"Software": None})
