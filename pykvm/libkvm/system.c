/* Processes, files, and figures of the system: each asked of Python, which gives it as a program of this host takes it. */
#define _GNU_SOURCE

#include <errno.h>
#include <limits.h>

#include "libkvm.h"

#define WHOLE ((size_t)-1)

/* Kinds of records. */
typedef struct {
	const char	*function;
	uint32_t	 op;
	enum libkvm_slot slot;
} kind;
static const kind PROCS = { "kvm_getprocs", PK_CALL_GETPROCS, SLOT_PROCS };
static const kind PROCS2 = { "kvm_getproc2", PK_CALL_GETPROC2, SLOT_PROCS2 };
static const kind FILES = { "kvm_getfiles", PK_CALL_GETFILES, SLOT_FILES };

/* Records of some kind, kept in the handle. */
static void *records(kvm_t *kd, const kind *of, int what, int arg, size_t elemsize, int *cnt)
{
	pk_call call;

	if (kd == NULL || cnt == NULL) {
		libkvm_refuse(kd, of->function);
		return NULL;
	}
	libkvm_blank(&call);
	call.number[0] = what;
	call.number[1] = arg;
	call.number[2] = elemsize == WHOLE || elemsize > INT64_MAX ? -1 : (int64_t)elemsize;
	if (libkvm_ask(kd, of->op, &call) != 0)
		return NULL;
	*cnt = (int)call.count;
	if (of != &FILES)
		kd->elemsize[of == &PROCS2] = elemsize == WHOLE ? 0 : elemsize;
	return libkvm_keep(kd, of->slot, call.result);
}

struct kinfo_lwp *kvm_getlwps(kvm_t *kd, int pid, unsigned long paddr, size_t elemsize, int *cnt)
{
	pk_call call;

	if (kd == NULL || cnt == NULL) {
		libkvm_refuse(kd, "kvm_getlwps");
		return NULL;
	}
	libkvm_blank(&call);
	call.number[0] = pid;
	call.number[1] = (int64_t)paddr;
	call.number[2] = elemsize > INT64_MAX ? -1 : (int64_t)elemsize;
	if (libkvm_ask(kd, PK_CALL_GETLWPS, &call) != 0)
		return NULL;
	*cnt = (int)call.count;
	return libkvm_keep(kd, SLOT_LWPS, call.result);
}

struct kinfo_proc *kvm_getprocs(kvm_t *kd, int op, int arg, int *cnt)
{
	return records(kd, &PROCS, op, arg, WHOLE, cnt);
}

struct kinfo_proc *kvm_getprocs5(kvm_t *kd, int op, int arg, size_t elemsize, int *cnt)
{
	return records(kd, &PROCS, op, arg, elemsize, cnt);
}

struct kinfo_proc2 *kvm_getproc2(kvm_t *kd, int op, int arg, size_t elemsize, int *cnt)
{
	return records(kd, &PROCS2, op, arg, elemsize, cnt);
}

char *kvm_getfiles(kvm_t *kd, int op, int arg, int *cnt)
{
	return records(kd, &FILES, op, arg, WHOLE, cnt);
}

char *kvm_getfiles5(kvm_t *kd, int op, int arg, size_t elemsize, int *cnt)
{
	return records(kd, &FILES, op, arg, elemsize, cnt);
}

struct kvm_procinfo *kvm_getprocinfo(kvm_t *kd, int op, int arg, int *cnt)
{
	pk_call call;

	if (kd == NULL || cnt == NULL) {
		libkvm_refuse(kd, "kvm_getprocinfo");
		return NULL;
	}
	libkvm_blank(&call);
	call.number[0] = op;
	call.number[1] = arg;
	call.size = sizeof(struct kvm_procinfo);
	if (libkvm_ask(kd, PK_CALL_PROCINFO, &call) != 0)
		return NULL;
	*cnt = (int)call.count;
	return libkvm_keep(kd, SLOT_INFO, call.result);	/* the records themselves are behind them */
}

static char **vector(kvm_t *kd, const void *record, int nchr, int environment, int two)
{
	pk_call call;

	if (kd == NULL || record == NULL) {
		libkvm_refuse(kd, environment ? "kvm_getenvv" : "kvm_getargv");
		return NULL;
	}
	libkvm_blank(&call);
	call.data = (void *)(uintptr_t)record;
	call.size = kd->elemsize[two];	/* that much of it there is; 0: all */
	call.number[0] = two;
	call.number[1] = environment;
	call.number[2] = nchr;
	if (libkvm_ask(kd, PK_CALL_VECTOR, &call) != 0)
		return NULL;
	if (call.count < 0) {	/* it has none */
		free(call.result);
		return NULL;
	}
	return libkvm_keep(kd, environment ? SLOT_ENVV : SLOT_ARGV, call.result);
}

char **kvm_getargv(kvm_t *kd, const struct kinfo_proc *p, int nchr)
{
	return vector(kd, p, nchr, 0, 0);
}

