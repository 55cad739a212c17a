/* What the files of the C core share. The interface itself is in decl/, which
   the cffi build reads too. */
#ifndef PK_CORE_H
#define PK_CORE_H

#include <stdatomic.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "decl/btf.h"
#include "decl/ctf.h"
#include "decl/dirfiles.h"
#include "decl/fault.h"
#include "decl/find.h"
#include "decl/image.h"
#include "decl/lzw.h"
#include "decl/minidump.h"
#include "decl/mmu.h"
#include "decl/pages.h"
#include "decl/space.h"
#include "decl/symtab.h"
#include "decl/kallsyms.h"
#include "decl/ksymtab.h"
#include "decl/nmlist.h"
#include "decl/capi.h"

static inline uint64_t pk_swap64(uint64_t v) { return __builtin_bswap64(v); }

/* Integers of a given size and byte order at any alignment. */
static inline uint64_t pk_load(const void *p, unsigned size, int big_endian)
{
    const int swap = big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    uint16_t h;
    uint32_t w;
    uint64_t d;

    switch (size) {
    case 1:
        return *(const uint8_t *)p;
    case 2:
        memcpy(&h, p, 2);
        return swap ? __builtin_bswap16(h) : h;
    case 4:
        memcpy(&w, p, 4);
        return swap ? __builtin_bswap32(w) : w;
    default:
        memcpy(&d, p, 8);
        return swap ? pk_swap64(d) : d;
    }
}

static inline void pk_set_fault(pk_fault *f, int status, uint64_t addr, int os_error)
{
    f->status = status;
    f->addr = addr;
    f->os_error = os_error;
    f->table = 0;
    f->why = 0;
    f->reserved = 0;
}

/* image.c */
typedef struct {
    int fd;
    uint64_t start;         /* of its contents in the host's file */
    uint64_t size;
    const uint8_t *map;     /* of its contents; NULL where the host could not map it */
    pthread_mutex_t *one;   /* not NULL: only one thread may read it at a time */
} pk_file;

/* A piece of an image in the host's memory. With `seq` it is that piece only as
   long as *seq is `ticket`: who copies from it looks again afterwards. */
typedef struct {
    const uint8_t *data;
    uint64_t avail;                 /* bytes that follow in one piece */
    const _Atomic uint32_t *seq;    /* NULL: it stays what it is */
    uint32_t ticket;
} pk_view;

/* What a kind of image does; each is a file of its own. */
typedef struct {
    /* Move the first part of a transfer (to rbuf or from wbuf, one of them NULL)
       that is one piece in this image; bytes moved, fault->status set if that is
       all there is. */
    uint64_t (*move)(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n, pk_fault *fault);
    /* Where the bytes of addr lie in the host's memory; 0 if they do not (yet). */
    int (*view)(const pk_image *image, uint64_t addr, pk_view *view);
    void (*free)(void *kind);
    int writable;
} pk_image_ops;

struct pk_image {
    atomic_int refs;
    uint32_t nfiles;
    pk_file *files;
    int zero_excluded;
    int live;
    uint32_t through;           /* the file + 1 that is written to instead; 0: none */
    const pk_image_ops *ops;    /* NULL: no memory yet */
    void *kind;
};

void pk_image_become(pk_image *image, const pk_image_ops *ops, void *kind);
int pk_image_view(const pk_image *image, uint64_t addr, pk_view *view);
pk_image *pk_image_ref(pk_image *image);
/* A read of memory that was left out: n zeros, or 0 bytes and the fault. */
uint64_t pk_image_absent(const pk_image *image, uint64_t addr, void *rbuf, uint64_t n, pk_fault *fault);
/* Up to n bytes between a file and memory; `addr` is what a fault names. */
uint64_t pk_file_move(const pk_file *file, uint64_t off, void *rbuf, const void *wbuf, uint64_t n, uint64_t addr,
                      pk_fault *fault);

/* bitmap.c: a bitmap in a file. With swap_words it is made of big-endian words of 32
   (4) or 64 bits, of which bit i is 1 << i. 1; 0 out of memory; -1 not in the file. */
typedef struct {
    uint64_t nbits, total;      /* bits, and how many are set */
    const uint8_t *bits;
    uint8_t *own;
    uint32_t *counts;
} pk_bitmap;

int pk_bitmap_open(pk_bitmap *b, const pk_image *image, uint32_t file, uint64_t offset, uint64_t nbits,
                   int swap_words);
