"""Why a physical address cannot be read, for messages."""

from __future__ import annotations

from pykvm._native.ffi import lib

REASONS = {
    lib.PK_EEOF: "the file ends",
    lib.PK_ELEFTOUT: "memory that the dump leaves out",
    lib.PK_EDAMAGED: "a damaged page",
    lib.PK_ENOPART: "memory in a part of this split dump that was not given",
}
