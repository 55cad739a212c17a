"""kvm_kerndisp(3)."""

from __future__ import annotations

from pykvm.errors import KvmError
from pykvm.handle import Kvm, handle


def kvm_kerndisp(kd: Kvm) -> int:
    """How many bytes above the addresses in its file the kernel runs (negative: below); 0 if it was not moved, or it
    cannot be told, then with a message.

    It is what the symbols had to be moved by to fit the dump. FreeBSD's library knows it only of powerpc64 (where the
    distance does not fit its kssize_t and looks negative), and gives 0 for kernels that KASLR moved.
    """
    try:
        if handle(kd).no_files:
            raise KvmError("failed to get kernel base address: no live kernel to ask")
        return kd.target.kerndisp
    except KvmError as e:
        kd.note(e)
        return 0
