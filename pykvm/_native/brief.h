/* For the wrappers that cffi writes: how they call what is shorter than the call. What is done here to all of them,
   or to those that are brief, is 45 of the 145 ns of a kd.read_u64 (CPython 3.11). */
#ifndef PK_BRIEF_H
#define PK_BRIEF_H

#include <string.h>

static inline int pk_begins(const char *wrapper, const char *name)
{
    return strncmp(wrapper, name, strlen(name)) == 0;
}

/* Brief calls keep the GIL: to let go of it and take it again costs more than to read a word of memory that is mapped.
   Longer reads, gather and the walks let others run meanwhile, as cffi's wrappers do by themselves. */
static inline int pk_is_brief(const char *wrapper)
{
    return pk_begins(wrapper, "_cffi_f_pk_word_") || strcmp(wrapper, "_cffi_f_pk_space_window") == 0 ||
           strcmp(wrapper, "_cffi_f_pk_image_window") == 0 || strcmp(wrapper, "_cffi_f_pk_symtab_value") == 0;
}

#undef Py_BEGIN_ALLOW_THREADS
#undef Py_END_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS { PyThreadState *pk_state = pk_is_brief(__func__) ? NULL : PyEval_SaveThread();
#define Py_END_ALLOW_THREADS if (pk_state != NULL) PyEval_RestoreThread(pk_state); }

/* The core says in pk_fault what went wrong, so nobody asks for cffi's errno of each thread. */
#undef _cffi_restore_errno
#undef _cffi_save_errno
#define _cffi_restore_errno() ((void)0)
#define _cffi_save_errno() ((void)0)

/* Nearly every number is an int, which needs no look at what else it might be. */
static inline unsigned long long pk_to_u64(PyObject *number)
{
    if (!PyLong_CheckExact(number))
        return ((unsigned long long (*)(PyObject *))_cffi_exports[8])(number);
    /* CPython 3.11 is slower at unsigned long long. */
    return sizeof(unsigned long) == 8 ? PyLong_AsUnsignedLong(number) : PyLong_AsUnsignedLongLong(number);
}
#undef _cffi_to_c_u64
#define _cffi_to_c_u64 pk_to_u64

/* A brief call's PK_MISS is None, which Python tells sooner than it compares numbers. */
static inline PyObject *pk_from_int(const char *wrapper, unsigned long long value, int is_unsigned)
{
    if (value == PK_MISS && pk_is_brief(wrapper)) {
        Py_INCREF(Py_None);
        return Py_None;
    }
    return is_unsigned ? PyLong_FromUnsignedLongLong(value) : PyLong_FromLongLong((long long)value);
}
#undef _cffi_from_c_int
#define _cffi_from_c_int(value, type) pk_from_int(__func__, (unsigned long long)(value), (type)-1 > 0)

#endif
