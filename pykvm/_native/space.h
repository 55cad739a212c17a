/* A space from inside, and the quick way to what its software TLB knows (space.c, words.c). */
#ifndef PYKVM_SPACE_H
#define PYKVM_SPACE_H
#include "core.h"

#define GRANULE_SHIFT 12
#define GRANULE ((uint64_t)1 << GRANULE_SHIFT)
#define LARGE_SHIFT 21
#define LARGE ((uint64_t)1 << LARGE_SHIFT)
#define LARGE_SIZE 256u

/* A granule of virtual memory that was read before, and where it lies in the
   host's memory (see pk_view). `check` is made of the page number and the other
   words: a reader that sees words of two writers finds that they do not fit and
   takes the slow way, so no lock is needed. */
typedef struct {
    _Atomic uint64_t check, data, seq, ticket;
} tlb_entry;

/* Virtual addresses that lie in file 0 as they are (see pk_space_direct). */
typedef struct {
    uint64_t start, last, offset;
    int sure;
} direct_range;

struct pk_space {
    pk_image *image;
    pk_mmu *mmu;
    uint64_t va_mask;
    int big_endian;
    atomic_int closed;
    uint32_t ndirect;
    direct_range direct[PK_DIRECT_MAX];
    atomic_int has_large;           /* there is something in `large` */
    tlb_entry large[LARGE_SIZE];    /* whole large pages, of files that are mapped */
    uint32_t last;                  /* entries - 1 */
    tlb_entry tlb[];
};

static inline uint64_t check_of(uint64_t page, uint64_t data, uint64_t seq, uint64_t ticket)
{
    /* Spread, so that pages whose numbers differ as their places do are told apart. */
    return (page + 1) * 0x9e3779b97f4a7c15u ^ data ^ seq ^ ticket << 32;
}

/* The entry of a page. A kernel's regions begin at round addresses: by their lowest bits alone, pages at the same
   place in two of them would forever push each other out. */
static inline tlb_entry *slot_of(pk_space *s, uint64_t page)
{
    return &s->tlb[(page ^ page >> 14 ^ page >> 28) & s->last];
}

/* Where else it may be: pages of two long regions would meet at all their places, if they do at the first. */
static inline tlb_entry *second_slot_of(pk_space *s, uint64_t page)
{
    return &s->tlb[(page * 0x9e3779b97f4a7c15u >> 32) & s->last];
}

/* Where a page lies, if this entry is of it; else NULL. */
static inline const uint8_t *hit(const tlb_entry *e, uint64_t page, uint64_t *seq, uint64_t *ticket)
{
    const uint64_t data = atomic_load_explicit(&e->data, memory_order_relaxed);

    *seq = atomic_load_explicit(&e->seq, memory_order_relaxed);
    *ticket = atomic_load_explicit(&e->ticket, memory_order_relaxed);
    return atomic_load_explicit(&e->check, memory_order_acquire) == check_of(page, data, *seq, *ticket)
               ? (const uint8_t *)(uintptr_t)data
               : NULL;
}

/* Where n bytes of one page lie, if the TLB knows; else NULL. */
static inline __attribute__((always_inline)) const uint8_t *known(pk_space *s, uint64_t va, uint64_t n, uint64_t *seq,
                                                                  uint64_t *ticket)
{
    const uint64_t page = va >> GRANULE_SHIFT, large = va >> LARGE_SHIFT;
    const uint8_t *p;

    if (atomic_load_explicit(&s->closed, memory_order_relaxed))
        return NULL;
    if (atomic_load_explicit(&s->has_large, memory_order_relaxed)) {
        p = hit(&s->large[large % LARGE_SIZE], large, seq, ticket);
        if (p != NULL && (va & (LARGE - 1)) + n <= LARGE)
            return p + (va & (LARGE - 1));
    }
    p = hit(slot_of(s, page), page, seq, ticket);
    if (p == NULL)
        p = hit(second_slot_of(s, page), page, seq, ticket);
    return p != NULL && (va & (GRANULE - 1)) + n <= GRANULE ? p + (va & (GRANULE - 1)) : NULL;
}

/* GCC makes a copy of up to a page `rep movs`, which takes longer to begin than most copies take, and lets no read begin
   before it has ended: so only where n is known it is its own. */
static inline void copy(void *to, const uint8_t *from, uint64_t n)
{
    if (__builtin_constant_p(n))
        memcpy(to, from, (size_t)n);
    else
        memmove(to, from, (size_t)n);
}

/* Copy n bytes from where known() found them, unless they are there no more. */
static inline int take(const uint8_t *p, uint64_t seq, uint64_t ticket, void *buf, uint64_t n)
{
    if (p == NULL)
        return 0;
    copy(buf, p, n);
    if (seq == 0)
        return 1;
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit((const _Atomic uint32_t *)(uintptr_t)seq, memory_order_relaxed) == (uint32_t)ticket;
}

/* Copy n bytes that lie in one granule, if the TLB knows where. */
static inline int quick(pk_space *s, uint64_t va, void *buf, uint64_t n)
{
    uint64_t seq, ticket;
    const uint8_t *p = known(s, va, n, &seq, &ticket);

    return take(p, seq, ticket, buf, n);
}

/* The direct range of an address; NULL: it is in none. */
static inline const direct_range *direct_of(const pk_space *s, uint64_t va)
{
    for (uint32_t i = 0; i < s->ndirect; i++)
        if (va - s->direct[i].start <= s->direct[i].last - s->direct[i].start)
            return &s->direct[i];
    return NULL;
}

/* Read n bytes of what is sure to be what the file has; 1, or 0: the slow way knows why not. */
static inline int quick_direct(pk_space *s, uint64_t va, void *buf, uint64_t n)
{
    const direct_range *r = direct_of(s, va);
    pk_fault fault;

    if (r == NULL || !r->sure || n == 0 || n - 1 > r->last - va ||
        atomic_load_explicit(&s->closed, memory_order_relaxed))
        return 0;
    return pk_file_move(&s->image->files[0], r->offset + (va - r->start), buf, NULL, n, va, &fault) == n;
}

#endif
