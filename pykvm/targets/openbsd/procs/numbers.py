"""Numbers of <sys/proc.h>, <sys/sysctl.h> and <sys/resource.h> of OpenBSD 5 to 7."""

SIDL, SRUN, SSLEEP, SSTOP, SZOMB, SDEAD, SONPROC = 1, 2, 3, 4, 5, 6, 7
P_SINTR, P_SYSTEM = 0x80, 0x200
PS_CONTROLT, PS_SYSTEM, PS_ZOMBIE = 0x1, 0x10000, 0x40000
EPROC_CTTY = 1
RLIMIT_RSS = 5
THREAD_PID_OFFSET = 100000  # added to p_tid: a thread's number is no process's
NO_CPU = (1 << 64) - 1  # KI_NOCPU
EMULATION = b"native"
