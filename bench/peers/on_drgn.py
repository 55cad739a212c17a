"""drgn: with a vmlinux's DWARF where there is one, else with the dump's own kallsyms."""

from __future__ import annotations

from collections.abc import Iterable

import drgn
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.pid import for_each_task
from serve import Dump, Task, serve


class Drgn(Dump):
    """drgn.Program."""

    def __init__(self, dump: str, vmlinux: str | None = None) -> None:
        self.prog = drgn.Program()
        self.prog.set_core_dump(dump)
        self.read_u64 = self.prog.read_u64
        self.named = vmlinux is not None
        if vmlinux is not None:
            self.prog.load_debug_info([vmlinux])

    def symbol(self, name: str) -> int:
        """kallsyms are loaded by the first look-up: reading memory does not need them."""
        if not self.named:
            self.prog.register_symbol_finder("kallsyms", load_vmlinux_kallsyms(self.prog), enable_index=0)
            self.named = True
        return self.prog.symbol(name).address

    def symbols(self, names: list[str]) -> None:
        symbol = self.prog.symbol
        for name in names:
            symbol(name)

    def physical(self, addr: int, size: int) -> bytes:
        return self.prog.read(addr, size, True)

    def pages(self, addrs: list[int], size: int) -> None:
        read = self.prog.read
        for addr in addrs:
            read(addr, size, True)

    def bulk(self, pieces: list[tuple[int, int, int]]) -> None:
        read = self.prog.read
        for addr, _, size in pieces:
            read(addr, size, True)

    def tasks(self) -> list[Task]:
        return members(list_for_each_entry("struct task_struct", self.prog["init_task"].tasks.address_of_(), "tasks"))

    def threads(self) -> list[Task]:
        return members(for_each_task(self.prog))


def members(tasks: Iterable[drgn.Object]) -> list[Task]:
    """What is asked of each."""
    return [
        (
            task.pid.value_(),
            task.real_parent.tgid.value_(),
            task.cred.euid.val.value_(),
            task.comm.string_().decode("utf-8", "surrogateescape"),
        )
        for task in tasks
    ]


if __name__ == "__main__":
    serve(Drgn)
