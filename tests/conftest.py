"""Where the tests find what they need."""

from __future__ import annotations

import lzma
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from living import Start, asked, children
from pykvm_fixtures.bsd import BsdDump, write_netbsd, write_openbsd
from pykvm_fixtures.freebsd import FreebsdDump, write_freebsd
from pykvm_fixtures.linux.names import NamesDump, write_names
from pykvm_fixtures.plugin import apart

from pykvm.handle import Kvm

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("PYKVM_REAL") or HERE.parent.parent / "shared" / "real")

# Guests are booted only for who asks for it (make test-live).
collect_ignore = [] if os.environ.get("PYKVM_LIVE_TESTS") else ["live"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """--sample N: under the sanitizers, where all would take too long, the C core's own tests and each N-th other."""
    parser.addoption("--sample", type=int, default=1, help="all tests marked core, and each N-th of the others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what --sample leaves out."""
    step = config.getoption("--sample")
    core = [item for item in items if item.get_closest_marker("core")]
    others = [item for item in items if not item.get_closest_marker("core")]
    if step > 1:
        kept = set(core) | set(others[::step])
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function: a file of the real dumps by its path there, without .xz; the test is skipped where it is not."""
    cache = tmp_path_factory.mktemp("real")

    def find(name: str) -> Path:
        plain = SHARED / name
        if plain.exists():
            return plain
        packed = plain.with_name(plain.name + ".xz")
        if not packed.exists():
            pytest.skip(f"the real dumps are not here (no {name})")
        out = cache / name.replace("/", "_")
        if not out.exists():
            with lzma.open(packed) as src, open(out, "wb") as dst:
                shutil.copyfileobj(src, dst)
        return out

    return find


@pytest.fixture
def names_dump(tmp_path: Path) -> Callable[..., NamesDump]:
    """A function that writes a Linux dump of names with the arguments of write_names(), each into its own directory."""
    return apart(write_names, tmp_path, "names")


@pytest.fixture(scope="module")
def freebsd_written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FreebsdDump]:
    """A function: the FreeBSD dump of a machine and options of write_freebsd(), written once a module; do not change
    its files."""
    known: dict[str, FreebsdDump] = {}

    def write(machine: str = "amd64", **options: Any) -> FreebsdDump:
        key = f"{machine} {sorted(options.items(), key=str)}"
        if key not in known:
            known[key] = write_freebsd(tmp_path_factory.mktemp("freebsd"), machine, **options)
        return known[key]

    return write


@pytest.fixture(scope="session")
def bsd_written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BsdDump]:
    """A function: the dump of "NetBSD" or "OpenBSD", a machine and options of write_netbsd(), written once; do not
    change its files."""
    known: dict[str, BsdDump] = {}

    def write(system: str, machine: str = "amd64", **options: Any) -> BsdDump:
        key = f"{system} {machine} {sorted(options.items(), key=str)}"
        if key not in known:
            make = write_netbsd if system == "NetBSD" else write_openbsd
            known[key] = make(tmp_path_factory.mktemp("bsd"), machine, **options)
        return known[key]

    return write


@pytest.fixture
def kd() -> Iterator[Kvm]:
    """The system that the tests run in, without its memory; tests of dumps have one of their own."""
    with asked() as found:
        yield found


@pytest.fixture
def spawned() -> Iterator[Start]:
    """A function: starts a program, which is killed in the end."""
    with children() as start:
        yield start
