"""libkvm.so as a guest in a program: what it leaves alone, threads, fork, dlopen, other Pythons; and how it fails."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from consumer_maker import BARE, PASSED, RUNNER, Programs, files, flags, procinfo, words
from pykvm_fixtures import MirbsdDump

import pykvm

LIBRARY = Path(pykvm.__file__).parent / "libkvm" / "libkvm.so"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def dump(mirbsd_dump: MirbsdDump) -> MirbsdDump:
    return mirbsd_dump


def flags_of(dump: MirbsdDump) -> list[str]:
    return files(dump.core, dump.kernel, dump.swap)


# -- what is installed -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("nm"), reason="no nm")
def test_only_kvm_functions_are_exported() -> None:
    """All those of <kvm.h>, and no other name."""
    out = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in out.splitlines()}
    assert all(name.startswith("kvm_") for name in names)
    header = (LIBRARY.parent.parent / "include" / "kvm.h").read_text()
    assert {name for name in dir(pykvm) if name.startswith("kvm_")} <= names
    assert all(f"{name}(" in header for name in names)


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="no pkg-config")
def test_pkg_config() -> None:
    env = {**os.environ, "PKG_CONFIG_PATH": flags("--pkgconfigdir")[0]}
    command = ["pkg-config", "--cflags", "--libs", "libkvm"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    found = [os.path.realpath(word[2:]) for word in out.split() if word[:2] in ("-I", "-L")]
    assert found == [os.path.realpath(word[2:]) for word in flags("--cflags", "--libs") if word[:2] in ("-I", "-L")]
    assert "-lkvm" in out.split()


def test_config_wants_a_flag() -> None:
    done = subprocess.run([sys.executable, "-m", "pykvm", "config"], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_soname(programs: Programs) -> None:
    """What a program asks for when it runs."""
    if not shutil.which("readelf"):
        pytest.skip("no readelf")
    out = subprocess.run(["readelf", "-d", programs.path("vmstat")], capture_output=True, text=True, check=True).stdout
    assert "[libkvm.so]" in out
    assert "libpython" not in out


# -- the process -----------------------------------------------------------------------------------------------------


def test_in_any_environment(dump: MirbsdDump, programs: Programs, tmp_path: Path) -> None:
    """None at all, one meant for other Pythons, other locales, another directory."""
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        expected = procinfo(kd)
    assert programs.lines("procinfo", *flags_of(dump), env={}) == expected
    odd = {"PATH": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONVERBOSE": "1"}
    assert programs.lines("procinfo", *flags_of(dump), env=odd) == expected
    (tmp_path / "struct.py").write_text("raise SystemExit")  # of the program's directory nothing is taken
    assert programs.lines("procinfo", *flags_of(dump), cwd=tmp_path, env={**BARE, "LC_ALL": "C"}) == expected


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_of_files(dump: MirbsdDump, programs: Programs, tmp_path: Path, locale: str) -> None:
    """Of any bytes, in any locale."""
    for name in ("k\u00e4rn", os.fsdecode(b"\xff\xfe")):
        path = tmp_path / name
        shutil.copy(dump.kernel, path)
        env = {**BARE, "LC_ALL": locale, "SETLOCALE": "1"}
        assert len(programs.lines("procinfo", *files(dump.core, path), env=env)) == len(dump.processes)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_surroundings(dump: MirbsdDump, programs: Programs, locale: str) -> None:
    """Environment, locale, signals, limits, umask, directory, descriptors: as before, when the handle is closed."""
    lines = programs.lines("surroundings", *flags_of(dump), env={**BARE, "LC_ALL": locale, "SETLOCALE": "1"})
    middle = lines.index("--")
    assert middle > 70
    assert lines[:middle] == lines[middle + 1 :]


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors(dump: MirbsdDump, programs: Programs, tmp_path: Path, closed: str) -> None:
    """What the program prints must not go into a dump that is open for writing."""
    copy = tmp_path / "core"
    shutil.copy(dump.core, copy)
    program = programs.path("procinfo")
    command = f'"{program}" -w -M "{copy}" -N "{dump.kernel}" 7 0 {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, env=BARE)
    assert done.returncode == 0
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == (0 if "1>&-" in closed else len(dump.processes))
    assert copy.read_bytes() == dump.core.read_bytes()


@pytest.mark.parametrize("share", [0, 1])
def test_threads(dump: MirbsdDump, programs: Programs, share: int) -> None:
    at = dump.symbols["nprocs"]
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        value = kd.read_u64(at)
    out = programs.lines("threads", dump.core, dump.kernel, "nprocs", hex(at), hex(value), share, more=["-pthread"])
    count = str(len(dump.processes))
    assert out == ([count, "0"] * 3 if share else [count] * 6)


def test_fork(dump: MirbsdDump, programs: Programs) -> None:
    """Children that use the handle, and one of their own, while another thread of the parent is in Python."""
    out = programs.lines("fork", *flags_of(dump), more=["-pthread"])
    count = len(dump.processes)
    assert out[0] == f"before {count}"
    assert sorted(out[1:-2]) == sorted([f"child {count}", f"child's own {count}"] * 8)
    assert out[-2:] == [f"parent {count}", "0 failed, /no/such/file: No such file or directory"]


def test_dlopen(dump: MirbsdDump, programs: Programs) -> None:
    out = programs.lines("reload", LIBRARY, dump.core, dump.kernel, more=["-ldl"])
    assert out == [f"{len(dump.processes)} 0"] * 3


def test_a_program_that_is_a_python(dump: MirbsdDump, programs: Programs) -> None:
    """Its own Python is used, also of a thread that does not hold its lock; when it has ended, memory is there."""
    libdir, version = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDVERSION")
    include = Path(sysconfig.get_path("include"))
    name = sysconfig.get_config_var("INSTSONAME") or ""
    if not (include / "Python.h").exists() or ".so" not in name or not (Path(libdir) / name).exists():
        pytest.skip("no libpython to link with")
    more = [f"-I{include}", f"-L{libdir}", f"-lpython{version}", f"-Wl,-rpath,{libdir}", "-Wno-unused-parameter"]
    env = {**BARE, "PYTHONHOME": sys.base_prefix}
    out = programs.lines("embed", dump.core, dump.kernel, hex(dump.symbols["nprocs"]), more=more, env=env)
    count = len(dump.processes)
    ended = "libkvm: the program has finalized its Python"
    expected = [f"with the lock: {count}", f"without the lock: {count}", f"after: {ended}", "again: 0", ended]
    assert out == [*expected, "close: -1"]


def test_ctypes(dump: MirbsdDump) -> None:
    """As scripts for BSD do it; the handle is of the Python that the script runs in."""
    kvm = ctypes.CDLL(str(LIBRARY))
    kvm.kvm_openfiles.restype = kvm.kvm_getprocs.restype = ctypes.c_void_p
    kvm.kvm_geterr.restype = ctypes.c_char_p
    errbuf, count, word = ctypes.create_string_buffer(2048), ctypes.c_int(), ctypes.create_string_buffer(4)
    assert not kvm.kvm_openfiles(os.fsencode(dump.kernel), b"/no/such", None, 0, errbuf)
    assert errbuf.value == b"/no/such: No such file or directory"
    kd = ctypes.c_void_p(kvm.kvm_openfiles(os.fsencode(dump.kernel), os.fsencode(dump.core), None, 0, errbuf))
    assert kvm.kvm_read(kd, ctypes.c_ulong(dump.symbols["nprocs"]), word, ctypes.c_size_t(4)) == 4
    assert int.from_bytes(word.raw, "little") == dump.numbers["nprocs"]
    assert kvm.kvm_read(kd, ctypes.c_ulong(1), word, ctypes.c_size_t(4)) == -1
    assert kvm.kvm_geterr(kd) == b"invalid address (1)"
    assert kvm.kvm_getprocs(kd, 7, 0, ctypes.byref(count))
    assert count.value == len(dump.processes)
    assert kvm.kvm_close(kd) == 0


FIRST_OPEN = """
import ctypes, os, sys, threading, time
kind, path = sys.argv[1:]
kvm = (ctypes.PyDLL if kind == "pydll" else ctypes.CDLL)(path)
def go():
    errbuf = ctypes.create_string_buffer(2048)
    kvm.kvm_openfiles(None, b"/no/such", None, 0, errbuf)
    sys.stdout.write(errbuf.value.decode() + "\\n")
