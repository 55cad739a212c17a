/* kvm_read(3), kvm_nlist(3), and what else is about memory. */
#define _GNU_SOURCE

#include <errno.h>
#include <limits.h>

#include "libkvm.h"

/* Say why a read failed; fault NULL: nothing can be read. What has a translation but no memory ends a read as the end
   of the file does. */
static __attribute__((noinline)) ssize_t failed(kvm_t *kd, kvaddr_t addr, uint64_t done, pk_fault *fault)
{
	pk_call call;

	libkvm_blank(&call);
	call.data = fault;
	call.number[0] = (int64_t)addr;
	call.number[1] = (int64_t)done;
	libkvm_ask(kd, PK_CALL_FAULT, &call);
	return fault != NULL && (fault->status == PK_EPHYS || fault->status == PK_EIO) ? (ssize_t)done : -1;
}

static __attribute__((noinline)) ssize_t read_slowly(kvm_t *kd, kvaddr_t addr, void *buf, size_t n)
{
	pk_space *space = kd->space;
	pk_fault fault;
	uint64_t done = kd->read(space, addr, buf, n, &fault);
	ssize_t got;

	if (fault.status == PK_OK || fault.status == PK_EEOF)
		return (ssize_t)done;
	got = failed(kd, addr, done, &fault);
	if (space == kd->space)
		return got;
	/* A running kernel's memory lies elsewhere by now. */
	done = kd->read(kd->space, addr, buf, n, &fault);
	return fault.status == PK_OK || fault.status == PK_EEOF ? (ssize_t)done : failed(kd, addr, done, &fault);
}

/* By the shortest way: more of such reads than one are under way then. */
static inline ssize_t read_memory(kvm_t *kd, kvaddr_t addr, void *buf, size_t n)
{
	if (kd == NULL || n > SSIZE_MAX || (buf == NULL && n > 0)) {
		libkvm_refuse(kd, "kvm_read");
		return -1;
	}
	if (kd->space == NULL)
		return failed(kd, addr, 0, NULL);
	return kd->quick(kd->space, addr, buf, n) ? (ssize_t)n : read_slowly(kd, addr, buf, n);
}

ssize_t kvm_read2(kvm_t *kd, kvaddr_t addr, void *buf, size_t n)
{
	return read_memory(kd, addr, buf, n);
}

ssize_t kvm_read(kvm_t *kd, unsigned long addr, void *buf, size_t n)
{
	return read_memory(kd, addr, buf, n);
}

ssize_t kvm_write(kvm_t *kd, unsigned long addr, const void *buf, size_t n)
{
	pk_call call;

	if (kd == NULL || n > SSIZE_MAX || (buf == NULL && n > 0)) {
		libkvm_refuse(kd, "kvm_write");
		return -1;
	}
	if (kd->space != NULL && kd->write != NULL) {
		pk_fault fault = { 0 };
		const uint64_t done = kd->write(kd->space, addr, buf, n, &fault);

		if (fault.status == PK_OK)
			return (ssize_t)done;
		failed(kd, addr, done, &fault);
		return -1;
	}
	/* Which says why not. */
	libkvm_blank(&call);
	call.number[0] = (int64_t)addr;
	call.data = (void *)(uintptr_t)buf;
	call.size = n;
	return libkvm_ask(kd, PK_CALL_WRITE, &call) == 0 ? (ssize_t)call.count : -1;
}

_Static_assert(offsetof(struct nlist, n_name) == 0 && offsetof(struct kvm_nlist, n_name) == 0, "n_name");

/* Ask for the names of a list, whose entries of `size` bytes begin with n_name: what was found of each, for the caller to
   free, and how many there are; NULL on failure. */
static pk_name *look_up(kvm_t *kd, const void *list, size_t size, const char *function, size_t *count)
{
	const char *name;
	pk_call call;

	if (kd == NULL || list == NULL) {
		libkvm_refuse(kd, function);
		return NULL;
	}
	const char *entry = list;
	for (*count = 0; memcpy(&name, entry, sizeof(name)), name != NULL && *name != '\0'; entry += size)
		++*count;
	const char **names = calloc(*count + 1, sizeof(*names));
	if (names == NULL) {
		libkvm_report(kd, strerror(ENOMEM), 0);
		return NULL;
	}
	for (size_t i = 0; i < *count; i++)
		memcpy(&names[i], (const char *)list + i * size, sizeof(*names));
	libkvm_blank(&call);
	call.data = names;
	call.size = *count;
	const int failed = libkvm_ask(kd, PK_CALL_NLIST, &call);
	free(names);
	return failed ? NULL : call.result;
}

