"""kvm(3) for Python: kernel memory images of any kernel, from any host."""

from typing import TYPE_CHECKING

from pykvm.constants import *  # noqa: F403
from pykvm.loading import load, loading

if TYPE_CHECKING:
    from pykvm import errors as errors
    from pykvm.cptime import kvm_getcptime
    from pykvm.dump import kvm_dump_header, kvm_dump_inval, kvm_dump_mkheader, kvm_dump_wrtheader
    from pykvm.errors import AddressError, FormatError, KvmError
    from pykvm.files import kvm_getfiles
    from pykvm.handle import Kvm
    from pykvm.hostlib import native_libkvm
    from pykvm.info import Info
    from pykvm.kerndisp import kvm_kerndisp
    from pykvm.loadavg import kvm_getloadavg
    from pykvm.lwps import kvm_getlwps
    from pykvm.native import kvm_native
    from pykvm.nlist import KvmNlist, Nlist, kvm_nlist, kvm_nlist2
    from pykvm.open import kvm_close, kvm_geterr, kvm_getkernelname, kvm_open, kvm_open2, kvm_openfiles
    from pykvm.pages import kvm_walk_pages
    from pykvm.pcpu import (
        kvm_counter_u64_fetch,
        kvm_dpcpu_setcpu,
        kvm_getmaxcpu,
        kvm_getncpus,
        kvm_getpcpu,
        kvm_read_zpcpu,
    )
    from pykvm.procs import kvm_getargv, kvm_getargv2, kvm_getenvv, kvm_getenvv2, kvm_getproc2, kvm_getprocs
    from pykvm.read import kvm_read, kvm_read2, kvm_write
    from pykvm.records import FileRecord, KvmPage, KvmSwap, ProcessRecord
    from pykvm.swapinfo import kvm_getswapinfo
    from pykvm.targets.base import Thread

__version__ = "0.1.0"

# Where the names are: each file is loaded when one of its names is asked for first, so that a program starts as fast
# as what it uses (for types, the lines above say the same).
_FILES = {
    "cptime": "kvm_getcptime",
    "dump": "kvm_dump_header kvm_dump_inval kvm_dump_mkheader kvm_dump_wrtheader",
    "errors": "AddressError FormatError KvmError",
    "files": "kvm_getfiles",
    "handle": "Kvm",
    "hostlib": "native_libkvm",
    "info": "Info",
    "kerndisp": "kvm_kerndisp",
    "loadavg": "kvm_getloadavg",
    "lwps": "kvm_getlwps",
    "native": "kvm_native",
    "nlist": "KvmNlist Nlist kvm_nlist kvm_nlist2",
    "open": "kvm_close kvm_geterr kvm_getkernelname kvm_open kvm_open2 kvm_openfiles",
    "pages": "kvm_walk_pages",
    "pcpu": "kvm_counter_u64_fetch kvm_dpcpu_setcpu kvm_getmaxcpu kvm_getncpus kvm_getpcpu kvm_read_zpcpu",
    "procs": "kvm_getargv kvm_getargv2 kvm_getenvv kvm_getenvv2 kvm_getproc2 kvm_getprocs",
    "read": "kvm_read kvm_read2 kvm_write",
    "records": "FileRecord KvmPage KvmSwap ProcessRecord",
    "swapinfo": "kvm_getswapinfo",
    "targets.base": "Thread",
}
_PLACES = {name: file for file, names in _FILES.items() for name in names.split()}
# Other modules that are there as attributes once the package is imported.
_MODULES = (
    "asking", "errors", "files", "images", "loading", "machines", "memory", "opening", "paths", "progress", "symbols",
    "targets", "types", *_FILES,
)  # fmt: skip

_FOREIGN = ("bz2", "fcntl", "gzip", "json", "lzma", "tempfile", "zlib", "zstandard")  # that some dumps need
_NOT_ALL = ("pykvm._native.", "pykvm.capi", "pykvm.cli")  # of it is for programs that import it

if not TYPE_CHECKING:  # which would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name in _PLACES:
            found: object = getattr(load(f"pykvm.{_PLACES[name]}"), name)
        elif name in _MODULES:
            found = load(f"pykvm.{name}")
        else:
            raise AttributeError(f"module 'pykvm' has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*__all__, *_MODULES, *(name for name in globals() if name[:2] == "__")})


def preload() -> None:
    """Load all of pykvm now: for programs that give up its files (chroot(2), other users) or have to be quick later.
    Otherwise a file is loaded when it is needed first. KvmError if one cannot be."""
    import contextlib
    from importlib import import_module
    from pkgutil import walk_packages

    for name in _FOREIGN:
        with contextlib.suppress(ImportError):  # not in every Python
            import_module(name)
    with loading:
        for module in walk_packages(__path__, "pykvm."):
            if not module.name.startswith(_NOT_ALL) and not module.name.endswith("__main__"):
                load(module.name)


# One by one: a type checker takes no others for exported.
__all__ = [
    "CPUSTATES",
    "CP_IDLE",
    "CP_INTR",
    "CP_NICE",
    "CP_SYS",
    "CP_USER",
    "KERN_FILE_BYFILE",
    "KERN_PROC_ALL",
    "KERN_PROC_GID",
    "KERN_PROC_INC_THREAD",
    "KERN_PROC_KTHREAD",
    "KERN_PROC_PGRP",
    "KERN_PROC_PID",
    "KERN_PROC_PROC",
    "KERN_PROC_RGID",
    "KERN_PROC_RUID",
    "KERN_PROC_SESSION",
    "KERN_PROC_SHOW_THREADS",
    "KERN_PROC_TTY",
    "KERN_PROC_UID",
    "KVM_NO_FILES",
    "LIBKVM_WALK_PAGES_VERSION",
    "N_ABS",
    "N_BSS",
    "N_COMM",
    "N_DATA",
    "N_EXT",
    "N_FN",
    "N_INDR",
    "N_SIZE",
    "N_STAB",
    "N_TEXT",
    "N_TYPE",
    "N_UNDF",
    "SWIF_DEV_PREFIX",
    "VM_PROT_EXECUTE",
    "VM_PROT_READ",
    "VM_PROT_WRITE",
    "VRS_KEY",
    "VRS_SYM",
    "AddressError",
    "FileRecord",
    "FormatError",
    "Info",
    "Kvm",
    "KvmError",
    "KvmNlist",
    "KvmPage",
    "KvmSwap",
    "Nlist",
    "ProcessRecord",
    "Thread",
    "kvm_close",
    "kvm_counter_u64_fetch",
    "kvm_dpcpu_setcpu",
    "kvm_dump_header",
    "kvm_dump_inval",
    "kvm_dump_mkheader",
    "kvm_dump_wrtheader",
    "kvm_getargv",
    "kvm_getargv2",
    "kvm_getcptime",
    "kvm_getenvv",
    "kvm_getenvv2",
    "kvm_geterr",
    "kvm_getfiles",
    "kvm_getkernelname",
    "kvm_getloadavg",
    "kvm_getlwps",
    "kvm_getmaxcpu",
    "kvm_getncpus",
    "kvm_getpcpu",
    "kvm_getproc2",
    "kvm_getprocs",
    "kvm_getswapinfo",
    "kvm_kerndisp",
    "kvm_native",
    "kvm_nlist",
    "kvm_nlist2",
    "kvm_open",
    "kvm_open2",
    "kvm_openfiles",
    "kvm_read",
    "kvm_read2",
    "kvm_read_zpcpu",
    "kvm_walk_pages",
    "kvm_write",
    "native_libkvm",
    "preload",
]
