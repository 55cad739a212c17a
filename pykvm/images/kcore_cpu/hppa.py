"""hppa: sys/arch/hppa/include/kcore.h of NetBSD and OpenBSD: one word without a meaning."""

from __future__ import annotations


def hppa(path: str, cpu: bytes, byteorder: str) -> None:
    """Nothing: memory lies in the file as it is."""
