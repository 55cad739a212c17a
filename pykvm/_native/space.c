/* A kernel's virtual memory: translation, the software TLB, bulk transfers. */
#include "space.h"

#define BULK ((uint64_t)1 << 16)
#define PIECES 32u              /* of a long read are looked up before they are copied */
#define LINE 64u                /* of the host's cache */
#define LINES 4u                /* at a piece's beginning, until the host notices by itself what is read */

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

int pk_space_direct(pk_space *s, uint64_t start, uint64_t last, uint64_t offset, int sure)
{
    if (s->ndirect == PK_DIRECT_MAX || start > last || s->image->nfiles == 0 || offset > UINT64_MAX - (last - start))
        return 0;
    s->direct[s->ndirect] = (direct_range){start, last, offset, sure};
    s->ndirect++;
    return 1;
}

static inline int is_free(const tlb_entry *e)
{
    return atomic_load_explicit(&e->check, memory_order_relaxed) == 0;
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

static int all_zeros(const uint8_t *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] != 0)
            return 0;
    return 1;
}

/* Up to n bytes of a direct range; how many, and the fault. Of a range that is not sure, zeros and what the host cannot
   read may be what is not mapped: then that is the fault, and nothing of the granule was read. */
static uint64_t read_directly(pk_space *s, const direct_range *r, uint64_t va, void *buf, uint64_t n, pk_fault *fault)
{
    uint64_t pa, left, got;
    pk_fault unmapped;

    if (atomic_load_explicit(&s->closed, memory_order_relaxed)) {
        pk_set_fault(fault, PK_ECLOSED, va, 0);
        return 0;
    }
    if (n - 1 > r->last - va)
        n = r->last - va + 1;
    if (!r->sure && n > GRANULE - (va & (GRANULE - 1)))
        n = GRANULE - (va & (GRANULE - 1));
    got = pk_file_move(&s->image->files[0], r->offset + (va - r->start), buf, NULL, n, va, fault);
    if (!r->sure && (fault->status == PK_OK || fault->status == PK_EIO) && all_zeros(buf, got) &&
        !translate(s, va, &pa, &left, &unmapped)) {
        *fault = unmapped;
        return 0;
    }
    return got;
}

/* Bytes from va on that lie in mapped files, copied; 0: the first do not, or there is a fault. What follows one another
   in the file is copied in one go, and the host is asked for a piece before it is needed: it reads ahead by itself only
   within its own pages. */
static uint64_t read_mapped(pk_space *s, uint64_t va, char *buf, uint64_t n)
{
    struct { const uint8_t *data; uint64_t size; } pieces[PIECES];
    uint64_t seen = 0, done = 0;
    unsigned count = 0;

    while (seen < n) {
        const uint64_t at = seen == 0 ? va : (va + seen) & s->va_mask;
        uint64_t pa, left, want = n - seen;
        pk_fault fault;
        pk_view view;

        if (!translate(s, at, &pa, &left, &fault) || !pk_image_view(s->image, pa, &view) || view.seq != NULL)
            break;
        if (want > left)
            want = left;
        if (want > view.avail)
            want = view.avail;
        if (count > 0 && pieces[count - 1].data + pieces[count - 1].size == view.data) {
            pieces[count - 1].size += want;
        } else if (count < PIECES) {
            for (unsigned line = 0; line < LINES; line++)
                __builtin_prefetch(view.data + line * LINE);
            pieces[count].data = view.data;
            pieces[count++].size = want;
        } else {
            break;
        }
        seen += want;
    }
    for (unsigned i = 0; i < count; i++) {
        memcpy(buf + done, pieces[i].data, (size_t)pieces[i].size);
        done += pieces[i].size;
    }
    return done;
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
        const direct_range *range;
        uint64_t pa, left, want = n - done;

        /* Large pages are moved whole; of what runs nothing is remembered. */
        if (want < BULK && !s->image->live) {
            const uint64_t step = want < in_granule ? want : in_granule;
            if (quick(s, at, (char *)buf + done, step)) {
                done += step;
                continue;
            }
        }
        range = direct_of(s, at);
        if (range != NULL) {
            done += read_directly(s, range, at, (char *)buf + done, want, fault);
            if (fault->status != PK_OK)
                return done;
            continue;
        }
        if (want > GRANULE && (left = read_mapped(s, at, (char *)buf + done, want)) != 0) {
            done += left;
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
    if (s->ndirect != 0)
        return quick_direct(s, va, buf, n);
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
    /* In a file that cannot be mapped: to find that out by page tables would take longer than to read. */
    if (direct_of(s, va) != NULL)
        return NULL;
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
