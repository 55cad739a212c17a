"""The only module that imports the compiled core."""

from __future__ import annotations

from typing import Any

from pykvm._native import _core  # type: ignore[attr-defined]

ffi: Any = _core.ffi
lib: Any = _core.lib
# Room that C fills at once.
unset: Any = ffi.new_allocator(should_clear_after_alloc=False)
NEAR = 1 << 20  # bytes that are copied without letting go of the GIL (brief.h)