char **kvm_getenvv(kvm_t *kd, const struct kinfo_proc *p, int nchr)
{
	return vector(kd, p, nchr, 1, 0);
}

char **kvm_getargv2(kvm_t *kd, const struct kinfo_proc2 *p, int nchr)
{
	return vector(kd, p, nchr, 0, 1);
}

char **kvm_getenvv2(kvm_t *kd, const struct kinfo_proc2 *p, int nchr)
{
	return vector(kd, p, nchr, 1, 1);
}

int kvm_getloadavg(kvm_t *kd, double loadavg[], int nelem)
{
	pk_call call;

	if (kd == NULL || loadavg == NULL) {
		libkvm_refuse(kd, "kvm_getloadavg");
		return -1;
	}
	libkvm_blank(&call);
	call.number[0] = nelem;
	if (libkvm_ask(kd, PK_CALL_LOADAVG, &call) != 0)
		return -1;
	for (int64_t i = 0; i < call.count; i++)
		loadavg[i] = call.loads[i];
	return (int)call.count;
}

/* What a function of this name gives, which is a number. */
static int64_t number(kvm_t *kd, const char *name, int64_t argument, int64_t failure)
{
	pk_call call;

	if (kd == NULL) {
		errno = EINVAL;
		return failure;
	}
	libkvm_blank(&call);
	call.text[0] = name;
	call.number[0] = argument;
	return libkvm_ask(kd, PK_CALL_NUMBER, &call) == 0 ? call.count : failure;
}

int kvm_native(kvm_t *kd)
{
	return (int)number(kd, "kvm_native", 0, 0);
}

kssize_t kvm_kerndisp(kvm_t *kd)
{
	return number(kd, "kvm_kerndisp", 0, 0);
}

/* A number that a dump does not change any more: asked for once. */
static int once(kvm_t *kd, const char *name, int *known)
{
	if (*known == 0) {
		const int64_t found = number(kd, name, 0, -1);

		if (found <= 0 || found > INT_MAX)
			return -1;
		*known = (int)found;
	}
	return *known;
}

int kvm_getmaxcpu(kvm_t *kd)
{
	return kd == NULL ? 0 : once(kd, "kvm_getmaxcpu", &kd->maxcpu);
}

int kvm_getncpus(kvm_t *kd)
{
	return kd == NULL ? 0 : once(kd, "kvm_getncpus", &kd->ncpus);
}

int kvm_dpcpu_setcpu(kvm_t *kd, unsigned int cpu)
{
	return (int)number(kd, "kvm_dpcpu_setcpu", cpu, -1);
}

uint64_t kvm_counter_u64_fetch(kvm_t *kd, unsigned long base)
{
	return (uint64_t)number(kd, "kvm_counter_u64_fetch", (int64_t)base, 0);
}

void *kvm_getpcpu(kvm_t *kd, int cpu)
{
	pk_call call;

	if (kd == NULL)
		return NULL;
	libkvm_blank(&call);
	call.number[0] = cpu;
	if (libkvm_ask(kd, PK_CALL_GETPCPU, &call) != 0)
		return (void *)-1;
	if (call.count == 0) {	/* there is no such CPU */
		free(call.result);
		return NULL;
	}
	return call.result;	/* the caller's to free */
}

ssize_t kvm_read_zpcpu(kvm_t *kd, unsigned long base, void *buf, size_t n, int cpu)
{
	pk_call call;

	if (kd == NULL) {
		libkvm_refuse(kd, "kvm_read_zpcpu");
		return -1;
	}
	libkvm_blank(&call);
	call.number[0] = (int64_t)base;
	call.number[1] = cpu;
	if (libkvm_ask(kd, PK_CALL_ZPCPU, &call) != 0)
		return -1;
	return kvm_read2(kd, (kvaddr_t)call.count, buf, n);
}

int kvm_getswapinfo(kvm_t *kd, struct kvm_swap *swap, int max, int flags)
{
	pk_call call;

	if (kd == NULL || swap == NULL) {
		libkvm_refuse(kd, "kvm_getswapinfo");
		return -1;
	}
	libkvm_blank(&call);
	call.number[0] = max;
	call.number[1] = flags;
	if (libkvm_ask(kd, PK_CALL_SWAPINFO, &call) != 0)
		return -1;
	memcpy(swap, call.result, (size_t)(call.count + 1) * sizeof(*swap));	/* and the total of all */
	free(call.result);
	return (int)call.count;
}

int kvm_getcptime(kvm_t *kd, long *times)
{
	pk_call call;

	if (kd == NULL || times == NULL) {
		libkvm_refuse(kd, "kvm_getcptime");
		return -1;
	}
	libkvm_blank(&call);
	if (libkvm_ask(kd, PK_CALL_CPTIME, &call) != 0)
		return -1;
	memcpy(times, call.result, (size_t)call.count * sizeof(*times));
	free(call.result);
	return 0;
}
