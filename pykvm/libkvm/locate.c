/* Where the package is that this library belongs to. */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "start.h"

/* libkvm.so lies there when it lies in its package. A copy elsewhere has no package: what lies about there is not ours. */
static const char *const FOLDERS[] = { "libkvm", "pykvm" };

static char *directory;

/* The path of a library may be relative, so it is taken before the program goes elsewhere. */
static __attribute__((constructor)) void locate(void)
{
	Dl_info info;

	if (dladdr((void *)&directory, &info) == 0 || info.dli_fname == NULL)
		return;
	char *path = realpath(info.dli_fname, NULL);
	char *slash = path == NULL ? NULL : strrchr(path, '/');

	for (size_t i = 0; slash != NULL && i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
		*slash = '\0';
		slash = strrchr(path, '/');
		if (slash != NULL && strcmp(slash + 1, FOLDERS[i]) != 0)
			slash = NULL;
	}
	if (slash == NULL) {
		free(path);
		return;
	}
	slash[slash == path] = '\0';
	directory = path;
}

const char *libkvm_directory(void)
{
	return directory == NULL ? "" : directory;
}
