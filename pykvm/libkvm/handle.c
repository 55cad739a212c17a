/* kvm_open(3), kvm_geterr(3): handles, and what goes between them and Python. */
#define _GNU_SOURCE

#include <errno.h>

#include "libkvm.h"

static void *room(pk_call *call, uint64_t size)
{
	free(call->result);
	call->result_size = size;
	call->result = size > SIZE_MAX - 1 ? NULL : calloc(1, (size_t)size + 1);	/* never of no size */
	return call->result;
}

void libkvm_blank(pk_call *call)
{
	memset(call, 0, offsetof(pk_call, message));
	call->message[0] = '\0';
	call->status = -1;	/* until it is answered */
	call->room = room;
}

void libkvm_report(kvm_t *kd, const char *message, int soft)
{
	if (kd->program != NULL && !soft) {
		fprintf(stderr, "%s: %s\n", kd->program, message);
		return;
	}
	pthread_mutex_lock(&kd->lock);
	snprintf(kd->message, sizeof(kd->message), "%s", message);
	pthread_mutex_unlock(&kd->lock);
}

void libkvm_refuse(kvm_t *kd, const char *what)
{
	char message[128];

	if (kd != NULL) {
		snprintf(message, sizeof(message), "%s: %s", what, strerror(EINVAL));
		libkvm_report(kd, message, 0);
	}
	errno = EINVAL;
}

int libkvm_ask(kvm_t *kd, uint32_t op, pk_call *call)
{
	char message[LIBKVM_ERRBUF];
	const pk_capi *capi = libkvm_capi(message);

	call->op = op;
	call->handle = kd->number;
	if (capi == NULL) {
		call->status = -1;
		libkvm_report(kd, message, 0);
		return -1;
	}
	capi->call(call);
	if (call->space != NULL) {	/* there may be memory now, or it lies elsewhere */
		kd->read = call->read;
		kd->quick = call->quick;
		kd->write = call->write;
		kd->space = call->space;
	}
	if (call->interrupted)
		libkvm_interrupt();
	if (call->message[0] != '\0')
		libkvm_report(kd, call->message, call->soft);
	if (call->status != 0) {
		free(call->result);
		call->result = NULL;
		return -1;
	}
	return 0;
}

void *libkvm_keep(kvm_t *kd, enum libkvm_slot slot, void *result)
{
	void *before;

	pthread_mutex_lock(&kd->lock);
	before = kd->kept[slot];
	kd->kept[slot] = result;
	pthread_mutex_unlock(&kd->lock);
	free(before);
	return result;
}

static void forget(kvm_t *kd)
{
	for (int i = 0; i < SLOTS; i++)
		free(kd->kept[i]);
	pthread_mutex_destroy(&kd->lock);
	free(kd->program);
	free(kd);
}

/* A handle that is not open yet; NULL: out of memory. */
static kvm_t *make(const char *program)
{
	kvm_t *kd = calloc(1, sizeof(*kd));

	if (kd == NULL)
		return NULL;
	if (program != NULL && (kd->program = strdup(program)) == NULL) {
		free(kd);
		return NULL;
	}
	pthread_mutex_init(&kd->lock, NULL);
	return kd;
}

/* Open it: the handle, or NULL with the message where it belongs. */
static kvm_t *opened(kvm_t *kd, pk_call *call, char *errbuf)
{
	if (kd == NULL) {
		if (errbuf != NULL)
			snprintf(errbuf, LIBKVM_ERRBUF, "%s", strerror(ENOMEM));
		return NULL;
	}
	if (libkvm_ask(kd, PK_CALL_OPEN, call) == 0) {
		kd->number = (uint64_t)call->count;
		return kd;
	}
	if (errbuf != NULL)
		snprintf(errbuf, LIBKVM_ERRBUF, "%s", kd->message);
	forget(kd);
	return NULL;
}

static void files(pk_call *call, const char *kernel, const char *core, const char *swap, int flags)
{
	libkvm_blank(call);
	call->text[0] = kernel;
	call->text[1] = core;
	call->text[2] = swap;
	call->number[0] = (unsigned int)flags;
}

kvm_t *kvm_open(const char *kernel, const char *core, const char *swap, int flags, const char *errstr)
{
	pk_call call;

	files(&call, kernel, core, swap, flags);
	return opened(make(errstr), &call, NULL);
}

kvm_t *kvm_openfiles(const char *kernel, const char *core, const char *swap, int flags, char *errbuf)
{
	pk_call call;

	files(&call, kernel, core, swap, flags);
	return opened(make(NULL), &call, errbuf);
}

kvm_t *kvm_open2(const char *kernel, const char *core, int flags, char *errbuf,
    int (*resolver)(const char *, kvaddr_t *))
{
	pk_call call;

	files(&call, kernel, core, NULL, flags);
	call.number[1] = 1;	/* by FreeBSD's rules */
	memcpy(&call.function, &resolver, sizeof(resolver));
	return opened(make(NULL), &call, errbuf);
}

int kvm_close(kvm_t *kd)
{
	pk_call call;

	if (kd == NULL) {
		errno = EINVAL;
		return -1;
	}
	libkvm_blank(&call);
	const int failed = libkvm_ask(kd, PK_CALL_CLOSE, &call);
	free(call.result);
	forget(kd);
	return failed;
}

char *kvm_geterr(kvm_t *kd)
{
	static char none[1];	/* stays empty: a message has no handle to belong to */

	if (kd == NULL) {
		none[0] = '\0';
		return none;
	}
	return kd->message;
}