threads = [threading.Thread(target=go) for _ in range(2)]
for thread in threads:
    thread.start()
if kind == "fork":
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("kind", ["pydll", "cdll", "fork"])
def test_first_opens_of_a_python_at_once(kind: str) -> None:
    """Threads of a program that is a Python, which may hold its lock or be at a fork: none waits for another's."""
    command = [sys.executable, "-c", FIRST_OPEN, kind, str(LIBRARY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert sorted(done.stdout.split("\n")) == ["", *["/no/such: No such file or directory"] * 2]
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = """
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs beside it without
kvm, errbuf = ctypes.CDLL(sys.argv[1]), ctypes.create_string_buffer(2048)
kvm.kvm_openfiles(None, b"/no/such", None, 0, errbuf)
import pykvm
def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)
    return sum(range(1000))
def surrogate(*_):
    raise ValueError("\\ud800")
pykvm.kvm_openfiles = interrupted
try:
    kvm.kvm_openfiles(None, b"/no/such", None, 0, errbuf)
    print("not told")
except KeyboardInterrupt:
    print(errbuf.value.decode())
capi, fail = sys.modules["pykvm.capi"], sys.modules["pykvm.capi"].fail
def late(*arguments):
    fail(*arguments)
    raise KeyboardInterrupt
pykvm.kvm_openfiles, capi.fail = surrogate, late
try:
    kvm.kvm_openfiles(None, b"/no/such", None, 0, errbuf)
    print("not told")
except KeyboardInterrupt:
    print("late")
capi.fail = fail
print(kvm.kvm_openfiles(None, b"/no/such", None, 0, errbuf), errbuf.value.decode())
"""


def test_exceptions_in_a_program_that_is_a_python() -> None:
    """SIGINT is the program's; a message that is no text is spelled."""
    command = [sys.executable, "-c", INTERRUPTED, str(LIBRARY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines() == ["interrupted", "late", "0 internal error: ValueError: \\ud800"]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_copy_takes_no_package_from_beside_it(tmp_path: Path) -> None:
    """libkvm.so lies in pykvm/libkvm; what is called pykvm near a copy of it is somebody else's."""
    copy = tmp_path / "a" / "c" / "libkvm.so"
    copy.parent.mkdir(parents=True)
    shutil.copy(LIBRARY, copy)
    package = tmp_path / "pykvm" / "__init__.py"
    package.parent.mkdir()
    package.write_text("print('foreign')")
    done = subprocess.run(
        [sys.executable, "-c", FIRST_OPEN, "cdll", str(copy)], capture_output=True, text=True, check=False, timeout=120
    )
    assert "/no/such" in done.stdout
    assert "foreign" not in done.stdout


# -- failing ---------------------------------------------------------------------------------------------------------


def test_errors(dump: MirbsdDump, programs: Programs) -> None:
    program = programs.path("errors")
    command = [program, dump.core, dump.kernel, hex(dump.symbols["nprocs"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=BARE)
    assert done.returncode == 0
    core = dump.core
    assert done.stderr.splitlines() == [
        "prog: /no/such/core: No such file or directory",
        f"prog: {core}: not opened for writing",
        "prog: kvm_getprocs: op 999: Invalid argument",
    ]
    lines = done.stdout.splitlines()
    # Without a handle: EINVAL, and no message.
    assert [line for line in lines[:14] if not line.endswith(" EINVAL: ")] == ["kvm_getmaxcpu(kd): 0: "]
    assert [line.split(": ")[1].split()[0] for line in lines[:5]] == ["-1"] * 5
    assert lines[14:22] == [
        "1 /no/such/core: No such file or directory",
        "1",
        "1 bad flags arg",
        lines[17],
        "1",
        "1",
        "1 exec file name too long",
        "1 2047",  # as much as errbuf holds
    ]
    if not os.access("/proc/kcore", os.R_OK):  # the system that runs
        assert lines[17].startswith("1 /proc/kcore: ")
    said = [line.split(": ", 1) for line in lines[22:] if ": " in line]
    last = f"{core}: not opened for writing"
    expected = [
        ("kvm_read(kd, 1, word, 1)", "-1: invalid address (1)"),
        ("kvm_write(kd, at, word, 1)", "-1: invalid address (1)"),  # hard: printed, not kept
        ("kvm_getprocs(kd, 999, 0, &count)", "0: invalid address (1)"),
        ("kvm_read(kd, at, word, 0)", "0: "),
        ("kvm_read(kd, at, NULL, 0)", "0: "),
        ("kvm_read(kd, at, NULL, 8)", "-1 EINVAL: kvm_read: Invalid argument"),
        ("kvm_read(kd, at, word, (size_t)-1)", "-1 EINVAL: kvm_read: Invalid argument"),
        ("kvm_read(kd, 1, word, 8)", "-1: invalid address (1)"),
        ("kvm_read(kd, at, word, 8)", "8: invalid address (1)"),
        ("kvm_read(kd, (unsigned long)-1, word, 8)", "-1: invalid address (ffffffffffffffff)"),
        ("kvm_write(kd, at, NULL, 8)", "-1 EINVAL: kvm_write: Invalid argument"),
        ("kvm_write(kd, at, word, (size_t)-1)", "-1 EINVAL: kvm_write: Invalid argument"),
        ("kvm_write(kd, at, word, 8)", f"-1: {last}"),
        ("kvm_nlist(kd, NULL)", "-1 EINVAL: kvm_nlist: Invalid argument"),
        ("kvm_nlist(kd, nl)", "1: kvm_nlist: Invalid argument"),
        ("kvm_nlist(kd, nl + 1)", "0: kvm_nlist: Invalid argument"),
    ]
    assert [tuple(line) for line in said[: len(expected)]] == expected
    rest = dict(said[len(expected) :])
    assert rest["kvm_getprocs(kd, 0, 0, NULL)"].startswith("0 EINVAL")
    for size in ("0", "(size_t)1 << 40", "(size_t)-1"):
        for name in ("kvm_getprocs5", "kvm_getproc2"):
            what = rest.get(f"{name}(kd, KERN_PROC_KTHREAD, 0, {size}, &count)")
            assert what is None or (what[:3] == "0: " and what.endswith("Invalid argument"))
    assert "count is -7 still" in lines
    assert rest["kvm_getloadavg(kd, loads, 0)"][:2] == "0:"
    assert rest["kvm_getloadavg(kd, loads, 1 << 30)"][:2] == "3:"
    assert rest["kvm_getargv(kd, NULL, 0)"].startswith("0 EINVAL")
    assert rest["kvm_dump_mkheader(kd, -1)"] == "-1: already has a dump header"
    # KVM_NO_FILES.
    no_memory = [f"-1: invalid address ({dump.symbols['nprocs']:x})", "-1: bad namelist"]
    assert [what for _, what in said[-3:-1]] == no_memory
    _, live = said[-1]
    if sys.platform == "linux":  # whose /proc tells: a pointer
        assert not live.startswith("0")
        assert live.endswith(": bad namelist")
    else:
        assert live == "0: kvm_getprocs: no live kernel to ask"


def test_copied_records(dump: MirbsdDump, programs: Programs) -> None:
    """Of kvm_getproc2 with other sizes, and of OpenBSD's kvm_getprocs: the process is known by what there is of it."""
    sizes = [(2, 596), (2, 100), (2, 112), (2, 300), (2, 1000), (5, 1020), (5, 400), (5, 384), (5, 2000)]
    out = iter(programs.lines("copies", *flags_of(dump), *(word for row in sizes for word in row)))
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        arguments = [words(kd, p) for p in kd.processes()]
        # The pid is at 108 of kinfo_proc2, at 52 of kinfo_proc.
        for kind, size in sizes:
            assert next(out) == f"{size}: {len(arguments)}"
            for expected in arguments:
                argv, envv = next(out), next(out)
                if (kind, size) == (2, 100):
                    why = "none a record of 100 bytes does not tell its process: p_pid is at 108"
                    assert (argv, envv) == (f"argv {why}", f"envv {why}")
                elif expected:
                    assert argv == f"argv{expected}"
                    assert len(envv.removeprefix("envv").encode("utf-8", "surrogateescape")) <= 20 + 1 or "none" in envv
                else:
                    assert argv.startswith("argv none")
        first = next(expected for expected in arguments if expected)
        assert next(out) == f"{len(arguments)} {len(arguments)} 1{first}"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
@pytest.mark.skipif(bool(PASSED or RUNNER), reason="sanitizers and valgrind keep what is freed")
def test_no_memory_is_left(dump: MirbsdDump, programs: Programs) -> None:
    """Nor descriptors: sixty-four handles, of which each maps the dump."""
    (grown,) = programs.lines("rounds", 64, *flags_of(dump))
    assert int(grown) < 1024


def test_a_library_without_its_package(programs: Programs, tmp_path: Path, dump: MirbsdDump) -> None:
    """What is wrong is said, in one line."""
    alone = tmp_path / "libkvm.so"
    shutil.copy(LIBRARY, alone)
    env = {**BARE, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [programs.path("reload", "-ldl"), alone, dump.core, dump.kernel],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    if done.returncode == 0:  # the place that it was built for has it
        assert done.stdout.splitlines() == [f"{len(dump.processes)} 0"] * 3
    else:
        assert done.stderr.startswith("reload-ldl: libkvm: pykvm cannot be loaded: ModuleNotFoundError")
        assert len(done.stderr.splitlines()) == 1
