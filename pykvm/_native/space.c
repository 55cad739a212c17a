/* A kernel's virtual memory: translation, the software TLB, bulk transfers. */
#include "core.h"

#define GRANULE_SHIFT 12
#define GRANULE ((uint64_t)1 << GRANULE_SHIFT)
#define TLB_SIZE 16384u

/* An entry holds its datum and the datum XORed with the page number. A reader
   that sees halves of two writers' stores finds that they do not match and takes
   the slow way, so no lock is needed. Datum: where the page is mapped in the
   host, or for images that are not mapped its physical address | 1. */
typedef struct {
    _Atomic uint64_t key;
    _Atomic uint64_t datum;
} tlb_entry;

struct pk_space {
    pk_image *image;
    pk_mmu *mmu;
    uint64_t va_mask;
    int big_endian;
    int mapped;
    atomic_int closed;
    tlb_entry tlb[TLB_SIZE];
};

pk_space *pk_space_new(pk_image *image, pk_mmu *mmu, uint64_t va_mask, int big_endian)
{
    /* calloc gives untouched pages: the TLB costs memory only where it is used. */
    pk_space *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->image = pk_image_ref(image);
    s->mmu = pk_mmu_ref(mmu);
    s->va_mask = va_mask;
    s->big_endian = big_endian;
    s->mapped = pk_image_is_mapped(image);
    return s;
}

void pk_space_free(pk_space *s)
{
    if (s == NULL)
        return;
    pk_image_unref(s->image);
    pk_mmu_unref(s->mmu);
    free(s);
}

void pk_space_close(pk_space *s)
{
    atomic_store(&s->closed, 1);
}

static inline uint64_t tlb_lookup(pk_space *s, uint64_t page)
{
    tlb_entry *e = &s->tlb[page % TLB_SIZE];
    uint64_t datum = atomic_load_explicit(&e->datum, memory_order_relaxed);
    uint64_t key = atomic_load_explicit(&e->key, memory_order_relaxed);

    return (key ^ datum) == page ? datum : 0;
}

static inline void tlb_store(pk_space *s, uint64_t page, uint64_t datum)
{
    tlb_entry *e = &s->tlb[page % TLB_SIZE];

    atomic_store_explicit(&e->key, page ^ datum, memory_order_relaxed);
    atomic_store_explicit(&e->datum, datum, memory_order_relaxed);
}

/* Translate through MMU and remember what was found for the whole granule. */
static int translate_slow(pk_space *s, uint64_t va, uint64_t *pa, uint64_t *left, pk_fault *fault)
{
    const uint64_t inside = va & (GRANULE - 1);

    if (atomic_load_explicit(&s->closed, memory_order_relaxed)) {
        pk_set_fault(fault, PK_ECLOSED, va, 0);
        return 0;
    }
    if (va > s->va_mask) {
        pk_set_fault(fault, PK_EADDR, va, 0);
        return 0;
    }
    if (!pk_mmu_translate(s->mmu, s->image, va, pa, left, fault))
        return 0;
    fault->status = PK_OK;
    if (inside + *left >= GRANULE && *pa >= inside && ((*pa - inside) & (GRANULE - 1)) == 0) {
        if (s->mapped) {
            uint64_t avail;
            const uint8_t *p = pk_image_window(s->image, *pa - inside, &avail);
            if (p != NULL && avail >= GRANULE)
                tlb_store(s, va >> GRANULE_SHIFT, (uint64_t)(uintptr_t)p);
        } else {
            tlb_store(s, va >> GRANULE_SHIFT, (*pa - inside) | 1);
        }
    }
    return 1;
}

/* Where `n` bytes at va are mapped, if the TLB knows and they lie in one granule. */
static inline const uint8_t *fast(pk_space *s, uint64_t va, uint64_t n)
{
    const uint64_t inside = va & (GRANULE - 1);
    uint64_t datum;

    if (inside + n > GRANULE || !s->mapped || atomic_load_explicit(&s->closed, memory_order_relaxed))
        return NULL;
    datum = tlb_lookup(s, va >> GRANULE_SHIFT);
    return datum == 0 ? NULL : (const uint8_t *)(uintptr_t)datum + inside;
}

uint64_t pk_space_translate(pk_space *s, uint64_t va, uint64_t *left, pk_fault *fault)
{
    uint64_t pa = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    return translate_slow(s, va, &pa, left, fault) ? pa : 0;
}

uint64_t pk_space_read(pk_space *s, uint64_t va, void *buf, uint64_t n, pk_fault *fault)
{
    uint64_t done = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    while (done < n) {
        /* Only what follows the first byte wraps: a start beyond the target's
           address width is an error of the caller. */
        const uint64_t at = done == 0 ? va : (va + done) & s->va_mask;
        uint64_t pa, left, want = n - done, in_granule = GRANULE - (at & (GRANULE - 1));
        const uint8_t *p = fast(s, at, want < in_granule ? want : in_granule);

        if (p != NULL) {
            const uint64_t step = want < in_granule ? want : in_granule;
            memcpy((char *)buf + done, p, (size_t)step);
            done += step;
            continue;
        }
        if (!s->mapped) {
            const uint64_t datum = tlb_lookup(s, at >> GRANULE_SHIFT);
            if (datum != 0 && !atomic_load_explicit(&s->closed, memory_order_relaxed)) {
                pa = (datum & ~(uint64_t)1) + (at & (GRANULE - 1));
                left = in_granule;
                goto have_pa;
            }
        }
        if (!translate_slow(s, at, &pa, &left, fault))
            return done;
    have_pa:
        if (want > left)
            want = left;
        done += pk_image_read(s->image, pa, (char *)buf + done, want, fault);
        if (fault->status != PK_OK)
            return done;
    }
    return done;
}

