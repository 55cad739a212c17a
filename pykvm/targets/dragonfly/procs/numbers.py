"""Numbers of <sys/proc.h>, <sys/proc_common.h>, <sys/thread.h>, <sys/rtprio.h> and <sys/kinfo.h>, 2.4 to 6.4."""

from __future__ import annotations

# enum procstat, enum lwpstat
SIDL, SACTIVE, SSTOP, SZOMB, SCORE = 1, 2, 3, 4, 5
LSRUN, LSSTOP, LSSLEEP = 1, 2, 3
# p_flags. Processes of the kernel's own are the first one, and, in old releases, those of kthread_create().
P_CONTROLT, P_SYSTEM, P_KTHREADP = 0x2, 0x200, 0x200000
# lwp_flags, lwp_mpflags
LWP_SINTR, LWP_MP_ONRUNQ = 0x8, 0x1
# td_flags
TDF_RUNQ, TDF_SINTR, TDF_MARKER = 0x2, 0x40, 0x2000
RTP_PRIO_THREAD = 3
KI_CTTY, KI_SLEADER = 1, 2  # kp_auxflags
NOUDEV = -1


def kernel_process(pid: int | None, flags: int) -> bool:
    """Whether the process is the kernel's own; init has P_SYSTEM, too."""
    return bool(flags & P_KTHREADP) or (pid == 0 and bool(flags & P_SYSTEM))
