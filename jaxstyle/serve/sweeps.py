"""Sheets of settings: small runs that differ along one or two options."""

import itertools
import secrets
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxstyle.errors import InputError, check_integer, quote
from jaxstyle.serve.options import AXES, MIN_SIZE, parse
from jaxstyle.serve.run import Run
from jaxstyle.serve.segment import Inputs, Segment

MAX_CELLS = 25
MAX_SIDE = 512


class Sweep(NamedTuple):
    """A sheet.

    Attributes:
        id: random name.
        inputs: pictures of all cells.
        settings: of a picture at full size, as they were asked for.
        axes: values of each option; the first one's are the rows.
        cells: values of the axes, and the run, row by row.
    """

    id: str
    inputs: Inputs
    settings: dict[str, Any]
    axes: dict[str, list[Any]]
    cells: list[tuple[dict[str, Any], Run]]

    def to_json(self) -> dict[str, Any]:
        """Describe the sheet for the page."""
        inputs = self.inputs
        described = {"id": self.id, "photo": inputs.photo.id, "paintings": [each.id for each in inputs.paintings]}
        described |= {"settings": self.settings, "axes": self.axes}
        cells = [
            {"settings": values, "run": run.id, "state": run.state, "picture": run.version}
            for values, run in self.cells
        ]
        return described | {"cells": cells}


class Sweeps:
    """All sheets of this server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sweeps: dict[str, Sweep] = {}

    def add(self, sweep: Sweep) -> None:
        """Keep a sheet."""
        with self._lock:
            self._sweeps[sweep.id] = sweep

    def get(self, id: str) -> Sweep:
        """Return a sheet by its name.

        Raises:
            InputError: if there is none.
        """
        with self._lock:
            sweep = self._sweeps.get(id)
        if sweep is None:
            raise InputError("there is no such sheet on the server")
        return sweep


def make_sweep(inputs: Inputs, settings: Any, axes: Any, size: Any) -> Sweep:
    """Return the sheet that a request asks for; its runs have not begun.

    Args:
        inputs: pictures.
        settings: of a picture at full size.
        axes: one or two options, with a list of values each.
        size: long side of a cell in pixels.

    Raises:
        InputError: for a wrong value of any cell, or too many cells.
    """
    if not isinstance(axes, Mapping) or not 1 <= len(axes) <= 2:
        raise InputError(f"axes is {quote(axes)}, expected one or two options with a list of values each")
    for name, values in axes.items():
        if name not in AXES:
            raise InputError(f"a sheet cannot vary {quote(name)}, expected one of {', '.join(AXES)}")
        if not isinstance(values, list) or not values:
            raise InputError(f"the axis {quote(name)} has {quote(values)}, expected a list of values")
    check_integer(size, "size", MIN_SIZE, MAX_SIDE)
    parse(settings)
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MAX_CELLS:
        raise InputError(f"the sheet has {count} cells, expected at most {MAX_CELLS}")
    id, cells = secrets.token_urlsafe(9), []
    for values in itertools.product(*axes.values()):
        own = dict(zip(axes, values, strict=True))
        wanted = parse({**settings, **own, "size": size})
        cells.append((own, Run(inputs, Segment(wanted), sweep=id)))
    return Sweep(id, inputs, dict(settings), {name: list(values) for name, values in axes.items()}, cells)
