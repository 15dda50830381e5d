"""Curves as PNG or SVG files, by matplotlib (the extra `[plots]`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput

FORMATS = ("png", "svg")


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve with its axes: what `x` and `y` are, in words. `mark` is a value of y to draw a line at."""

    title: str
    x: str
    y: str
    points: Sequence[tuple[float, float]]
    mark: tuple[float, str] | None = None
    logarithmic: bool = False


def check_plot(path: Path) -> str:
    """The format that a file name asks for. Raises BadInput for another one, or without matplotlib."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise BadInput(f"{path}: a plot is a .png or an .svg file", hint="name the file so")
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 -- slow to import, and not everybody has it
    except ImportError as error:
        raise BadInput(
            "plots need matplotlib, which is not installed", hint="pip install 'contactsync[plots]'"
        ) from error
    return kind


def draw(path: Path, curve: Curve) -> None:
    """Write a curve to a file whose name says the format. The same curve gives the same SVG."""
    kind = check_plot(path)
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "contactsync", "font.size": 10}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([x for x, _ in curve.points], [y for _, y in curve.points], marker="o", markersize=3)
        axes.set_title(curve.title, fontsize=10)
        axes.set_xlabel(curve.x)
        axes.set_ylabel(curve.y)
        if curve.logarithmic:
            axes.set_yscale("log")
        if curve.mark is not None:
            axes.axhline(curve.mark[0], linestyle="--", linewidth=1, color="gray")
            axes.annotate(
                curve.mark[1], (0.01, curve.mark[0]), xycoords=("axes fraction", "data"), va="bottom"
            )
        axes.grid(visible=True, alpha=0.3)
        octets = io.BytesIO()
        figure.savefig(octets, format=kind, metadata={"Date": None} if kind == "svg" else None, dpi=120)
    durable.write(path, octets.getvalue(), mode=0o644)
