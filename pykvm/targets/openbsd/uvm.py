"""OpenBSD's map entries, a red-black tree, and amaps, which have chunks of anons: one, or those of a hash table
(sys/uvm/uvm_map.h, uvm_amap.h, sys/tree.h; since 6.1)."""

from __future__ import annotations

from pykvm.targets.bsd.uvm import Anons, Entry

MAX_DEPTH = 128  # of a tree of 2**64 entries
CHUNK_SLOTS = 16  # anons of a chunk: UVM_AMAP_CHUNK
MAX_CHUNKS = 1 << 16


class OpenbsdAnons(Anons):
    """Of one address space."""

    def entry(self, va: int) -> Entry | None:
        offset = self.read.offset("vm_map_entry", "daddrs.addr_entry")
        left = self.read.offset("vm_map_entry", "daddrs.addr_entry.rbt_left") - offset
        right = self.read.offset("vm_map_entry", "daddrs.addr_entry.rbt_right") - offset
        node = self.member(self.map, "vm_map", "addr.rbh_root.rbt_root")
        for _ in range(MAX_DEPTH):
            if not node:
                return None
            at = node - offset
            start, end = self.member(at, "vm_map_entry", "start"), self.member(at, "vm_map_entry", "end")
            if start <= va < end:
                amap = self.member(at, "vm_map_entry", "aref.ar_amap")
                return Entry(start, self.member(at, "vm_map_entry", "aref.ar_pageoff"), amap) if amap else None
            node = self.parts.memory.read_ptr(node + (left if va < start else right))
        return None

    def anon(self, amap: int, slot: int) -> int:
        slots = self.member(amap, "vm_amap", "am_nslot")
        if not 0 <= slot < slots:
            return 0
        small = self.read.offset("vm_amap", "am_impl.ami_small")
        base = self.read.offset("vm_amap", "am_impl.ami_small.ac_baseslot") - small
        anons = self.read.offset("vm_amap", "am_impl.ami_small.ac_anon") - small
        chunk = self._chunk(amap, slot, slots, small, base)
        if not chunk:
            return 0
        first = self.parts.memory.read_u32(chunk + base)
        used = self.parts.memory.read_u16(chunk + base + 4)
        place = slot - first
        if not 0 <= place < CHUNK_SLOTS or not used >> place & 1:
            return 0
        return self.parts.memory.read_ptr(chunk + anons + place * self.read.pointer_size)

    def _chunk(self, amap: int, slot: int, slots: int, small: int, base: int) -> int:
        """The chunk of a slot; 0: there is none."""
        if slots <= CHUNK_SLOTS:  # then the amap's only chunk is in itself
            return amap + small
        first = slot // CHUNK_SLOTS * CHUNK_SLOTS
        at = self.member(amap, "vm_amap", "am_impl.ami_normal.amn_chunks.tqh_first")
        for _ in range(MAX_CHUNKS):
            if not at or self.parts.memory.read_u32(at + base) == first:
                return at
            at = self.parts.memory.read_ptr(at)  # ac_list comes first in a chunk
        return 0
