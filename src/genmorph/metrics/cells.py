"""How a table prints measured values: one place for those who write cells and those who check."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

NOT_AVAILABLE = "n/a"
# a cell of this format shows what the files state, not a mean
AS_STATED = ""
COMPARABLE = "yes"
WALL_TIME = "seconds"
# what a measurement leaves out where it is not defined, with a note; a training states all
MAY_LACK = ("values", "spread")


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


def value_at(content: Mapping[str, Any], key: str) -> Any:
    """What a file holds at a key: `values.axial`, `spread.axial`, `steps`.

    Raises
    ------
    KeyError
        When it holds nothing there.
    """
    for word in key.split("."):
        content = content[word]
    return content


def defined(contents: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    """Those of the seeds' files that have a value at a key that measurements may leave out.

    Examples
    --------
    >>> len(defined([{"values": {"l2": 1.0}}, {"values": {}}], "values.l2"))
    1
    """
    table, _, name = key.partition(".")
    if table not in MAY_LACK:
        return list(contents)
    return [content for content in contents if table in content and name in content[table]]


def measured_cell(
    contents: Sequence[Mapping[str, Any]], key: str, form: str, *, reported: str, comparable: str
) -> dict[str, str]:
    """What a cell says, from the files of its seeds: text, values, spread and difference.

    Parameters
    ----------
    contents : sequence of dict
        Measurements (or training summaries), one a seed; those that lack the value, too.
    key : str
        Place of the value in each, as `value_at` takes it.
    form : str
        A format specification; '' shows each distinct value as it stands.
    reported : str
        The paper's number, or ''.
    comparable : str
        'yes', or what differs from the paper.

    Returns
    -------
    dict of str to str
        `printed`: mean ± SD over seeds; of a measurement's own spread the mean over seeds, so that
        two kinds of spread never stand in one cell. `value`: each seed's value. `spread` and
        `spread_over`: the SD over seeds, or with one seed the measurement's own. `difference`:
        measured less reported, empty unless they are comparable. Wall times on several devices are
        printed device by device, without a spread. Where measurements of some seeds leave the value
        out, all is of the others, and `printed` ends with how many of the seeds they are.

    Raises
    ------
    KeyError
        When a training summary holds nothing at `key`.

    Examples
    --------
    >>> contents = [{"values": {"l2": 1.0}, "spread": {"l2": 0.5}}, {"values": {"l2": 2.0}}]
    >>> cell = measured_cell(contents, "values.l2", ".1f", reported="1.0", comparable="yes")
    >>> cell["printed"], cell["spread_over"], cell["difference"]
    ('1.5 ± 0.7', 'seeds', '0.5')
    """
    seeds, contents = len(contents), defined(contents, key)
    values = [value_at(content, key) for content in contents]
    if form == AS_STATED and values:
        text = " / ".join(dict.fromkeys(map(str, values)))
    elif key == WALL_TIME and len(devices := _devices(contents)) > 1:
        # times on different hardware have no mean
        text = " / ".join(f"{printed(devices[name], form)} ({name})" for name in sorted(devices))
        return {"printed": text, "value": " ".join(map(repr, values))} | dict.fromkeys(
            ("spread", "spread_over", "difference"), ""
        )
    elif key.startswith("spread.") and values:
        text = format(statistics.fmean(values), form)
    else:
        text = printed(values, form)
    if 0 < len(values) < seeds:
        text += f" ({len(values)} of {seeds} seeds)"
    spread, spread_over = _spread(contents, key)
    known = values and reported and comparable == COMPARABLE
    return {
        "printed": text,
        "value": " ".join(value if isinstance(value, str) else repr(value) for value in values),
        "spread": spread,
        "spread_over": spread_over,
        "difference": repr(statistics.fmean(values) - float(reported)) if known else "",
    }


def _devices(contents: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Wall times by the device they were taken on."""
    devices: dict[str, list[float]] = {}
    for content in contents:
        devices.setdefault(str(content.get("device", "unknown")), []).append(content[WALL_TIME])
    return devices


def _spread(contents: Sequence[Mapping[str, Any]], key: str) -> tuple[str, str]:
    table, _, name = key.partition(".")
    if table != "values":
        return "", ""
    if len(contents) > 1:
        return repr(statistics.stdev(value_at(content, key) for content in contents)), "seeds"
    own = [content for content in contents if name in content.get("spread", {})]
    return (repr(own[0]["spread"][name]), own[0]["settings"]["spread_over"]) if own else ("", "")
