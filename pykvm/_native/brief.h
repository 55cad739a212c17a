/* For the wrappers that cffi writes: which calls keep the GIL. Letting go of it
   and taking it again costs some 45 of the 125 ns of a call (CPython 3.11), more
   than it takes to read a word of memory that is mapped. Longer reads, gather and
   the walks let others run meanwhile, as cffi's wrappers do by themselves. */
#ifndef PK_BRIEF_H
#define PK_BRIEF_H

#include <string.h>

static inline int pk_is_brief(const char *wrapper)
{
    return strncmp(wrapper, "_cffi_f_pk_word_", 16) == 0 || strcmp(wrapper, "_cffi_f_pk_space_window") == 0 ||
           strcmp(wrapper, "_cffi_f_pk_image_window") == 0 || strcmp(wrapper, "_cffi_f_pk_symtab_value") == 0;
}

#undef Py_BEGIN_ALLOW_THREADS
#undef Py_END_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS { PyThreadState *pk_state = pk_is_brief(__func__) ? NULL : PyEval_SaveThread();
#define Py_END_ALLOW_THREADS if (pk_state != NULL) PyEval_RestoreThread(pk_state); }

#endif
