/* Between what knows Python's headers and what does not. */
#ifndef LIBKVM_START_H
#define LIBKVM_START_H

#include <stddef.h>

/* Start the Python of this library, which does not run yet: 1, or 0 with the reason. The caller has its lock then. */
int libkvm_start(void *library, char *message, size_t size);
/* The directory that has the package pykvm, absolute; "": this library lies in none. */
const char *libkvm_directory(void);

#endif
