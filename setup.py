"""Only what pyproject.toml cannot say: the cffi extension, and libkvm.so for C programs."""

import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

HERE = Path("pykvm")
SOURCES = sorted(str(path) for path in (HERE / "libkvm").glob("*.c"))
HEADERS = sorted(
    str(path) for path in (*HERE.glob("libkvm/*.h"), *HERE.glob("include/**/*.h"), *HERE.glob("_native/decl/*.h"))
)
EXPORTS = HERE / "libkvm" / "libkvm.map"


def python_library() -> tuple[str, str]:
    """(path, name) of the libpython of the Python that builds: libkvm.so starts it where the program has none."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    if not name or name.endswith(".a"):  # a Python without it; another one's may be there when a program runs
        name = f"libpython{sysconfig.get_python_version()}.so.1.0"
    libdir, multiarch = (sysconfig.get_config_var(v) or "" for v in ("LIBDIR", "MULTIARCH"))
    places = [Path(libdir) / multiarch / name, Path(libdir) / name]
    return next((str(path) for path in places if path.exists()), name), name


class BuildExt(build_ext):
    """The extension, and beside it libkvm.so, which is no extension: it is not linked with Python."""

    def run(self) -> None:
        super().run()
        if not sys.platform.startswith("win"):
            self.library()

    def library(self) -> None:
        """libkvm.so, into the package."""
        path, name = python_library()
        macros = {
            "LIBKVM_PYTHON": path,
            "LIBKVM_PYTHON_NAME": name,
            "LIBKVM_PURELIB": sysconfig.get_path("purelib"),
            "LIBKVM_PLATLIB": sysconfig.get_path("platlib"),
            "LIBKVM_HOME": ":".join(dict.fromkeys((sys.base_prefix, sys.base_exec_prefix))),
            "LIBKVM_STDLIB": sysconfig.get_path("stdlib"),
        }
        where = Path() if self.inplace else Path(self.build_lib)
        target = where / "pykvm" / "libkvm" / "libkvm.so"
        objects = self.compiler.compile(
            SOURCES,
            output_dir=self.build_temp,
            macros=[
                (key, '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))) for key, value in macros.items()
            ],
            include_dirs=["pykvm/include", sysconfig.get_path("include")],
            extra_postargs=["-std=gnu11", "-D_FILE_OFFSET_BITS=64", "-O2", "-Wall", "-Wextra", "-fvisibility=default"],
            depends=HEADERS,
        )
        flags = ["-Wl,-soname,libkvm.so", f"-Wl,--version-script={EXPORTS}", "-Wl,-z,nodelete"]
        if sys.platform == "darwin":
            flags = ["-Wl,-install_name,@rpath/libkvm.so"]
        self.compiler.link_shared_object(objects, str(target), libraries=["dl", "pthread"], extra_postargs=flags)


setup(cffi_modules=["pykvm/_native/build.py:ffi"], cmdclass={"build_ext": BuildExt})
