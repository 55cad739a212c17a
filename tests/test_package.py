"""What is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pykvm_fixtures import MirbsdDump

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_every_package_is_installed() -> None:
    """An editable installation does not show what pyproject.toml forgets."""
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = set()
    for name, top in (("pykvm", "pykvm"), ("fixtures", "pykvm_fixtures")):
        for path in (ROOT / name).rglob("__init__.py"):
            found.add(".".join((top, *path.parent.relative_to(ROOT / name).parts)))
    assert listed == found


def test_an_import_is_light() -> None:
    """pyelftools takes as long as all of pykvm: it is loaded with the first ELF file."""
    code = "import sys, pykvm, pykvm.capi; print(sorted(n for n in sys.modules if n.split('.')[0] == 'elftools'))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


def test_kernels_are_loaded_when_they_are_met(mirbsd_dump: MirbsdDump) -> None:
    """Each takes milliseconds of every start."""
    code = """
import sys, pykvm, pykvm.capi
def kernels():
    return sorted(n.split(".")[2] for n in sys.modules if n.startswith("pykvm.targets.") and n.endswith(".kernel"))
print(kernels())
pykvm.Kvm(*sys.argv[1:])
print(kernels())
"""
    command = [sys.executable, "-c", code, mirbsd_dump.core, mirbsd_dump.kernel]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "[]\n['mirbsd']\n"
