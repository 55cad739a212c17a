"""The cffi build of the C core: `setup.py` names `ffi` here, decl/*.h is both C header and cdef."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
DECLS = (
    "fault", "image", "pages", "minidump", "mmu", "space", "symtab", "kallsyms", "ksymtab", "nmlist", "btf", "ctf",
    "find", "lzw", "dirfiles", "capi",
)  # fmt: skip
SOURCES = (
    "image", "extents", "snapshot", "pages", "minidump", "bitmap", "pagecache", "parallel", "codec", "lzo", "lzw",
    "find", "mmu", "pmeg", "hashed", "space", "words", "list", "symtab", "kallsyms", "ksymtab", "nmlist", "names",
    "btf", "ctf", "dirfiles",
)  # fmt: skip


def cdef() -> str:
    """The declarations as cffi takes them: integer macros keep their value as `...`."""
    text = "\n".join((HERE / "decl" / f"{name}.h").read_text() for name in DECLS)
    text = re.sub(r"^(#define\s+\w+)\s+0?x?[0-9a-f]+.*$", r"\1 ...", text, flags=re.M)
    return text + 'extern "Python" void pk_capi_call(pk_call *call);\n'


ffi = FFI()
ffi.cdef(cdef())
ffi.set_source(
    "pykvm._native._core",
    '#include "core.h"\n#include "brief.h"',
    sources=[os.path.relpath(HERE / f"{name}.c") for name in SOURCES],
    include_dirs=[os.path.relpath(HERE)],
    depends=[os.path.relpath(p) for p in [*sorted(HERE.glob("decl/*.h")), *sorted(HERE.glob("*.h"))]],
    # The flags of the build itself (CFLAGS) come after these: the sanitizer and CI builds add theirs.
    extra_compile_args=["-std=gnu11", "-D_FILE_OFFSET_BITS=64", "-O2", "-Wall", "-Wextra"],
    libraries=["pthread", "deflate", "zstd", "snappy"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
