"""NetBSD's map entries, a list, and amaps, which have an array of anons (sys/uvm/uvm_map.h, uvm_amap.h)."""

from __future__ import annotations

from pykvm.targets.bsd.uvm import Anons, Entry

MAX_ENTRIES = 1 << 16


class NetbsdAnons(Anons):
    """Of one address space."""

    def entry(self, va: int) -> Entry | None:
        read = self.read
        header = self.map + read.offset("vm_map", "header")
        step = read.offset("vm_map_entry", "next")
        for at in self.parts.memory.walk_list(header, step, MAX_ENTRIES):
            if at == header:
                continue
            start, end = self.member(at, "vm_map_entry", "start"), self.member(at, "vm_map_entry", "end")
            if start <= va < end:
                amap = self.member(at, "vm_map_entry", "aref.ar_amap")
                return Entry(start, self.member(at, "vm_map_entry", "aref.ar_pageoff"), amap) if amap else None
        return None

    def anon(self, amap: int, slot: int) -> int:
        if not 0 <= slot < self.member(amap, "vm_amap", "am_nslot"):
            return 0
        array = self.member(amap, "vm_amap", "am_anon")
        return self.parts.memory.read_ptr(array + slot * self.read.pointer_size)
