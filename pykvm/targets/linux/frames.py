"""Stacks of sleeping tasks by frame pointers: AArch64, and x86-64 kernels with CONFIG_UNWINDER_FRAME_POINTER.

Sources: AAPCS64 (the frame record: the caller's frame pointer, the return address);
Documentation/arch/x86/orc-unwinder.rst; arch/arm64/kernel/stacktrace.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.targets.base import Parts
from pykvm.targets.linux.columns import Columns

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

STACK_MAX = 256 << 10  # the largest kernel stack, with all that debugging adds
# push %rbp; mov %rsp,%rbp in both encodings of the move.
X86_PROLOGUES = (b"\x55\x48\x89\xe5", b"\x55\x48\x8b\xec")
ENDBR64 = b"\xf3\x0f\x1e\xfa"
X86_NEAR = 24  # bytes: what may stand before it is an endbr64 and a call of the tracer


def aarch64_walk(target: Linux, parts: Parts, read: Columns) -> Callable[[int], Iterator[int]] | None:
    """A walk from the frame pointer that cpu_switch_to() saved in thread.cpu_context."""
    if "cpu_context" not in read.types or read.field("task_struct", "stack") is None:
        return None
    saved = read.offset("task_struct", "thread") + read.offset("thread_struct", "cpu_context")
    saved += read.offset("cpu_context", "fp")
    stack = read.offset("task_struct", "stack")
    # The bits of an address that are no part of it hold a pointer authentication code, or all ones.
    code = target.tables(parts.image).kernel_start

    def walk(task: int) -> Iterator[int]:
        for pc in chain(parts, parts.memory.read_ptr(task + stack), parts.memory.read_ptr(task + saved)):
            yield pc | code

    return walk


def chain(parts: Parts, stack: int, fp: int) -> Iterator[int]:
    """The return addresses of a chain of frames, which must lead up the stack."""
    low = stack
    while low <= fp < stack + STACK_MAX and fp % 8 == 0:
        yield parts.memory.read_ptr(fp + 8)
        low, fp = fp + 16, parts.memory.read_ptr(fp)


def x86_walk(target: Linux, parts: Parts, read: Columns) -> Callable[[int], Iterator[int]] | None:
    """A walk from the frame that __switch_to_asm() left at thread.sp. A register that is no frame pointer may look
    like one, so each function on the way must be seen to set its own up."""
    if "inactive_task_frame" not in read.types or read.field("task_struct", "stack") is None:
        return None
    saved = read.offset("task_struct", "thread") + read.offset("thread_struct", "sp")
    stack = read.offset("task_struct", "stack")
    bp, ret = read.offset("inactive_task_frame", "bp"), read.offset("inactive_task_frame", "ret_addr")

    def walk(task: int) -> Iterator[int]:
        bottom, sp = parts.memory.read_ptr(task + stack), parts.memory.read_ptr(task + saved)
        if not bottom <= sp < bottom + STACK_MAX:
            return
        inner = parts.memory.read_ptr(sp + ret)
        yield inner
        for pc in chain(parts, bottom, parts.memory.read_ptr(sp + bp)):
            if not _has_frame(parts, inner):
                return
            yield pc
            inner = pc

    return walk


def _has_frame(parts: Parts, pc: int) -> bool:
    """Whether the function at an address begins by pushing the frame pointer."""
    found = parts.symbols.at(pc)
    if found is None or found[1] < X86_NEAR:
        return False
    try:
        start = parts.memory.read(pc - found[1], X86_NEAR)
    except KvmError:
        return False
    start = start.removeprefix(ENDBR64)
    return start.startswith(X86_PROLOGUES) or start[5:].startswith(X86_PROLOGUES)
