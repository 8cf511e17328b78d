"""The `--face X,Y,W,H` option of the command lines."""

from __future__ import annotations

from typing import Any

import click


class BoxType(click.ParamType):
    """X,Y,W,H in pixels."""

    name = "X,Y,W,H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Returns four floats."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 4:
            self.fail("give four numbers: X,Y,W,H", param, ctx)
        return numbers
