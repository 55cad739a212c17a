"""How each machine's minidumps of FreeBSD and DragonFly translate addresses.

Sources: sys/*/include/minidump.h and pte.h, and FreeBSD's libkvm for the order in which ranges are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.minidump import Minidump
from pykvm.machines import flat, mmu, powerpc64
from pykvm.machines.mmu import Level, Root, Translation
from pykvm.symbols.base import Symbols

NARROW, WIDE = 0xFFFFFFFF, (1 << 64) - 1
# mmuformat of an arm minidump (sys/arm/include/minidump.h): 0 (not known), 1 (v4), 2 (v6), 3 (v6 with LPAE).
ARM_FORMATS = {0: flat.ARM_PTES, 1: flat.ARM_V4_PTES, 2: flat.ARM_PTES, 3: flat.ARM_LPAE_PTES}
POWERPC_KERNBASE = 0x100100  # where its kernel is linked
POWERPC_HASHED = ("mmu_g5", "mmu_phyp")
EF_MIPS_ABI2 = 0x20  # in e_flags: n32, which has 32-bit addresses and 64-bit registers
KSEG0, KSEG1, KSEG_SIZE = 0x80000000, 0xA0000000, 0x20000000
XKPHYS, XKPHYS_PHYS = 1 << 63, (1 << 40) - 1  # eight windows, one for each kind of caching
CACHED = 3  # the kind of XKPHYS that the kernel's direct map is


class Linear(NamedTuple):
    """A range of addresses that is memory itself, from a physical address on."""

    start: int
    last: int
    phys: int


@dataclass(frozen=True)
class Platform:
    """One machine. `levels`: of the page map; `linear`: what is mapped without it; `linear_first`: that wins where the
    ranges overlap."""

    machine: str
    pointer_size: int
    levels: Callable[[Minidump, int], Sequence[Level]]
    linear: Callable[[Minidump, int], list[Linear]]
    linear_first: bool = False
    time_t: int = 8  # bytes
    kinfo: str = "freebsd-lp64"  # the table of struct kinfo_proc, of kernels without types


def _x86_64(dump: Minidump, _: int) -> Sequence[Level]:
    if dump.version == 1:
        return flat.AMD64_PTES
    return flat.DFLY_PDPES if dump.shape.system == "DragonFly" else flat.AMD64_PDES


def _arm(dump: Minidump, _: int) -> Sequence[Level]:
    found = ARM_FORMATS.get(dump.values["mmuformat"])
    if found is None:
        raise FormatError(f"minidump header: mmuformat {dump.values['mmuformat']} is not known (at most 3)")
    return found


def _direct(dump: Minidump, _: int) -> list[Linear]:
    values = dump.values
    base, end = values["dmapbase"], values["dmapend"]
    return [Linear(base, end - 1, values.get("dmapphys", 0))] if base < end else []


def _segments(dump: Minidump, pointer_size: int) -> list[Linear]:
    """Those that the kernel uses for memory come first: cached ones."""
    high = WIDE - NARROW if pointer_size == 8 else 0
    found = [Linear(high + at, high + at + KSEG_SIZE - 1, 0) for at in (KSEG0, KSEG1)]
    if pointer_size == 8:
        windows = (XKPHYS + (i << 59) for i in (CACHED, *(i for i in range(8) if i != CACHED)))
        found = [Linear(at, at + XKPHYS_PHYS, 0) for at in windows] + found
    return found


def _powerpc(dump: Minidump, _: int) -> list[Linear]:
    base, last = dump.values["dmapbase"], dump.values["dmapend"]  # which is the last address here, not the end
    return [Linear(base, last, 0)] if base < last else []


PLATFORMS = {
    p.machine: p
    for p in (
        Platform("x86_64", 8, _x86_64, _direct),
        Platform("aarch64", 8, lambda dump, _: flat.aarch64_ptes(dump.page_size), _direct, True),
        Platform("riscv64", 8, lambda dump, _: flat.RISCV64_PTES, _direct, True),
        Platform(
            "i386", 4, lambda dump, _: flat.I386_PAE_PTES if dump.values["paemode"] else flat.I386_PTES,
            lambda dump, _: [], time_t=4, kinfo="freebsd-i386",
        ),
        Platform("arm", 4, _arm, lambda dump, _: [], kinfo="freebsd-ilp32"),
        Platform(
            "mips", 4, lambda dump, size: flat.MIPS64_PTES if size == 8 else flat.MIPS_PTES, _segments, True,
            kinfo="freebsd-ilp32",
        ),
        Platform("powerpc64", 8, lambda dump, _: powerpc64.LEVELS, _powerpc, True),
    )
}  # fmt: skip


def minidump(image: Image, dump: Minidump, pointer_size: int, symbols: Symbols | None) -> Translation:
    """The translation of a minidump; FormatError for a header that makes no sense."""
    levels, roots = layout(image, dump, pointer_size, symbols)
    mask = NARROW if pointer_size == 4 else WIDE
    if dump.shape.machine == "powerpc64":
        return Translation(_powerpc_mmu(image, dump, roots), mask)
    return Translation(mmu.radix(roots, levels, image.byteorder or "little"), mask)


def layout(
    image: Image, dump: Minidump, pointer_size: int, symbols: Symbols | None
) -> tuple[Sequence[Level], list[Root]]:
    """The levels of a minidump's page map, and which addresses it and the direct map serve."""
    platform = PLATFORMS[dump.shape.machine]
    mask = NARROW if pointer_size == 4 else WIDE
    base = dump.values["kernbase"] & mask
    try:
        levels = platform.levels(dump, _entry_size(pointer_size, symbols))
    except FormatError as e:
        raise FormatError(f"{image.path}: {e}") from None
    linear = [Root(x.start, min(x.last, mask), x.phys, True) for x in platform.linear(dump, pointer_size)]
    mapped = list(_mapped(image, dump, levels, base, mask))
    return levels, without(linear, mapped) if not platform.linear_first else without(mapped, linear)


