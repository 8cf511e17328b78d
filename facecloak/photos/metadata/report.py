"""What was taken out of a file, by stable names: the table in docs/api.md explains each."""

from __future__ import annotations

REDRAWN = ":redrawn"
"""Ends the name of a picture that was not dropped but drawn anew from the changed photo."""

KEPT = ":kept"
"""Ends the name of what shows the old face and stays all the same, because a setting says so."""

MAX_XML_ELEMENTS = 50_000
"""A long editing history has hundreds."""


class Report:
    """Names of what was dropped or drawn anew, each once, in the order of the file.

    Attributes:
        xml_elements_left: how many elements of XML may still be looked at, all packets of a file together.
    """

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self.xml_elements_left = MAX_XML_ELEMENTS

    def dropped(self, name: str) -> None:
        self._names[name] = None

    def redrawn(self, name: str) -> None:
        self._names[name + REDRAWN] = None

    def kept(self, name: str) -> None:
        self._names[name + KEPT] = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)
