"""Where a Linux kernel's types come from.

First what is given (pykvm's own records, a user's layout file), then the BTF in the dump; where that is not there or
cannot be read, the BTF or else the DWARF of the kernel file. kd.types has the modules' own structures too, which the
kernel keeps as BTF that goes on behind its own (struct btf_module of kernel/bpf/btf.c, since Linux 5.11).
"""

from __future__ import annotations

from collections.abc import Callable

from pykvm.errors import FormatError, KvmError
from pykvm.targets.base import Parts
from pykvm.targets.linux.symbols.carried import code_end
from pykvm.types import btf, btf_scan, of_file
from pykvm.types.btf import BtfTypes
from pykvm.types.layered import LayeredTypes
from pykvm.types.layout import Types
from pykvm.types.modules import WithModules

MAX_MODULES = 1 << 14
MAX_BYTES = 64 << 20  # of the BTF of all modules: a distribution's have some 100 kB each
NAME = 64


class KernelTypes(LayeredTypes):
    """The kernel's own types: what is given, and what the dump or the kernel file carries."""

    def __init__(self, parts: Parts, pointer_size: int, byteorder: str = "little") -> None:
        super().__init__(parts.image.path)
        self._byteorder = byteorder
        self._parts: Parts | None = parts
        self._pointer_size = pointer_size

    def read(self) -> Types:
        """The BTF in the dump, else the kernel file's BTF or DWARF."""
        parts = self._parts
        assert parts is not None
        found: Types | None = None
        why = [f"{parts.image.path}: this kernel carries no types (BTF)"]
        try:
            found = self._in_dump(parts)
        except KvmError as e:
            why = [f"the kernel's types cannot be read: {e}"]
        if found is None and parts.kernel is not None:
            try:
                found = of_file(parts.kernel)
                why.append(f"{parts.kernel.path} carries none (BTF, DWARF)")
            except KvmError as e:
                why.append(str(e))
        self._parts = None
        if found is None:
            why.append("name a kernel file that has them (kernel, -N), or a layout file (--layout)")
            self.why = "; ".join(why)
            return Types(parts.image.path)
        return found

    def _in_dump(self, parts: Parts) -> Types | None:
        """The BTF in the dump."""
        symbols, source = parts.symbols, parts.image.path
        start, stop = symbols.find("__start_BTF"), symbols.find("__stop_BTF")
        found = None
        if start is not None and stop is not None:
            found = btf.from_memory(parts.memory, start.value, stop.value, source, self._pointer_size)
        elif symbols.flaw is not None and (end := code_end(symbols)) is not None:
            found = btf_scan.find(parts.memory, end, self._byteorder, source, self._pointer_size, "task_struct")
        parts.image.release()
        return found


class AllTypes(WithModules[KernelTypes]):
    """The types of the kernel and of its modules."""

    what = "btf_modules"

    def __init__(self, kernel: KernelTypes, parts: Parts, btf_modules: Callable[[], int | None] = lambda: None) -> None:
        """btf_modules: where the list of that name is, if no symbol says."""
        super().__init__(kernel)
        self._head = btf_modules
        self._parts = parts

    def read_modules(self, found: list[Types]) -> None:
        """Add each module's BTF. The kernel has relocated it: a base of its own (.BTF.base, since Linux 6.11) is only
        in the module's file."""
        kernel, base = self.kernel, self.kernel.carried
        symbol = self._parts.symbols.find("btf_modules")
        head = symbol.value if symbol is not None else self._head()
        if head is None or not isinstance(base, BtfTypes) or "btf_module" not in kernel:
            return
        module = kernel.struct("btf_module")
        links = module.offset("list"), kernel.struct("list_head").offset("next")
        memory, left = self._parts.memory, MAX_BYTES
        for node in memory.walk_list(head, links[1], MAX_MODULES)[1:]:
            at = memory.read_ptr(node - links[0] + module.offset("btf"))
            try:
                source, data = self._data(at, base, left)
                left -= len(data)
                types = BtfTypes(data, source, base.pointer_size, base)
                types.given = base.given
                found.append(types)
            except KvmError as e:
                self.flaw = self.flaw or str(e)

    def _data(self, at: int, base: BtfTypes, left: int) -> tuple[str, bytes]:
        """(whose, the BTF) of a struct btf."""
        memory, layout = self._parts.memory, self.kernel.struct("btf")
        name = "module"
        if "name" in layout:
            name += " " + memory.read_cstr(at + layout.offset("name"), NAME).decode("utf-8", "surrogateescape")
        source = f"{self.source}: {name}"
        size = memory.read_u32(at + layout.offset("data_size"))
        if size > left:
            raise FormatError(f"{source}: BTF of {size} bytes (at most {left})")
        for member, told in (("start_id", base.end), ("start_str_off", base.strings_end)):
            if member in layout and (got := memory.read_u32(at + layout.offset(member))) != told:
                raise FormatError(f"{source}: BTF {member} is {got}, but the kernel's ends with {told}")
        return source, memory.read(memory.read_ptr(at + layout.offset("data")), size)
