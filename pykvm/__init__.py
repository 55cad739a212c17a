"""kvm(3) for Python: kernel memory images of any kernel, from any host."""

from pykvm import errors
from pykvm.constants import *  # noqa: F403
from pykvm.cptime import kvm_getcptime
from pykvm.dump import kvm_dump_inval, kvm_dump_mkheader, kvm_dump_wrtheader
from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.files import kvm_getfiles
from pykvm.kerndisp import kvm_kerndisp
from pykvm.loadavg import kvm_getloadavg
from pykvm.native import kvm_native
from pykvm.nlist import KvmNlist, Nlist, kvm_nlist, kvm_nlist2
from pykvm.open import Info, Kvm, kvm_close, kvm_geterr, kvm_open, kvm_open2, kvm_openfiles
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

# The public names: everything imported here but the modules ("from pykvm import *" must not bring a module `open`).
__all__ = [
    name
    for name, value in globals().items()
    if name[0] != "_" and name != "annotations" and not isinstance(value, type(errors))
]
