"""The terminal's width, as shutil has it: that brings all compressions along, which takes a while at each start."""

from __future__ import annotations

import os
import sys

WIDTH = 80  # where it is not known


def columns() -> int:
    """Columns of the terminal that standard output is; COLUMNS of the environment goes first."""
    try:
        given = int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        given = 0
    if given > 0:
        return given
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or WIDTH if sys.__stdout__ else WIDTH
    except (OSError, ValueError):
        return WIDTH
