"""What the systems' libkvms look like from C: prototypes, structures, and the numbers of what is asked.

Sources: each system's <kvm.h>, <nlist.h>, <sys/sysctl.h>; where they agree, MirBSD's and FreeBSD's prototypes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from pykvm import constants as k
from pykvm.errors import KvmError

STRUCTURES = """
typedef struct __kvm kvm_t;
struct nlist {{
    const char *n_name; unsigned char n_type; char n_other; short n_desc; {n_value} n_value;
}};
struct kvm_nlist {{ const char *n_name; unsigned char n_type; uint64_t n_value; }};
struct kvm_swap {{
    char ksw_devname[{devname}]; unsigned int ksw_used, ksw_total; int ksw_flags; unsigned int reserved[2];
}};
struct kvm_page {{
    unsigned int kp_version; uint64_t kp_paddr, kp_kmap_vaddr, kp_dmap_vaddr; unsigned char kp_prot; int64_t kp_offset;
    size_t kp_len;
}};
"""
# Records and other things that the host's headers know are untyped here.
FUNCTIONS = {
    "kvm_open": "kvm_t *(const char *, const char *, const char *, int, const char *)",
    "kvm_openfiles": "kvm_t *(const char *, const char *, const char *, int, char *)",
    "kvm_open2": "kvm_t *(const char *, const char *, int, char *, int (*)(const char *, uint64_t *))",
    "kvm_close": "int (kvm_t *)",
    "kvm_geterr": "char *(kvm_t *)",
    "kvm_native": "int (kvm_t *)",
    "kvm_read": "ssize_t (kvm_t *, unsigned long, void *, size_t)",
    "kvm_read2": "ssize_t (kvm_t *, uint64_t, void *, size_t)",
    "kvm_write": "ssize_t (kvm_t *, unsigned long, const void *, size_t)",
    "kvm_nlist": "int (kvm_t *, struct nlist *)",
    "kvm_nlist2": "int (kvm_t *, struct kvm_nlist *)",
    "kvm_kerndisp": "int64_t (kvm_t *)",
    "kvm_walk_pages": "int (kvm_t *, int (*)(struct kvm_page *, void *), void *)",
    "kvm_getprocs": "void *(kvm_t *, int, int, int *)",
    "kvm_getproc2": "void *(kvm_t *, int, int, size_t, int *)",
    "kvm_getargv": "char **(kvm_t *, const void *, int)",
    "kvm_getenvv": "char **(kvm_t *, const void *, int)",
    "kvm_getargv2": "char **(kvm_t *, const void *, int)",
    "kvm_getenvv2": "char **(kvm_t *, const void *, int)",
    "kvm_getfiles": "void *(kvm_t *, int, int, int *)",
    "kvm_getloadavg": "int (kvm_t *, double *, int)",
    "kvm_getmaxcpu": "int (kvm_t *)",
    "kvm_getncpus": "int (kvm_t *)",
    "kvm_getpcpu": "void *(kvm_t *, int)",
    "kvm_dpcpu_setcpu": "int (kvm_t *, unsigned int)",
    "kvm_read_zpcpu": "ssize_t (kvm_t *, unsigned long, void *, size_t, int)",
    "kvm_counter_u64_fetch": "uint64_t (kvm_t *, unsigned long)",
    "kvm_getswapinfo": "int (kvm_t *, struct kvm_swap *, int, int)",
    "kvm_getcptime": "int (kvm_t *, long *)",
    "kvm_dump_mkheader": "int (kvm_t *, int64_t)",
    "kvm_dump_wrtheader": "int (kvm_t *, void *, int)",
    "kvm_dump_inval": "int (kvm_t *)",
    "kvm_dump_header": "int (kvm_t *, bool (*)(void *, const void *, size_t), void *, int)",
    "kvm_getkernelname": "const char *(kvm_t *)",
    "kvm_getlwps": "void *(kvm_t *, int, unsigned long, size_t, int *)",
}
SIZED = {
    "kvm_getprocs": "void *(kvm_t *, int, int, size_t, int *)",
    "kvm_getfiles": "void *(kvm_t *, int, int, size_t, int *)",
}
SAME = (k.KERN_PROC_PID, k.KERN_PROC_PGRP, k.KERN_PROC_SESSION, k.KERN_PROC_TTY, k.KERN_PROC_UID, k.KERN_PROC_RUID)


@dataclass(frozen=True)
class Flavour:
    """A system's libkvm.

    `system` is kd.info's word; "": the library reads dumps of every system, as pykvm's own does. ops: the system's
    number of each op (None: as they are, and it is the library that refuses), `flags` what may be added to it;
    `filtered`: KERN_PROC_ALL gives the kernel's own processes, too. sized: kvm_getprocs and kvm_getfiles take the size
    of a record. second: kvm_getprocs has records of an old form, which differ from release to release, so that those of
    kvm_getproc2 are given instead.
    """

    system: str
    ops: Mapping[int, int] | None = None
    flags: int = 0
    filtered: bool = False
    sized: bool = False
    second: bool = False
    n_value: str = "unsigned long"
    devname: int = 32

    def declarations(self) -> str:
        """What cffi is to know."""
        functions = {**FUNCTIONS, **SIZED} if self.sized else FUNCTIONS
        return STRUCTURES.format(n_value=self.n_value, devname=self.devname) + "".join(
            prototype.replace("(", f"{name}(", 1) + ";\n" for name, prototype in functions.items()
        )

    def op(self, name: str, op: int) -> int:
        """The system's number of an op; KvmError if it has none."""
        if self.ops is None:
            return op
        number = self.ops.get(op & ~self.flags)
        if number is None:
            raise KvmError(f"{name}: op {op}: Invalid argument")
        return number | op & self.flags


def _ops(**more: int) -> dict[int, int]:
    return {op: op for op in SAME} | {getattr(k, f"KERN_PROC_{name}"): number for name, number in more.items()}


OURS = Flavour("", n_value="uint64_t")
FLAVOURS = {
    # KERN_PROC_PROC is 8: every process, once.
    "freebsd": Flavour(
        "FreeBSD", _ops(ALL=8, KTHREAD=8, PROC=8, RGID=10, GID=11), k.KERN_PROC_INC_THREAD, filtered=True
    ),
    "dragonfly": Flavour("DragonFly", _ops(ALL=0, KTHREAD=0), k.KERN_PROC_INC_THREAD, filtered=True, devname=64),
    "openbsd": Flavour("OpenBSD", _ops(ALL=0, KTHREAD=7), k.KERN_PROC_SHOW_THREADS, sized=True),
    "netbsd": Flavour("NetBSD", _ops(ALL=0, KTHREAD=0, GID=7, RGID=8), filtered=True, second=True),
    "mirbsd": Flavour("MirBSD", _ops(ALL=0, KTHREAD=7)),
}
OURS_ONLY = "kvm_getprocinfo"  # a function that no other library has


def of_host() -> Flavour:
    """That of the host's own library. Whatever is not one of the others has MirBSD's prototypes."""
    for name, flavour in FLAVOURS.items():
        if name in (os.uname().sysname.lower(), sys.platform.rstrip("0123456789.")):
            return flavour
    return FLAVOURS["mirbsd"]
