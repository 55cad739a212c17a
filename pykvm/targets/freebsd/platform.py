"""How each machine's minidumps of FreeBSD and DragonFly translate addresses.

Sources: sys/*/include/minidump.h and pte.h, and FreeBSD's libkvm for the order in which ranges are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.minidump import Minidump
from pykvm.machines import flat, mmu
from pykvm.machines.mmu import Level, Root, Translation

NARROW, WIDE = 0xFFFFFFFF, (1 << 64) - 1
# mmuformat of an arm minidump (sys/arm/include/minidump.h): 0 (not known), 1 (v4), 2 (v6), 3 (v6 with LPAE).
ARM_FORMATS = {0: flat.ARM_PTES, 1: flat.ARM_V4_PTES, 2: flat.ARM_PTES, 3: flat.ARM_LPAE_PTES}
KSEG0, KSEG1, KSEG_SIZE = 0x80000000, 0xA0000000, 0x20000000
XKPHYS, XKPHYS_PHYS = 1 << 63, (1 << 40) - 1  # eight windows, one for each kind of caching


class Linear(NamedTuple):
    """A range of addresses that is memory itself, from a physical address on."""

    start: int
    last: int
    phys: int


@dataclass(frozen=True)
class Platform:
    """One machine. `levels`: of the page map; `linear`: what is mapped without it; `linear_first`: that wins where the
    ranges overlap; `own_types`: names of symbols' machines that are this one's."""

    machine: str
    pointer_size: int
    levels: Callable[[Minidump, int], Sequence[Level]]
    linear: Callable[[Minidump, int], list[Linear]]
    linear_first: bool = False


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
    high = WIDE - NARROW if pointer_size == 8 else 0
    found = [Linear(high + at, high + at + KSEG_SIZE - 1, 0) for at in (KSEG0, KSEG1)]
    if pointer_size == 8:
        found += [Linear(XKPHYS + (i << 59), XKPHYS + (i << 59) + XKPHYS_PHYS, 0) for i in range(8)]
    return found


PLATFORMS = {
    p.machine: p
    for p in (
        Platform("x86_64", 8, _x86_64, _direct),
        Platform("aarch64", 8, lambda dump, _: flat.aarch64_ptes(dump.page_size), _direct, True),
        Platform("riscv64", 8, lambda dump, _: flat.RISCV64_PTES, _direct, True),
        Platform(
            "i386", 4, lambda dump, _: flat.I386_PAE_PTES if dump.values["paemode"] else flat.I386_PTES,
            lambda dump, _: [],
        ),
        Platform("arm", 4, _arm, lambda dump, _: []),
        Platform("mips", 4, lambda dump, size: flat.MIPS64_PTES if size == 8 else flat.MIPS_PTES, _segments, True),
        # Its page map is the hardware's hash table, or a radix tree's: memory outside the direct map is not read.
        Platform("powerpc64", 8, lambda dump, _: (), _direct, True),
    )
}  # fmt: skip


def minidump(image: Image, dump: Minidump, pointer_size: int) -> Translation:
    """The translation of a minidump; FormatError for a header that makes no sense."""
    platform = PLATFORMS[dump.shape.machine]
    mask = NARROW if pointer_size == 4 else WIDE
    base = dump.values["kernbase"] & mask
    try:
        levels = platform.levels(dump, pointer_size)
    except FormatError as e:
        raise FormatError(f"{image.path}: {e}") from None
    linear = [Root(x.start, min(x.last, mask), x.phys, True) for x in platform.linear(dump, pointer_size)]
    mapped = list(_mapped(image, dump, levels, base, mask))
    roots = without(linear, mapped) if not platform.linear_first else without(mapped, linear)
    return Translation(mmu.radix(roots, levels, image.byteorder or "little"), mask)


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
