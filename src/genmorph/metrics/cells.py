"""How a table prints measured values: one place for those who write cells and those who check."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

NOT_AVAILABLE = "n/a"


def printed(values: Sequence[float], form: str) -> str:
    """Text of a cell: the value of one seed, or mean ± SD over several.

    Parameters
    ----------
    values : sequence of float
        One value a training seed.
    form : str
        A format specification such as `.1f`.

    Examples
    --------
    >>> printed([82.24], ".1f")
    '82.2'
    >>> printed([1.0, 3.0], ".1f")
    '2.0 ± 1.4'
    """
    if not values:
        return NOT_AVAILABLE
    if len(values) == 1:
        return format(values[0], form)
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    return f"{format(mean, form)} ± {format(spread, form)}"
