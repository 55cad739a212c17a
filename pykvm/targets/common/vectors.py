"""Argument vectors."""

from __future__ import annotations

from collections.abc import Sequence


def limited(strings: Sequence[bytes], nchr: int) -> list[bytes]:
    """kvm_getargv's nchr: that many bytes, NULs included; the string that reaches it is cut and is the last. 0: all."""
    if nchr <= 0:
        return list(strings)
    found = []
    for word in strings:
        found.append(word[:nchr])
        nchr -= len(word) + 1
        if nchr <= 0:
            break
    return found
