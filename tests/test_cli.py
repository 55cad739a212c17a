"""The command, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from pykvm.cli import main


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*words: Any) -> tuple[int, str, str]:
        status = main([str(w) for w in words])
        out = capfd.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture
def flags(mirbsd_dump: Any) -> list[Any]:
    return ["-M", mirbsd_dump.core, "-N", mirbsd_dump.kernel, "-W", mirbsd_dump.swap]


def test_info(run: Any, flags: list[Any], mirbsd_dump: Any) -> None:
    status, out, err = run("info", *flags)
    assert (status, err) == (0, "")
    assert "MirBSD" in out
    assert "savecore" in out
    status, out, _ = run("info", "--json", *flags)
    found = json.loads(out)
    assert found["machine"] == "i386"
    assert found["page size"] == 4096
    assert found["boot time"] == mirbsd_dump.boottime[0] + mirbsd_dump.boottime[1] / 1e6
    assert found["physical memory"] == mirbsd_dump.numbers["physmem"] * 4096


def test_info_of_a_cut_core(run: Any, mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory(truncate=-5000)
    status, out, _ = run("info", "--json", "-M", dump.core, "-N", dump.kernel)
    assert status == 0
    assert json.loads(out)["missing at the end"] == 5000


def test_ps(run: Any, flags: list[Any], mirbsd_dump: Any) -> None:
    status, out, err = run("ps", *flags, "-aux")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == len(mirbsd_dump.processes) + 1
    assert lines[0].split() == ["USER", "PID", "PPID", "RSS", "TT", "STAT", "STARTED", "TIME", "COMMAND"]
    status, out, _ = run("ps", *flags, "-o", "pid,ppid", "-o", "comm")
    rows = [line.split(None, 2) for line in out.splitlines()[1:]]
    assert rows == [[str(p.pid), str(p.ppid), p.comm.decode()] for p in mirbsd_dump.processes]
    status, out, _ = run("ps", *flags, "-p", "1", "-o", "command")
    assert out.splitlines()[1:] == [b" ".join(p.argv).decode() for p in mirbsd_dump.processes if p.pid == 1]
    status, out, _ = run("ps", "--json", *flags)
    for found, p in zip(json.loads(out), mirbsd_dump.processes, strict=True):
        assert found["pid"] == p.pid
        assert found["uid"] == p.uid
        if not p.system and not p.zombie and p.where != "none":
            assert found["argv"] == [a.decode("utf-8", "surrogateescape") for a in p.argv]
    for wrong, message in ((["-o", "nosuch"], "-o nosuch: no such column"), (["-p", "x"], "-p x: not a number")):
        status, out, err = run("ps", *flags, *wrong)
        assert status == 1
        assert err.startswith(f"pykvm: {message}")
    assert run("ps", *flags, "-p", "31999")[0] == 1
    _, out, _ = run("ps", *flags, "-U", "1000", "-o", "pid=", "-o", "kp_proc.p_priority=PRI,kp_eproc.e_jobc")
    theirs = [p for p in mirbsd_dump.processes if p.uid == 1000]
    assert out.splitlines()[0].split() == ["PRI", "E_JOBC"]
    assert [line.split() for line in out.splitlines()[1:]] == [
        [str(p.pid), str(p.priority), str(p.jobc)] for p in theirs
    ]
    tty = next(p.tty for p in mirbsd_dump.processes if p.tty)
    _, out, _ = run("ps", *flags, "-t", f"{tty:x}", "-o", "pid")
    assert out.split()[1:] == [str(p.pid) for p in mirbsd_dump.processes if p.tty == tty]


@pytest.mark.parametrize("words", [["bogus"], [], ["ps", "--nosuch"], ["read"], ["info", "-M"]])
def test_wrong_usage(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    out = capfd.readouterr()
    assert (caught.value.code, out.out) == (1, "")
    assert out.err.startswith("pykvm: ")
    assert out.err.count("\n") == 1


def test_nm(run: Any, flags: list[Any], mirbsd_dump: Any) -> None:
    status, out, _ = run("nm", *flags, "nprocs", "_allproc")
    assert status == 0
    assert out.splitlines() == [f"{mirbsd_dump.symbols[n]:08x} {n}" for n in ("nprocs", "allproc")]
    status, out, err = run("nm", *flags, "nprocs", "nosuch")
    assert (status, err) == (1, "pykvm: no such symbol: nosuch\n")
    assert "nprocs" in out
    status, out, _ = run("nm", *flags)
    values = [int(line.split()[0], 16) for line in out.splitlines()]
    assert values == sorted(values)
    assert len(values) >= len(mirbsd_dump.symbols)


def test_read(run: Any, flags: list[Any], mirbsd_dump: Any) -> None:
    at = mirbsd_dump.symbols["version"]
    status, out, _ = run("read", *flags, "version", "20")
    first, second = out.splitlines()
    assert first.startswith(f"{at:08x}  4d 69 72 42 53 44 23 ")
    assert first.endswith("|" + mirbsd_dump.version[:16].decode() + "|")
    assert second.startswith(f"{at + 16:08x}  ")
    for where in (f"{at:x}", f"{at:#x}", "_version", "version+0"):
        assert run("read", *flags, where, "0x14")[1] == out
    assert run("read", *flags, "version+2", "4")[1].startswith(f"{at + 2:08x}  72 42 53 44")
    status, out, _ = run("read", *flags, "--json", "version", "6")
    assert json.loads(out) == {"address": at, "length": 6, "hex": b"MirBSD".hex()}
    pa = next(pa for va, pa in mirbsd_dump.pages)
    assert run("read", *flags, "--phys", f"{pa:x}", "16")[0] == 0
    for words, message in (
        (["nosuch", "4"], "nosuch: no such symbol, and not an address"),
        (["version", "-4"], "-4: not a length"),
        (["version+x", "4"], "version+x: 'x' is not an offset"),
        (["0", "4"], "invalid address (0)"),
    ):
        status, out, err = run("read", *flags, "--", *words)
        assert (status, out, err) == (1, "", f"pykvm: {message}\n")


def test_raw_to_a_pipe(flags: list[Any], mirbsd_dump: Any) -> None:
    command = [sys.executable, "-m", "pykvm", "read", *flags, "--raw", "version", str(len(mirbsd_dump.version))]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == mirbsd_dump.version


def test_reader_goes_away(flags: list[Any]) -> None:
    """`pykvm nm | head` ends quietly."""
    command = [sys.executable, "-m", "pykvm", "ps", *flags]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_dmesg(run: Any, flags: list[Any], mirbsd_dump: Any) -> None:
    status, out, _ = run("dmesg", *flags)
    assert (status, out) == (0, mirbsd_dump.msgbuf.decode())
    status, out, _ = run("dmesg", "--json", *flags)
    assert json.loads(out) == mirbsd_dump.msgbuf.decode().splitlines()


def test_dmesg_that_has_wrapped(run: Any, mirbsd_dump_factory: Any) -> None:
    text = b"".join(b"line %d\n" % i for i in range(2000))
    dump = mirbsd_dump_factory(msgbuf=text, panic=b"a reason")
    status, out, _ = run("dmesg", "-M", dump.core, "-N", dump.kernel)
    assert status == 0
    assert out.splitlines()[1:] == dump.msgbuf.decode().splitlines()[1:]
    assert out.endswith("line 1999\n")
    assert "a reason" in run("info", "-M", dump.core, "-N", dump.kernel)[1]


@pytest.mark.parametrize("command", [["info"], ["ps"], ["nm"], ["dmesg"], ["read", "version"]])
def test_one_line_of_error(run: Any, command: list[str], mirbsd_dump: Any, tmp_path: Any) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage" * 100)
    cases = [
        ["-M", "/nosuch", "-N", mirbsd_dump.kernel],
        ["-M", mirbsd_dump.core],
        ["-M", mirbsd_dump.core, "-N", garbage],
        ["-N", garbage],  # of the system that runs
    ]
    if command[0] != "nm":
        cases.append(["-M", garbage, "-N", mirbsd_dump.kernel])
    for flags in cases:
        status, out, err = run(*command, *flags)
        assert (status, out) == (1, "")
        assert err.startswith("pykvm: ")
        assert err.count("\n") == 1


def test_control_characters_stay_out(run: Any, mirbsd_dump_factory: Any) -> None:
    from pykvm_fixtures import Process

    dump = mirbsd_dump_factory(processes=[Process(1, comm=b"evil\x1b[31m", argv=[b"a\nb", b"\xe9"])])
    _, out, _ = run("ps", "-M", dump.core, "-N", dump.kernel, "-o", "comm,command")
    assert "\x1b" not in out
    assert r"evil\x1b[31m" in out
    assert r"a\x0ab" in out


def test_standard_output_is_closed(flags: list[Any]) -> None:
    command = [sys.executable, "-m", "pykvm", "info", *map(str, flags)]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "pykvm: standard output is closed\n")


def test_ps_names_what_was_not_found(run: Any, flags: list[Any]) -> None:
    status, _, err = run("ps", *flags, "-p", "1", "-U", "77")
    assert (status, err) == (1, "pykvm: no such process: -p 1 -U 77\n")
