/* A kernel's virtual memory: translation, the software TLB, bulk transfers. */
#include "core.h"

#define GRANULE_SHIFT 12
#define GRANULE ((uint64_t)1 << GRANULE_SHIFT)
#define LARGE_SHIFT 21
#define LARGE ((uint64_t)1 << LARGE_SHIFT)
#define LARGE_SIZE 256u
#define BULK ((uint64_t)1 << 16)
#define AHEAD 32u

/* A granule of virtual memory that was read before, and where it lies in the
   host's memory (see pk_view). `check` is made of the page number and the other
   words: a reader that sees words of two writers finds that they do not fit and
   takes the slow way, so no lock is needed. */
typedef struct {
    _Atomic uint64_t check, data, seq, ticket;
} tlb_entry;

struct pk_space {
    pk_image *image;
    pk_mmu *mmu;
    uint64_t va_mask;
    int big_endian;
    atomic_int closed;
    uint32_t ndirect;
    struct { uint64_t start, last; } direct[PK_DIRECT_MAX];
    atomic_int has_large;           /* there is something in `large` */
    tlb_entry large[LARGE_SIZE];    /* whole large pages, of files that are mapped */
    uint32_t last;                  /* entries - 1 */
    tlb_entry tlb[];
};

pk_space *pk_space_new(pk_image *image, pk_mmu *mmu, uint64_t va_mask, int big_endian, uint32_t entries)
{
    pk_space *s;

    if (entries == 0 || (entries & (entries - 1)) != 0)
        return NULL;
    /* calloc gives untouched pages: the TLB costs memory only where it is used. */
    s = calloc(1, sizeof(*s) + entries * sizeof(s->tlb[0]));
    if (s == NULL)
        return NULL;
    s->last = entries - 1;
    s->image = pk_image_ref(image);
    s->mmu = pk_mmu_ref(mmu);
    s->va_mask = va_mask;
    s->big_endian = big_endian;
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

int pk_space_direct(pk_space *s, uint64_t start, uint64_t last)
{
    if (s->ndirect == PK_DIRECT_MAX)
        return 0;
    s->direct[s->ndirect].start = start;
    s->direct[s->ndirect++].last = last;
    return 1;
}

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

static inline int is_free(const tlb_entry *e)
{
    return atomic_load_explicit(&e->check, memory_order_relaxed) == 0;
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

static void store(tlb_entry *e, uint64_t page, const pk_view *view)
{
    const uint64_t data = (uint64_t)(uintptr_t)view->data, seq = (uint64_t)(uintptr_t)view->seq;

    atomic_store_explicit(&e->data, data, memory_order_relaxed);
    atomic_store_explicit(&e->seq, seq, memory_order_relaxed);
    atomic_store_explicit(&e->ticket, view->ticket, memory_order_relaxed);
    /* Last: who finds it finds the page's bytes as this thread saw them. */
    atomic_store_explicit(&e->check, check_of(page, data, seq, view->ticket), memory_order_release);
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

static int translate(pk_space *s, uint64_t va, uint64_t *pa, uint64_t *left, pk_fault *fault)
{
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
    return 1;
}

/* The view of `size` bytes (a power of two) around va, if they are of one page that
   the image holds in one piece. */
static int whole(pk_space *s, uint64_t va, uint64_t pa, uint64_t size, pk_view *view)
{
    const uint64_t inside = va & (size - 1);
    uint64_t start = pa, left = 0;
    pk_fault fault;

    return pa >= inside && ((pa - inside) & (size - 1)) == 0 && pk_image_view(s->image, pa - inside, view) &&
           view->avail >= size && translate(s, va - inside, &start, &left, &fault) && start == pa - inside &&
           left >= size;
}

/* Let known() find the page of va, which is at pa with `left` bytes to go. */
static void remember(pk_space *s, uint64_t va, uint64_t pa, uint64_t left)
{
    const uint64_t page = va >> GRANULE_SHIFT, large = va >> LARGE_SHIFT;
    pk_view view;

    if (s->image->live)
        return;
    if ((va & (LARGE - 1)) + left >= LARGE && whole(s, va, pa, LARGE, &view) && view.seq == NULL) {
        store(&s->large[large % LARGE_SIZE], large, &view);
        atomic_store_explicit(&s->has_large, 1, memory_order_relaxed);
    } else if ((va & (GRANULE - 1)) + left >= GRANULE && whole(s, va, pa, GRANULE, &view)) {
        tlb_entry *first = slot_of(s, page), *second = second_slot_of(s, page);

        store(!is_free(first) && is_free(second) ? second : first, page, &view);
    }
}

uint64_t pk_space_translate(pk_space *s, uint64_t va, uint64_t *left, pk_fault *fault)
{
    uint64_t pa = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    return translate(s, va, &pa, left, fault) ? pa : 0;
}

/* Bytes from va on that are in a direct range; 0: it is in none. */
static uint64_t direct_left(const pk_space *s, uint64_t va)
{
    for (uint32_t i = 0; i < s->ndirect; i++)
        if (va >= s->direct[i].start && va <= s->direct[i].last)
            return s->direct[i].last - va == UINT64_MAX ? UINT64_MAX : s->direct[i].last - va + 1;
    return 0;
}

static int all_zeros(const uint8_t *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] != 0)
            return 0;
    return 1;
}

/* Up to n bytes of a direct range, which may end at the granule's end; how many, and the fault. Zeros, and what the host
   cannot read, may be what is not mapped: then that is the fault, and nothing was read. */
static uint64_t read_directly(pk_space *s, uint64_t va, void *buf, uint64_t n, pk_fault *fault)
{
    uint64_t pa, left, got;
    pk_fault unmapped;

    if (atomic_load_explicit(&s->closed, memory_order_relaxed)) {
        pk_set_fault(fault, PK_ECLOSED, va, 0);
        return 0;
    }
    if (n > GRANULE - (va & (GRANULE - 1)))
        n = GRANULE - (va & (GRANULE - 1));
    got = pk_image_read(s->image, va, buf, n, fault);
    if ((fault->status == PK_OK || fault->status == PK_EIO) && all_zeros(buf, got) &&
        !translate(s, va, &pa, &left, &unmapped)) {
        *fault = unmapped;
        return 0;
    }
    return got;
}

uint64_t pk_space_read(pk_space *s, uint64_t va, void *buf, uint64_t n, pk_fault *fault)
{
    pk_fault own;
    uint64_t done = 0;

    if (fault == NULL)
        fault = &own;
    pk_set_fault(fault, PK_OK, 0, 0);
    while (done < n) {
        /* Only what follows the first byte wraps: a start beyond the target's
           address width is an error of the caller. */
        const uint64_t at = done == 0 ? va : (va + done) & s->va_mask;
        const uint64_t in_granule = GRANULE - (at & (GRANULE - 1));
        uint64_t pa, left, want = n - done;

        /* Large pages are moved whole. */
        if (want < BULK) {
            const uint64_t step = want < in_granule ? want : in_granule;
            if (quick(s, at, (char *)buf + done, step)) {
                done += step;
                continue;
            }
        }
        if (s->ndirect != 0 && (left = direct_left(s, at)) != 0) {
            done += read_directly(s, at, (char *)buf + done, want < left ? want : left, fault);
            if (fault->status != PK_OK)
                return done;
            continue;
        }
        if (!translate(s, at, &pa, &left, fault))
            return done;
        if (want > left)
            want = left;
        done += pk_image_read(s->image, pa, (char *)buf + done, want, fault);
        if (fault->status != PK_OK)
            return done;
        if (want <= GRANULE)
            remember(s, at, pa, left);
    }
    return done;
}

static __attribute__((noinline)) int quick_word(pk_space *s, uint64_t va, void *buf)
{
    return quick(s, va, buf, 8);
}

static __attribute__((noinline)) int quick_half(pk_space *s, uint64_t va, void *buf)
{
    return quick(s, va, buf, 4);
}

int pk_space_quick(pk_space *s, uint64_t va, void *buf, uint64_t n)
{
    /* What is read most: a pointer. Copies of known size are one instruction each, and these functions save nothing. */
    return n == 8 ? quick_word(s, va, buf) : n == 4 ? quick_half(s, va, buf) : n <= GRANULE && quick(s, va, buf, n);
}

const char *pk_space_window(pk_space *s, uint64_t va, uint64_t n)
{
    uint64_t pa, left, seq, ticket, done = 0;
    const uint8_t *p = known(s, va, n, &seq, &ticket);
    pk_fault fault;
    pk_view first, next;

    if (p != NULL && seq == 0)
        return (const char *)p;
    while (done < n) {
        if (va + done < va || !translate(s, va + done, &pa, &left, &fault) || !pk_image_view(s->image, pa, &next) ||
            next.seq != NULL || (done > 0 && next.data != first.data + done))
            return NULL;
        if (done == 0) {
            first = next;
            remember(s, va, pa, left);
        }
        done += left < next.avail ? left : next.avail;
    }
    return n == 0 ? NULL : (const char *)first.data;
}

static void tlb_flush(pk_space *s)
{
    for (size_t i = 0; i < LARGE_SIZE; i++)
        atomic_store_explicit(&s->large[i].check, 0, memory_order_relaxed);
    for (size_t i = 0; i <= s->last; i++)
        atomic_store_explicit(&s->tlb[i].check, 0, memory_order_relaxed);
}

/* Without a buffer: only see whether it can be written. */
static uint64_t write_pages(pk_space *s, uint64_t va, const void *buf, uint64_t n, pk_fault *fault)
{
    uint64_t done = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    while (done < n) {
        const uint64_t at = done == 0 ? va : (va + done) & s->va_mask;
        uint64_t pa, left, want = n - done;

        if (!translate(s, at, &pa, &left, fault))
            return done;
        if (want > left)
            want = left;
        done += buf != NULL ? pk_image_write(s->image, pa, (const char *)buf + done, want, fault)
                            : pk_image_writable(s->image, pa, want, fault);
        if (fault->status != PK_OK)
            return done;
    }
    return done;
}

uint64_t pk_space_write(pk_space *s, uint64_t va, const void *buf, uint64_t n, pk_fault *fault)
{
    uint64_t done = write_pages(s, va, NULL, n, fault);

    if (done < n)
        return 0;
    done = write_pages(s, va, buf, n, fault);
    /* What was written may have been a page table. */
    tlb_flush(s);
    return done;
}

static inline uint64_t value(pk_space *s, uint64_t va, unsigned size)
{
    uint8_t raw[8];

    if (!quick(s, va, raw, size) && pk_space_read(s, va, raw, size, NULL) != size)
        return PK_MISS;
    return pk_load(raw, size, s->big_endian);
}

uint64_t pk_word_u8(pk_space *s, uint64_t va) { return value(s, va, 1); }
uint64_t pk_word_u16(pk_space *s, uint64_t va) { return value(s, va, 2); }
uint64_t pk_word_u32(pk_space *s, uint64_t va) { return value(s, va, 4); }
uint64_t pk_word_u64(pk_space *s, uint64_t va) { return value(s, va, 8); }

static inline int64_t signed_value(pk_space *s, uint64_t va, unsigned size)
{
    const uint64_t v = value(s, va, size), sign = (uint64_t)1 << (size * 8 - 1);

    return v == PK_MISS ? (int64_t)v : (int64_t)((v ^ sign) - sign);
}

int64_t pk_word_i8(pk_space *s, uint64_t va) { return signed_value(s, va, 1); }
int64_t pk_word_i16(pk_space *s, uint64_t va) { return signed_value(s, va, 2); }
int64_t pk_word_i32(pk_space *s, uint64_t va) { return signed_value(s, va, 4); }
int64_t pk_word_i64(pk_space *s, uint64_t va) { return signed_value(s, va, 8); }

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
    struct { const uint8_t *p; uint64_t seq, ticket; } places[AHEAD];
    char *out = dst;

    pk_set_fault(fault, PK_OK, 0, 0);
    for (uint64_t i = 0; i < count; i++, out += stride) {
        const uint64_t slot = i % AHEAD;
        int got;

        /* The host's memory is asked for many words before it is waited for. */
        if (slot == 0)
            for (uint64_t j = 0; j < AHEAD && i + j < count; j++) {
                places[j].p = known(s, addrs[i + j], size, &places[j].seq, &places[j].ticket);
                __builtin_prefetch(places[j].p);
            }
        /* Copies of known size are one instruction each. */
        got = size == 8   ? take(places[slot].p, places[slot].seq, places[slot].ticket, out, 8)
              : size == 4 ? take(places[slot].p, places[slot].seq, places[slot].ticket, out, 4)
                          : take(places[slot].p, places[slot].seq, places[slot].ticket, out, size);
        if (ok != NULL)
            ok[i] = 1;
        if (got || pk_space_read(s, addrs[i], out, size, fault) == size)
            continue;
        if (ok == NULL)
            return i;
        ok[i] = 0;
        memset(out, 0, (size_t)size);
    }
    pk_set_fault(fault, PK_OK, 0, 0);
    return count;
}
