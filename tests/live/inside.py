"""What runs in the guest: inside.py NAME [ARGUMENT...] does it, and prints what it found as JSON."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pykvm

IDS = "ppid pgid sid uid ruid svuid gid rgid svgid groups comm flags nice tdev tpgid threads".split()


def told(pid: int) -> dict[str, Any]:
    """What the guest's /proc says, read by itself."""
    raw = Path(f"/proc/{pid}/stat").read_bytes()
    words = raw[raw.rindex(b")") + 2 :].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    uids, gids = (list(map(int, status[key].split())) for key in ("Uid", "Gid"))
    numbers = list(map(int, words[1:]))
    return {
        "ppid": numbers[0], "pgid": numbers[1], "sid": numbers[2], "tdev": numbers[3] or None,
        "tpgid": numbers[4] if numbers[4] >= 0 else None, "flags": numbers[5], "nice": numbers[15],
        "threads": numbers[16], "start": numbers[18], "stat": words[0].decode(), "rss": numbers[20],
        "uid": uids[1], "ruid": uids[0], "svuid": uids[2], "gid": gids[1], "rgid": gids[0], "svgid": gids[2],
        "groups": list(map(int, status["Groups"].split())),
        "cpu": (numbers[10] + numbers[11]) / os.sysconf("SC_CLK_TCK"),
        "comm": Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n").decode("utf-8", "surrogateescape"),
        "argv": Path(f"/proc/{pid}/cmdline").read_bytes().removesuffix(b"\0").split(b"\0"),
    }  # fmt: skip


def children() -> list[subprocess.Popen[bytes]]:
    """Some with what others do not have: a group and a session of their own, arguments of any bytes, nice values."""
    return [
        subprocess.Popen(["sleep", "300"], start_new_session=True),
        subprocess.Popen(["nice", "-n", "7", "sleep", "301"]),
        subprocess.Popen([b"sleep", b"302"], env={b"BYTES\xff": b"\x80\n"}),
        subprocess.Popen(
            ["sh", "-c", "exec -a 'a (b) c' sleep 303"], executable="/bin/bash", user=1234, extra_groups=[7, 9]
        ),
    ]


