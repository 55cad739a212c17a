"""The only module that imports the compiled core."""

from __future__ import annotations

from typing import Any

from pykvm._native import _core  # type: ignore[attr-defined]

ffi: Any = _core.ffi
lib: Any = _core.lib
