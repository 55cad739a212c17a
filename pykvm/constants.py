"""The numbers of <kvm.h>, <a.out.h> and <sys/sysctl.h> (MirBSD's, whatever the target)."""

from __future__ import annotations

KVM_NO_FILES = 0x80000000
VRS_SYM = "_version"
VRS_KEY = "VERSION"

KERN_PROC_ALL = 0
KERN_PROC_PID = 1
KERN_PROC_PGRP = 2
KERN_PROC_SESSION = 3
KERN_PROC_TTY = 4
KERN_PROC_UID = 5
KERN_PROC_RUID = 6
KERN_PROC_KTHREAD = 7
# What only other systems have, with numbers that no MirBSD op uses.
KERN_PROC_PROC = 8  # FreeBSD's: every process, as KERN_PROC_KTHREAD
KERN_PROC_RGID = 10
KERN_PROC_GID = 11
KERN_PROC_INC_THREAD = 0x10
KERN_PROC_SHOW_THREADS = 0x40000000

KERN_FILE_BYFILE = 0

# FreeBSD's: kvm_getswapinfo's flag, kvm_walk_pages' version and protections (<vm/vm.h>), kvm_getcptime's counters.
SWIF_DEV_PREFIX = 0x02
LIBKVM_WALK_PAGES_VERSION = 2
VM_PROT_READ = 0x01
VM_PROT_WRITE = 0x02
VM_PROT_EXECUTE = 0x04
CP_USER, CP_NICE, CP_SYS, CP_INTR, CP_IDLE = range(5)
CPUSTATES = 5

N_UNDF = 0x00
N_EXT = 0x01
N_ABS = 0x02
N_TEXT = 0x04
N_DATA = 0x06
N_BSS = 0x08
N_INDR = 0x0A
N_SIZE = 0x0C
N_COMM = 0x12
N_FN = 0x1E
N_TYPE = 0x1E
N_STAB = 0xE0