def is_hashed(dump: Minidump) -> bool:
    """Whether the page map is a hashed page table."""
    return dump.shape.machine == "powerpc64" and "radix" not in dump.mmu_name


def _entry_size(pointer_size: int, symbols: Symbols | None) -> int:
    """Bytes of a page table entry of a MIPS kernel, by its ABI."""
    return 8 if pointer_size == 8 or (symbols is not None and symbols.flags & EF_MIPS_ABI2) else 4


def displacement(dump: Minidump) -> int:
    """How far a powerpc64 kernel runs above its link addresses, 0 on other machines."""
    start = dump.values.get("startkernel", 0)
    return start - POWERPC_KERNBASE if start else 0


def _powerpc_mmu(image: Image, dump: Minidump, roots: Sequence[Root]) -> Any:
    """mmu_name says what the page map is: the root of a radix tree (whose tables are among the pages), or all of the
    hashed table (mmu_g5, and mmu_phyp under a hypervisor)."""
    size, name = dump.values["mapsize"], dump.mmu_name
    if "radix" in name:
        if size != powerpc64.ROOT_SIZE:
            raise FormatError(
                f"{image.path}: minidump header: page map size {size} of {name}, must be {powerpc64.ROOT_SIZE}"
            )
        return mmu.radix(roots, powerpc64.LEVELS, "big")
    groups = size // powerpc64.GROUP_SIZE
    if name not in POWERPC_HASHED:
        raise FormatError(f"{image.path}: minidump header: mmu_name {name!r} is not known")
    if not groups or groups & (groups - 1) or size % powerpc64.GROUP_SIZE:
        raise FormatError(f"{image.path}: minidump header: page map size {size} is no hashed page table's")
    return mmu.hashed(roots, flat.FILE_TABLE + dump.map, groups)


def _mapped(image: Image, dump: Minidump, levels: Sequence[Level], base: int, mask: int) -> Iterator[Root]:
    """What the page map serves."""
    size = dump.values["mapsize"]
    if not levels:
        return
    if dump.shape.system == "DragonFly" and dump.version > 1:
        # The map is of the whole space; only addresses from kernbase on are the kernel's.
        full = 1 << levels[0].bits
        if size != full * levels[0].entry_size:
            raise FormatError(f"{image.path}: minidump header: page map size {size}, must be {full * 8}")
        yield Root(base, mask, flat.FILE_TABLE + dump.map)
        return
    if dump.shape.machine == "powerpc64":
        yield Root(base, mask, flat.FILE_TABLE + dump.map)
        return
    if base & (1 << levels[0].shift) - 1:
        raise FormatError(f"{image.path}: minidump header: kernbase {base:#x} is not at the start of a page map entry")
    if size >= levels[0].entry_size:
        yield flat.root(levels[0], base, dump.map, size, mask)


def without(lesser: Sequence[Root], greater: Sequence[Root]) -> list[Root]:
    """Both, of the first only what the others leave. (Linear ranges keep their distance to memory.)"""
    found = list(greater)
    for root in lesser:
        start = root.start
        for other in sorted(greater):
            if other.last < start or other.start > root.last:
                continue
            if other.start > start:
                found.append(_part(root, start, other.start - 1))
            start = other.last + 1
        if start <= root.last:
            found.append(_part(root, start, root.last))
    return found


def _part(root: Root, start: int, last: int) -> Root:
    return root._replace(start=start, last=last, table=root.table + (start - root.start if root.linear else 0))
