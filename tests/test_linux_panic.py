"""What a kernel's last messages say of its end, in the words of kernels from 2.6.32 to 6.12."""

from __future__ import annotations

import pytest

from pykvm.targets.base import Message
from pykvm.targets.linux.facts import panic

# name: (log, panic, oops, the CPU, pid and name told with the panic or else with the oops)
LOGS = {
    "nothing": (["Linux version 6.12", "bug: none", "WARNING: CPU: 0 PID: 9 at kernel/x.c:1"], None, None, None),
    "6.12 sysrq": (
        [
            "sysrq: Trigger a crash",
            "Kernel panic - not syncing: sysrq triggered crash",
            "CPU: 1 UID: 0 PID: 1 Comm: init Not tainted 6.12.117 #1",
            "Call Trace:",
            "---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
        ],
        "sysrq triggered crash",
        None,
        (1, 1, "init"),
    ),
    "4.18 sysrq": (
        [
            "sysrq: SysRq : Trigger a crash",
            "BUG: unable to handle kernel NULL pointer dereference at 0000000000000000",
            "PGD 0 P4D 0 ",
            "Oops: 0002 [#1] SMP PTI",
            "CPU: 3 PID: 4242 Comm: bash Kdump: loaded Tainted: G        W        --------- -  - 4.18.0-80 #1",
        ],
        "sysrq: SysRq : Trigger a crash",
        "BUG: unable to handle kernel NULL pointer dereference at 0000000000000000",
        (3, 4242, "bash"),
    ),
    "2.6.32": (
        [
            "SysRq : Trigger a crash",
            "BUG: unable to handle kernel NULL pointer dereference at (null)",
            "Oops: 0002 [#1] SMP ",
            "Pid: 1603, comm: sh Not tainted 2.6.32-71 #1 Bochs",
            "Kernel panic - not syncing: Fatal exception",
        ],
        "Fatal exception",
        "BUG: unable to handle kernel NULL pointer dereference at (null)",
        (None, 1603, "sh"),
    ),
    "arm64": (
        [
            "Unable to handle kernel paging request at virtual address ffff0000dead0000",
            "Mem abort info:",
            "Internal error: Oops: 0000000096000045 [#1] SMP",
            "CPU: 0 PID: 77 Comm: kworker/0:1 Not tainted 6.1.0 #1",
            "---[ end trace 0000000000000000 ]---",
            "Kernel panic - not syncing: Oops: Fatal exception",
        ],
        "Oops: Fatal exception",
        "Unable to handle kernel paging request at virtual address ffff0000dead0000",
        (0, 77, "kworker/0:1"),
    ),
    "general protection": (
        [
            "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [stress:99]",
            "CPU: 1 PID: 99 Comm: stress Not tainted 5.15.0 #1",
            "general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] PREEMPT SMP",
            "CPU: 2 PID: 31 Comm: my prog (x) Tainted: P           OE      5.15.0 #1",
        ],
        None,
        "general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] PREEMPT SMP",
        (2, 31, "my prog (x)"),
    ),
    "BUG()": (
        [
            "BUG: Bad page state in process cat  pfn:00001",
            "CPU: 0 PID: 5 Comm: cat Not tainted 5.4.0 #1",
            "------------[ cut here ]------------\nkernel BUG at mm/slub.c:4120!\ninvalid opcode: 0000 [#2] SMP",
            "CPU: 1 PID: 6 Comm: dd Tainted: G    B             5.4.0 #1",
            "note: dd[6] exited with preempt_count 1",
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
            "CPU: 0 PID: 1 Comm: systemd Tainted: G    B D           5.4.0 #1",
        ],
        "Attempted to kill init! exitcode=0x0000000b",
        "kernel BUG at mm/slub.c:4120!",
        (0, 1, "systemd"),
    ),
    "two oopses": (
        [
            "Oops: 0000 [#1] SMP",
            "CPU: 0 PID: 5 Comm: cat Not tainted 5.4.0 #1",
            "Oops: 0002 [#2] SMP",
            "CPU: 1 PID: 6 Comm: dd Tainted: G      D             5.4.0 #1",
        ],
        None,
        "Oops: 0002 [#2] SMP",
        (1, 6, "dd"),
    ),
    "riscv64": (
        ["Kernel BUG [#1]", "CPU: 3 UID: 0 PID: 88 Comm: a b Not tainted 6.12.0 #3"],
        None,
        "Kernel BUG [#1]",
        (3, 88, "a b"),
    ),
    "cut": (["Kernel panic - not syncing: "], "", None, None),
}


@pytest.mark.parametrize("name", LOGS)
def test_last_words(name: str) -> None:
    said, reason, oops, where = LOGS[name]
    found = panic.find(Message(i, 0, line.encode()) for i, line in enumerate(said))
    assert [r and r.line.decode() for r in found] == [reason, oops]
    told = next((r for r in found if r is not None and r.pid is not None), None)
    assert (told and (told.cpu, told.pid, (told.comm or b"").decode())) == where


def test_a_line_that_is_long() -> None:
    """No pattern goes back and forth over it."""
    lines = [b"Kernel panic - not syncing: x", b"CPU: 1 PID: 2 Comm: " + b"a" * 50000, b"Oops" + b"[#" * 30000]
    found = panic.find(Message(0, 0, line) for line in lines * 20)
    assert found[0] is not None
    assert found[0].pid is None
