"""What a failure raises. Its text is what kvm_geterr(3) says."""

from __future__ import annotations


class KvmError(Exception):
    """A failure of the library or of what it reads.

    `soft` marks the messages that MirBSD's kvm(3) always keeps in the handle, also for a handle opened with
    kvm_open(3) and an errstr, where the others go to stderr.
    """

    def __init__(self, message: str, *, soft: bool = False) -> None:
        super().__init__(message)
        self.soft = soft


class AddressError(KvmError):
    """Memory that is not there. `address` is the first byte that could not be had."""

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message, soft=True)
        self.address = address


class FormatError(KvmError):
    """A file that is damaged or not understood."""