void pk_bitmap_close(pk_bitmap *b);
/* How many bits are set before bit i. */
uint64_t pk_bitmap_rank(const pk_bitmap *b, uint64_t i);
static inline int pk_bitmap_bit(const pk_bitmap *b, uint64_t i)
{
    return b->bits[i >> 3] >> (i & 7) & 1;
}

/* pagecache.c: expanded pages, bounded; any thread may use it. */
typedef struct pk_pagecache pk_pagecache;
pk_pagecache *pk_pagecache_new(uint32_t page_size, uint32_t bytes);
void pk_pagecache_free(pk_pagecache *cache);
/* Bytes of a page, if it is there. */
int pk_pagecache_get(const pk_pagecache *cache, uint64_t pfn, uint32_t inside, void *buf, uint32_t n);
int pk_pagecache_view(const pk_pagecache *cache, uint64_t pfn, uint32_t inside, pk_view *view);
/* Room to expand a page into, which pk_pagecache_end then publishes or (not good)
   gives back; NULL if another thread has it. */
uint8_t *pk_pagecache_begin(pk_pagecache *cache, uint64_t pfn, uint32_t *slot);
void pk_pagecache_end(pk_pagecache *cache, uint32_t slot, uint64_t pfn, int good);

/* parallel.c: call work(job, index) for 0 ... count - 1 on as many threads as the
   host has CPUs, until one fails; the first index that failed, or count. */
uint64_t pk_parallel(uint64_t count, int (*work)(void *job, void *own, uint64_t index), void *job, size_t own_size,
                     void (*done)(void *own));

/* names.c: items (0 ... count - 1) by name. heads: the first item + 1 of each bucket, next: that which follows each. */
typedef struct {
    uint32_t *heads, *next;
    uint32_t mask;
} pk_names;

/* 1, or 0: out of memory. Closed in either case. */
int pk_names_open(pk_names *n, uint32_t count);
void pk_names_close(pk_names *n);
/* An item goes in front of those of its bucket. The name ends with a NUL or after `left` bytes. */
void pk_names_put(pk_names *n, uint32_t item, const char *name, uint64_t left);
/* The first item + 1 that may have this name, or 0; next[item] is the one behind it. */
uint32_t pk_names_first(const pk_names *n, const char *name);

/* codec.c: expanders that are kept between pages. Any thread may use them. */
typedef struct {
    _Atomic(void *) inflate;
    _Atomic(void *) zstd;
} pk_codecs;

int pk_codec_expand(pk_codecs *codecs, uint32_t flags, const void *src, size_t src_size, void *dst, size_t dst_size);
void pk_codecs_free(pk_codecs *codecs);
/* lzo.c: 1 if src expands to exactly dst_size bytes. */
int pk_lzo1x_expand(const uint8_t *src, size_t src_size, uint8_t *dst, size_t dst_size);

/* mmu.c: *pa and *left (bytes to the end of the page), or a fault; 1 or 0. */
int pk_mmu_translate(const pk_mmu *mmu, const pk_image *image, uint64_t va, uint64_t *pa, uint64_t *left,
                     pk_fault *fault);
pk_mmu *pk_mmu_ref(pk_mmu *mmu);

/* An entry of a page table, which may lie in the file; 1, or 0 and the status. */
int pk_mmu_load(const pk_image *image, uint64_t addr, unsigned size, int big_endian, uint64_t *out, int *why);

/* hashed.c: as pk_mmu_translate, with the fault prepared. */
int pk_hashed_translate(const pk_hashed_shape *shape, const pk_image *image, uint64_t va, uint64_t *pa, uint64_t *left,
                        pk_fault *fault);

/* symtab.c: for readers of tables in other forms. Make room for that many symbols; 1 or 0. */
int pk_symtab_reserve(pk_symtab *tab, uint64_t count);
/* Where the name of the next symbol will lie, for whoever makes it there; NULL: no room for len bytes. */
char *pk_symtab_room(pk_symtab *tab, size_t len);
/* Add a symbol (its order is not looked at); 1 or 0. is_global: of an address it is named before others. */
int pk_symtab_append(pk_symtab *tab, const pk_symbol *symbol, int is_addr, int is_global);

/* pmeg.c */
typedef struct pk_pmeg pk_pmeg;
pk_pmeg *pk_pmeg_new(const pk_pmeg_shape *shape, const uint16_t *seg_pmeg, const uint8_t *seg_npte,
                     const uint32_t *ptes);
void pk_pmeg_free(pk_pmeg *p);
int pk_pmeg_translate(const pk_pmeg *p, uint64_t va, uint64_t *pa, uint64_t *left);

#endif