int kvm_nlist(kvm_t *kd, struct nlist *nl)
{
	size_t count;
	int missing = 0;
	pk_name *found = look_up(kd, nl, sizeof(*nl), "kvm_nlist", &count);

	if (found == NULL)
		return -1;
	for (size_t i = 0; i < count; i++) {
		nl[i].n_type = (unsigned char)found[i].type;
		nl[i].n_other = (char)found[i].other;
		nl[i].n_desc = (short)found[i].desc;
		nl[i].n_value = found[i].value;
		missing += found[i].missing;
	}
	free(found);
	return missing;
}

int kvm_nlist2(kvm_t *kd, struct kvm_nlist *nl)
{
	size_t count;
	int missing = 0;
	pk_name *found = look_up(kd, nl, sizeof(*nl), "kvm_nlist2", &count);

	if (found == NULL)
		return -1;
	for (size_t i = 0; i < count; i++) {
		nl[i].n_type = (unsigned char)found[i].type;
		nl[i].n_value = found[i].value;
		missing += found[i].missing;
	}
	free(found);
	return missing;
}

int kvm_walk_pages(kvm_t *kd, kvm_walk_pages_cb_t *callback, void *closure)
{
	pk_call call;

	if (kd == NULL || callback == NULL) {
		libkvm_refuse(kd, "kvm_walk_pages");
		return 0;
	}
	libkvm_blank(&call);
	memcpy(&call.function, &callback, sizeof(callback));
	call.closure = closure;
	return libkvm_ask(kd, PK_CALL_WALK, &call) == 0 ? (int)call.count : 0;
}

int kvm_dump_mkheader(kvm_t *kd, int64_t offset)
{
	pk_call call;

	if (kd == NULL) {
		libkvm_refuse(kd, "kvm_dump_mkheader");
		return -1;
	}
	libkvm_blank(&call);
	call.text[0] = "kvm_dump_mkheader";
	call.number[0] = offset;
	const int failed = libkvm_ask(kd, PK_CALL_DUMP, &call);
	return failed ? -1 : (int)call.count;
}

/* Leaves the header in call->result, which is the caller's to free. */
static int dump_header(kvm_t *kd, int dumpsize, pk_call *call)
{
	libkvm_blank(call);
	call->text[0] = "kvm_dump_wrtheader";
	call->number[0] = dumpsize;
	return libkvm_ask(kd, PK_CALL_DUMP, call);
}

int kvm_dump_wrtheader(kvm_t *kd, FILE *fp, int dumpsize)
{
	pk_call call;
	int written = -1;

	if (kd == NULL || fp == NULL) {
		libkvm_refuse(kd, "kvm_dump_wrtheader");
		return -1;
	}
	if (dump_header(kd, dumpsize, &call) != 0)
		return -1;
	if (fwrite(call.result, 1, call.result_size, fp) == call.result_size)
		written = (int)call.result_size;
	else
		libkvm_report(kd, strerror(errno), 0);
	free(call.result);
	return written;
}

int kvm_dump_header(kvm_t *kd, bool (*write_buf)(void *, const void *, size_t), void *cookie, int dumpsize)
{
	pk_call call;
	int written = -1;

	if (kd == NULL || write_buf == NULL) {
		libkvm_refuse(kd, "kvm_dump_header");
		return -1;
	}
	if (dump_header(kd, dumpsize, &call) != 0)
		return -1;
	if (write_buf(cookie, call.result, call.result_size))
		written = (int)call.result_size;
	else
		libkvm_report(kd, "kvm_dump_header: the header was not taken", 0);
	free(call.result);
	return written;
}

const char *kvm_getkernelname(kvm_t *kd)
{
	pk_call call;

	if (kd == NULL) {
		libkvm_refuse(kd, "kvm_getkernelname");
		return NULL;
	}
	libkvm_blank(&call);
	return libkvm_ask(kd, PK_CALL_KERNELNAME, &call) == 0 ? libkvm_keep(kd, SLOT_KERNEL, call.result) : NULL;
}

int kvm_dump_inval(kvm_t *kd)
{
	pk_call call;

	if (kd == NULL) {
		libkvm_refuse(kd, "kvm_dump_inval");
		return -1;
	}
	libkvm_blank(&call);
	call.text[0] = "kvm_dump_inval";
	return libkvm_ask(kd, PK_CALL_DUMP, &call) == 0 ? (int)call.count : -1;
}
