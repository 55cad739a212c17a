"""Stacks of sleeping tasks by frame pointers: AArch64, and x86 kernels with CONFIG_UNWINDER_FRAME_POINTER.

Sources: AAPCS64 (the frame record: the caller's frame pointer, the return address);
Documentation/arch/x86/orc-unwinder.rst; arch/arm64/kernel/stacktrace.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pykvm.errors import AddressError
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

STACK_MAX = 256 << 10  # the largest kernel stack, with all that debugging adds
# How x86 functions begin: endbr, a call of the tracer (or five bytes that do nothing), push %bp, and before long
# mov %sp,%bp in one of its two encodings.
X86_PROLOGUE = re.compile(rb"(?:\xf3\x0f\x1e[\xfa\xfb])?(?:.{5})?\x55.{0,12}?(?:\x89\xe5|\x8b\xec)", re.DOTALL)
X86_NEAR = 32
# Some that every kernel has, and that have no use for a frame pointer of their own.
X86_SAMPLE = "schedule mutex_lock wait_for_completion io_schedule down do_exit vfs_read vfs_write".split()
X86_ENOUGH = 5


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
        bottom, fp = parts.memory.read_ptr(task + stack), parts.memory.read_ptr(task + saved)
        for pc in chain(parts, bottom, fp, read.pointer_size):
            yield pc | code

    return walk


def chain(parts: Parts, stack: int, fp: int, word: int) -> Iterator[int]:
    """The return addresses of a chain of frames, which must lead up the stack."""
    low = stack
    while low <= fp < stack + STACK_MAX and fp % word == 0:
        yield parts.memory.read_ptr(fp + word)
        low, fp = fp + 2 * word, parts.memory.read_ptr(fp)


def x86_walk(target: Linux, parts: Parts, read: Columns) -> Callable[[int], Iterator[int]] | None:
    """A walk from the frame that __switch_to_asm() left at thread.sp; None if the kernel keeps no frame pointers."""
    if "inactive_task_frame" not in read.types or read.field("task_struct", "stack") is None or not _framed(parts):
        return None
    saved = read.offset("task_struct", "thread") + read.offset("thread_struct", "sp")
    stack = read.offset("task_struct", "stack")
    bp, ret = read.offset("inactive_task_frame", "bp"), read.offset("inactive_task_frame", "ret_addr")

    def walk(task: int) -> Iterator[int]:
        bottom, sp = parts.memory.read_ptr(task + stack), parts.memory.read_ptr(task + saved)
        if bottom <= sp < bottom + STACK_MAX:
            yield parts.memory.read_ptr(sp + ret)
            yield from chain(parts, bottom, parts.memory.read_ptr(sp + bp), read.pointer_size)

    return walk


def _framed(parts: Parts) -> bool:
    """Whether the kernel was built with frame pointers: a register that is none may look like one."""
    seen = 0
    for name in X86_SAMPLE:
        symbol = parts.symbols.find(name)
        if symbol is None:
            continue
        try:
            if X86_PROLOGUE.match(parts.memory.read(symbol.value, X86_NEAR)) is None:
                return False
        except AddressError:
            return False
        seen += 1
    return seen >= X86_ENOUGH