def processes() -> dict[str, Any]:
    """Every process by memory and by /proc: {differences, how many}."""
    kids = children()
    time.sleep(1)
    with pykvm.Kvm() as kd:
        assert kd.info.live, kd.info
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        bad, seen, busy = [], 0, {os.getpid(), 1}
        for p in kd.processes():
            try:
                truth = told(p.pid)
            except OSError:
                continue
            seen += 1
            worker = p.comm.startswith("kworker/")  # whose name says what it does just now
            for name in IDS:
                if getattr(p, name) != truth[name] and not (name in ("comm", "flags") and worker):
                    bad.append((p.pid, name, getattr(p, name), truth[name]))
            if not worker and kd.argv(p) != (truth["argv"] if truth["argv"] != [b""] else []):
                bad.append((p.pid, "argv", str(kd.argv(p)), str(truth["argv"])))
            if abs(p.start_time - boot - truth["start"] / 100) > 0.05:
                bad.append((p.pid, "start", p.start_time - boot, truth["start"]))
            if p.pid not in busy:
                if abs(p.utime + p.stime - truth["cpu"]) > 0.1:
                    bad.append((p.pid, "cpu", p.utime + p.stime, truth["cpu"]))
                if abs(p.rssize // 4096 - truth["rss"]) > 64:
                    bad.append((p.pid, "rss", p.rssize // 4096, truth["rss"]))
        third = kids[2].pid
        (p,) = kd.processes(pykvm.KERN_PROC_PID, third)
        environ = [word.hex() for word in kd.environ(p)]
        (p,) = kd.processes(pykvm.KERN_PROC_UID, 1234)
        last = (p.pid == kids[3].pid, p.groups, p.stat, p.wmesg)
        own = [(t.tid, t.stat) for t in kd.threads(next(iter(kd.processes(pykvm.KERN_PROC_PID, os.getpid()))))]
        files = sorted((f.fd, f.path) for f in kd.files() if f.pid == kids[0].pid)
        mine = sorted((int(p.name), str(p.readlink())) for p in Path(f"/proc/{kids[0].pid}/fd").iterdir())
    for kid in kids:
        kid.kill()
        kid.wait()
    return {
        "bad": bad, "seen": seen, "all": sum(p.name.isdecimal() for p in Path("/proc").iterdir()), "environ": environ,
        "last": last, "own": own, "pid": os.getpid(), "files": [files, mine],
    }  # fmt: skip


def gone() -> dict[str, Any]:
    """Records of a process that has ended."""
    kid = subprocess.Popen(["sleep", "300"])
    time.sleep(0.5)
    said = []
    with pykvm.Kvm() as kd:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, kid.pid)
        before = kd.argv(p)
        kid.kill()
        (zombie,) = kd.processes(pykvm.KERN_PROC_PID, kid.pid)
        kid.wait()
        for _ in range(50):
            subprocess.run(["true"], check=True)  # what it was made of becomes others
        for ask in (kd.argv, kd.environ, kd.threads):
            try:
                said.append(str(ask(p)))
            except pykvm.KvmError as e:
                said.append(str(e))
        left = [q.pid for q in kd.processes(pykvm.KERN_PROC_PID, kid.pid)]
    return {"pid": kid.pid, "argv": str(before), "zombie": zombie.stat, "said": said, "left": left}


def symbols() -> dict[str, Any]:
    """All names, by memory's own tables and by /proc/kallsyms as the kernel file."""
    found = {}
    for kernel in (None, "/proc/kallsyms"):
        with pykvm.Kvm(None, kernel) as kd:
            counts: dict[str, set[int]] = {}
            for line in Path("/proc/kallsyms").read_text().splitlines():
                words = line.split()
                if len(words) == 3:
                    counts.setdefault(words[2], set()).add(int(words[0], 16))
            wrong = [name for name, values in counts.items() if name in kd.symbols and kd.symbols[name] not in values]
            lacking = [name for name in counts if name not in kd.symbols]
            banner = kd.read_cstr(kd.symbol("linux_banner")).decode()
            found[str(kernel)] = [len(counts), wrong[:5], lacking[:5], banner == Path("/proc/version").read_text()]
    return found


def loadavg() -> list[list[float]]:
    with pykvm.Kvm() as kd:
        return [kd.loadavg(), list(map(float, Path("/proc/loadavg").read_text().split()[:3]))]


def segments() -> dict[str, Any]:
    """What every segment of /proc/kcore has, as the file itself gives it; and what none has."""
    from pykvm.images.elf import PT_LOAD, Elf
    from pykvm.images.hostfile import HostFile

    file = HostFile("/proc/kcore")
    wrong, count, zeros = [], 0, 0
    with pykvm.Kvm() as kd:
        for p in Elf(file).segments():
            if p.type != PT_LOAD:
                continue
            count += 1
            # Of kernel text and read-only data, or of what does not change much: a few places each.
            for i in range(40):
                at = p.vaddr + random.Random(i).randrange(0, p.memsz - 8) & ~7
                try:
                    got = kd.read(at, 8)
                except pykvm.AddressError:
                    raw = os.pread(file.fd, 8, p.offset + at - p.vaddr)
                    if raw.strip(b"\0"):
                        wrong.append((hex(at), "refused", raw.hex()))
                    zeros += 1
                    continue
                raw = os.pread(file.fd, 8, p.offset + at - p.vaddr)
                if got != raw and got != os.pread(file.fd, 8, p.offset + at - p.vaddr):
                    wrong.append((hex(at), got.hex(), raw.hex()))
        task = kd.processes()[0].paddr
        same = kd.read_phys(kd.translate(task), 8) == kd.read(task, 8)
        stack = kd.read_ptr(task + kd.types.struct("task_struct").offset("stack"))  # of vmalloc
        whole = kd.read(stack, 16384)
        said = []
        for addr in (0, 0x1000, stack - 4096, 1 << 63, (1 << 64) - 4096):
            try:
                said.append(kd.read(addr, 8).hex())
            except pykvm.AddressError as e:
                said.append(str(e))
        back = kd.read_phys(kd.translate(stack + 8192), 64) == whole[8192:8256]
    return {
        "wrong": wrong,
        "count": count,
        "refused": zeros,
        "same": same,
        "stack": len(whole),
        "back": back,
        "said": said,
    }


def storm(walks: str) -> dict[str, Any]:
    """Processes come and go by the hundred while the list is read."""
    # A shell's processes are small, so that many come and go; every fourth one runs another program.
    source = "while :; do (:) & (:) & (:) & true & /bin/true; wait; done"
    kids = [subprocess.Popen(["sh", "-c", source]) for _ in range(1)]
    time.sleep(1)
    first = int(Path("/proc/loadavg").read_text().split()[-1])
    still = {1, os.getpid(), *(kid.pid for kid in kids)}
    wrong: list[Any] = []
    most, began = 0.0, time.time()
    with pykvm.Kvm() as kd:
        for _ in range(int(walks)):
            start = time.time()
            found = kd.processes()
            most = max(most, time.time() - start)
            pids = [p.pid for p in found]
            if not still <= set(pids) or len(set(pids)) != len(pids):
                wrong.append(("pids", sorted(still - set(pids)), len(pids) - len(set(pids))))
            for p in found:
                if (
                    p.comm is None
                    or p.ppid is None
                    or p.uid != 0
                    or p.stat not in "RSDTZI"
                    or not 0 <= p.rssize < 1 << 30
                ):
                    wrong.append((p.pid, p.comm, p.ppid, p.uid, p.stat, p.rssize))
                elif p.pid not in still and p.ppid in {kid.pid for kid in kids} and p.comm not in ("sh", "true"):
                    wrong.append((p.pid, p.comm))
                assert len(bytes(p)) == 608
            try:
                kd.argv(random.choice(found))
            except pykvm.KvmError as e:
                if "has ended" not in str(e):
                    wrong.append(str(e))
        took = time.time() - began
    began_there = int(Path("/proc/loadavg").read_text().split()[-1]) - first
    for kid in kids:
        kid.send_signal(signal.SIGKILL)
        kid.wait()
    return {"wrong": wrong[:5], "began": began_there, "most": most, "took": took}


def files(rounds: str) -> dict[str, Any]:
    """Open files, while others open and close them, and come and go."""
    source = (
        'while :; do (:) & for i in 3 4 5 6; do eval "exec $i</proc/self/status"; eval "exec $i<&-"; done; wait; done'
    )
    with open("/proc/version", "rb") as one:
        still = subprocess.Popen(["sleep", "300"], stdin=one)
    kids = [subprocess.Popen(["sh", "-c", source], stderr=subprocess.DEVNULL) for _ in range(2)]
    time.sleep(1)
    wrong: list[Any] = []
    with pykvm.Kvm() as kd:
        for _ in range(int(rounds)):
            found = kd.files()
            if len({(f.pid, f.fd) for f in found}) != len(found):
                wrong.append("one twice")
            mine = {f.fd: f.path for f in found if f.pid == still.pid}
            if mine != {int(p.name): str(p.readlink()) for p in Path(f"/proc/{still.pid}/fd").iterdir()}:
                wrong.append(mine)
            wrong += [(f.pid, f.fd, f.path) for f in found if f.path is None or not 0 <= f.fd < 1024]
    for kid in (*kids, still):
        kid.kill()
        kid.wait()
    return {"wrong": wrong[:5], "last": len(found), "stdin": mine.get(0)}


def execs(rounds: str) -> dict[str, Any]:
    """The arguments of a process that goes on to be other programs all the time."""
    source = 'exec sh -c "$0" "$0" $(($1 + 1))'
    kid = subprocess.Popen(["sh", "-c", source, source, "0"])
    seen, wrong, failed = set(), [], 0
    with pykvm.Kvm() as kd:
        for _ in range(int(rounds)):
            (p,) = kd.processes(pykvm.KERN_PROC_PID, kid.pid)
            try:
                words = kd.argv(p)
            except pykvm.KvmError:
                failed += 1
                continue
            if not words:  # in the midst of execve(2) there are none yet, as /proc has it
                failed += 1
            elif words[:-1] != [b"sh", b"-c", source.encode(), source.encode()] or not words[-1].isdigit():
                wrong.append([word.decode(errors="replace")[:20] for word in words])
            else:
                seen.add(int(words[-1]))
    kid.kill()
    kid.wait()
    return {"wrong": wrong[:5], "seen": len(seen), "failed": failed}


def plugged(seconds: str) -> dict[str, Any]:
    """Memory that is added while a handle is open: read at an address that nothing was at before."""

    def total() -> int:
        return int(Path("/proc/meminfo").read_text().split()[1])

    with pykvm.Kvm() as kd:
        before, size = total(), kd.image.memory_size
        base = kd.read_u64(kd.symbol("page_offset_base"))
        end = max(p.vaddr + p.memsz for p in kd.image.header if p.paddr < 1 << 52 and p.vaddr < base + (1 << 45))
        new = base + max(4 << 30, end - base)  # a DIMM is above 4 GB, and above what there is
        refused = False
        try:
            kd.read(new, 8)
        except pykvm.AddressError:
            refused = True
        limit = time.monotonic() + float(seconds)
        while total() == before and time.monotonic() < limit:
            time.sleep(0.5)
        time.sleep(2)
        found = len(kd.read(new, 1 << 20))
        raw = bytearray(8)
        return {
            "refused": refused, "more": total() - before, "found": found, "size": kd.image.memory_size - size,
            "kvm_read": pykvm.kvm_read(kd, new, raw, 8), "processes": len(kd.processes()) > 20, "moved": kd.moved,
        }  # fmt: skip


def handles() -> dict[str, Any]:
    """One handle in several threads, while it is refreshed."""
    errors: list[str] = []
    with pykvm.Kvm() as kd:

        def work() -> None:
            try:
                for _ in range(5):
                    assert any(p.pid == 1 for p in kd.processes())
                    kd.read_u64(kd.symbol("jiffies"))
            except BaseException as e:
                errors.append(repr(e))

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for _ in range(5):
            kd.refresh()
        for worker in workers:
            worker.join()
        ticks = [kd.read_u64(kd.symbol("jiffies"))]
        time.sleep(0.5)
        ticks.append(kd.read_u64(kd.symbol("jiffies")))
        raw = bytearray(8)
        two = pykvm.kvm_openfiles(None, "/dev/mem", None, os.O_RDONLY)
        assert two is not None
        read = pykvm.kvm_read(two, two.symbol("jiffies"), raw, 8)
        ticks.append(int.from_bytes(raw, "little"))
        two.close()
    return {"errors": errors, "ticks": ticks, "read": read}


def errors(user: str = "") -> dict[str, str]:
    """What who may not is told, in the words of each way to open. user: become this one first, which may not be
    allowed to read the interpreter's files, so that all is loaded before."""
    if user:
        errors()
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    found = {}
    for name, call in {
        "live": lambda: pykvm.Kvm(),
        "mem": lambda: pykvm.Kvm("/dev/mem"),
        "write": lambda: pykvm.Kvm(writable=True),
        "kallsyms": lambda: pykvm.Kvm("/proc/self/exe", "/proc/kallsyms"),
    }.items():
        try:
            call().close()
            found[name] = "opened"
        except pykvm.KvmError as e:
            found[name] = str(e)
    errbuf = bytearray(2048)
    assert pykvm.kvm_openfiles(None, None, None, os.O_RDONLY, errbuf) is None or os.getuid() == 0
    found["errbuf"] = errbuf.split(b"\0")[0].decode()
    kd = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
    assert kd is not None
    found["no files"] = str(len(kd.processes()) > 5 and kd.argv(kd.processes(pykvm.KERN_PROC_PID, os.getpid())[0]))
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
