/* What the files of the C core share. The interface itself is in decl/, which
   the cffi build reads too. */
#ifndef PK_CORE_H
#define PK_CORE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "decl/fault.h"
#include "decl/image.h"
#include "decl/mmu.h"
#include "decl/space.h"
#include "decl/symtab.h"

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
}

/* image.c: where the bytes of addr lie in mapped memory, and how many follow
   there in one piece; NULL if they are not mapped or not there. */
const uint8_t *pk_image_window(const pk_image *image, uint64_t addr, uint64_t *avail);
int pk_image_is_mapped(const pk_image *image);
pk_image *pk_image_ref(pk_image *image);

/* mmu.c: *pa and *left (bytes to the end of the page), or a fault; 1 or 0. */
int pk_mmu_translate(const pk_mmu *mmu, const pk_image *image, uint64_t va, uint64_t *pa, uint64_t *left,
                     pk_fault *fault);
pk_mmu *pk_mmu_ref(pk_mmu *mmu);

/* pmeg.c */
typedef struct pk_pmeg pk_pmeg;
pk_pmeg *pk_pmeg_new(const pk_pmeg_shape *shape, const uint16_t *seg_pmeg, const uint8_t *seg_npte,
                     const uint32_t *ptes);
void pk_pmeg_free(pk_pmeg *p);
int pk_pmeg_translate(const pk_pmeg *p, uint64_t va, uint64_t *pa, uint64_t *left);

#endif