static void tlb_flush(pk_space *s)
{
    for (size_t i = 0; i < TLB_SIZE; i++) {
        atomic_store_explicit(&s->tlb[i].datum, 0, memory_order_relaxed);
        atomic_store_explicit(&s->tlb[i].key, 0, memory_order_relaxed);
    }
}

static uint64_t write_pages(pk_space *s, uint64_t va, const void *buf, uint64_t n, pk_fault *fault)
{
    uint64_t done = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    while (done < n) {
        const uint64_t at = done == 0 ? va : (va + done) & s->va_mask;
        uint64_t pa, left, want = n - done;

        if (!translate_slow(s, at, &pa, &left, fault))
            return done;
        if (want > left)
            want = left;
        done += pk_image_write(s->image, pa, (const char *)buf + done, want, fault);
        if (fault->status != PK_OK)
            return done;
    }
    return done;
}

uint64_t pk_space_write(pk_space *s, uint64_t va, const void *buf, uint64_t n, pk_fault *fault)
{
    const uint64_t done = write_pages(s, va, buf, n, fault);

    /* What was written may have been a page table. */
    tlb_flush(s);
    return done;
}

static uint64_t value(pk_space *s, uint64_t va, unsigned size)
{
    uint8_t raw[8];
    pk_fault fault;
    const uint8_t *p = fast(s, va, size);

    if (p == NULL) {
        if (pk_space_read(s, va, raw, size, &fault) != size)
            return PK_MISS;
        p = raw;
    }
    return pk_load(p, size, s->big_endian);
}

static int64_t small_value(pk_space *s, uint64_t va, unsigned size)
{
    const uint64_t v = value(s, va, size);

    return v == PK_MISS ? -1 : (int64_t)v;
}

int64_t pk_space_u8(pk_space *s, uint64_t va) { return small_value(s, va, 1); }
int64_t pk_space_u16(pk_space *s, uint64_t va) { return small_value(s, va, 2); }
int64_t pk_space_u32(pk_space *s, uint64_t va) { return small_value(s, va, 4); }
uint64_t pk_space_u64(pk_space *s, uint64_t va) { return value(s, va, 8); }

static int64_t signed_value(pk_space *s, uint64_t va, unsigned size)
{
    const uint64_t v = value(s, va, size), sign = (uint64_t)1 << (size * 8 - 1);

    return v == PK_MISS ? (int64_t)v : (int64_t)((v ^ sign) - sign);
}

int64_t pk_space_i8(pk_space *s, uint64_t va) { return signed_value(s, va, 1); }
int64_t pk_space_i16(pk_space *s, uint64_t va) { return signed_value(s, va, 2); }
int64_t pk_space_i32(pk_space *s, uint64_t va) { return signed_value(s, va, 4); }
int64_t pk_space_i64(pk_space *s, uint64_t va) { return signed_value(s, va, 8); }

uint64_t pk_space_cstr(pk_space *s, uint64_t va, char *buf, uint64_t limit, pk_fault *fault)
{
    uint64_t done = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    while (done < limit) {
        const uint64_t at = done == 0 ? va : (va + done) & s->va_mask;
        uint64_t step = GRANULE - (at & (GRANULE - 1)), got;
        const char *nul;

        if (step > limit - done)
            step = limit - done;
        got = pk_space_read(s, at, buf + done, step, fault);
        nul = memchr(buf + done, 0, (size_t)got);
        if (nul != NULL) {
            fault->status = PK_OK;
            return (uint64_t)(nul - buf);
        }
        done += got;
        if (got < step)
            return done;
    }
    return done;
}

uint64_t pk_space_gather(pk_space *s, const uint64_t *addrs, uint64_t count, uint64_t size, void *dst,
                         uint64_t stride, uint8_t *ok, pk_fault *fault)
{
    char *out = dst;

    pk_set_fault(fault, PK_OK, 0, 0);
    for (uint64_t i = 0; i < count; i++, out += stride) {
        const uint8_t *p = fast(s, addrs[i], size);
        int good = 1;

        if (p != NULL) {
            /* Copies of known size are one instruction each. */
            if (size == 8)
                memcpy(out, p, 8);
            else if (size == 4)
                memcpy(out, p, 4);
            else
                memcpy(out, p, (size_t)size);
        } else if (pk_space_read(s, addrs[i], out, size, fault) != size) {
            if (ok == NULL)
                return i;
            memset(out, 0, (size_t)size);
            good = 0;
        }
        if (ok != NULL)
            ok[i] = (uint8_t)good;
    }
    pk_set_fault(fault, PK_OK, 0, 0);
    return count;
}
