"""VMCOREINFO, the note in which a Linux kernel describes itself (Documentation/admin-guide/kdump/vmcoreinfo.rst)."""

from __future__ import annotations

MAX_SIZE = 1 << 20


class VmcoreInfo:
    """KEY=VALUE lines; of a key that occurs twice the last one counts."""

    def __init__(self, raw: bytes) -> None:
        self.values: dict[str, str] = {}
        for line in raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape").splitlines():
            key, equals, value = line.partition("=")
            if equals:
                self.values[key] = value

    def text(self, key: str) -> str | None:
        """A value as it stands."""
        return self.values.get(key)

    def symbol(self, name: str) -> int | None:
        """SYMBOL(name): a run-time address."""
        return self._number(f"SYMBOL({name})", 16)

    def number(self, name: str) -> int | None:
        """NUMBER(name): decimal, or hexadecimal with 0x."""
        return self._number(f"NUMBER({name})", 0)

    def hexadecimal(self, key: str) -> int | None:
        """A value that is hexadecimal without 0x, such as KERNELOFFSET."""
        return self._number(key, 16)

    def decimal(self, key: str) -> int | None:
        """A bare decimal value, such as PAGESIZE or CRASHTIME."""
        return self._number(key, 10)

    def _number(self, key: str, base: int) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        try:
            return int(value, base)
        except ValueError:
            return None
