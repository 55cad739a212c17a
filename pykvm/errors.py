"""What a failure raises. Its text is what kvm_geterr(3) says."""

from __future__ import annotations

# A message is one line, whatever the files and names in it are called; what could not be written out is escaped too.
_CONTROL = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160))} | {
    c: f"\\u{c:04x}" for c in (0x2028, 0x2029, *range(0xD800, 0xDC80), *range(0xDD00, 0xE000))
}

CLOSED = "handle is closed"


class KvmError(Exception):
    """A failure of the library or of what it reads.

    `soft` marks the messages that MirBSD's kvm(3) always keeps in the handle, also for a handle opened with
    kvm_open(3) and an errstr, where the others go to stderr.
    """

    noted = False  # it is its handle's last message already, or was printed

    def __init__(self, message: str, *, soft: bool = False) -> None:
        super().__init__(message.translate(_CONTROL))
        self.soft = soft


class AddressError(KvmError):
    """Memory that is not there. `address` is the first byte that could not be had."""

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message, soft=True)
        self.address = address


class FormatError(KvmError):
    """A file that is damaged or not understood."""
