"""What the two calculators share: conditions that decide the exit code, plots, figures without a bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

fail_option = click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 9 if this holds, such as 'months<12'. May be repeated. Figures are named as in --json.",
)
plot_option = click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw a curve: FILE is a .png or an .svg (needs the extra [plots]).",
)


def bounded(value: float, digits: int = 4) -> float | None:
    """A figure with so many digits that count; None if it has no bound, which JSON cannot say otherwise."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def check_gates(conditions: Sequence[str], figures: Mapping[str, Any]) -> list[str]:
    """The conditions that hold. Raises BadInput for one that cannot be read."""
    from contactsync.audit.gates import Gate

    numbers = {
        name: value
        for name, value in figures.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
    gates = [Gate.read(text, numbers) for text in conditions]
    return [str(gate) for gate in gates if gate.holds(numbers)]


def finish(failed: Sequence[str], *, quiet: bool) -> None:
    """Exit with 9 if a condition holds."""
    from contactsync.audit.report import DISPROVEN

    if failed and not quiet:
        click.echo(f"condition met: {', '.join(failed)}", err=True)
    if failed:
        click.get_current_context().exit(DISPROVEN)
