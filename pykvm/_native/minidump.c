/* Images of whole pages that follow one another in the order of a bitmap
   (FreeBSD's and DragonFly's minidumps). */
#include "core.h"

#define RUN_PAGES 512u      /* of consecutive pages, this many are shown in one view */

typedef struct {
    pk_minidump_shape shape;
    unsigned page_shift;
    size_t nranges;
    pk_minidump_range *ranges;      /* sorted by addr; none: bit i is page i */
    pk_bitmap bitmap;
} minidump_t;

/* The bit of the page of addr, and of how many pages from it on the next bits are;
   0 if no bit is, and of how many pages none is. */
static int bit_of(const minidump_t *m, uint64_t addr, uint64_t *bit, uint64_t *more)
{
    const uint64_t page = addr >> m->page_shift;
    size_t lo = 0, hi = m->nranges;

    if (m->nranges == 0) {
        *bit = page;
        *more = page < m->bitmap.nbits ? m->bitmap.nbits - page : UINT64_MAX;
        return page < m->bitmap.nbits;
    }
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const pk_minidump_range *r = &m->ranges[mid];
        if (page < r->first_page) {
            hi = mid;
        } else if (page - r->first_page >= r->pages) {
            lo = mid + 1;
        } else {
            *bit = r->first_bit + (page - r->first_page);
            *more = r->pages - (page - r->first_page);
            return *bit < m->bitmap.nbits;
        }
    }
    *more = lo < m->nranges ? m->ranges[lo].first_page - page : UINT64_MAX;
    return 0;
}

/* Where the page of a set bit lies in the file. */
static uint64_t offset_of(const minidump_t *m, uint64_t bit)
{
    return m->shape.data_offset + (pk_bitmap_rank(&m->bitmap, bit) << m->page_shift);
}

/* How many pages from a set bit on lie in one piece of the file, at most `most`. */
static uint64_t run(const minidump_t *m, uint64_t bit, uint64_t most)
{
    const uint64_t bytes = m->bitmap.nbits / 8;
    uint64_t n = 0, word;

    if (most > m->bitmap.nbits - bit)
        most = m->bitmap.nbits - bit;
    while (n < most) {
        const uint64_t byte = (bit + n) >> 3, inside = (bit + n) & 7;
        uint64_t set;

        if (bytes < 8 || byte > bytes - 8) {
            if (!pk_bitmap_bit(&m->bitmap, bit + n))
                break;
            n++;
            continue;
        }
        word = ~pk_load(m->bitmap.bits + byte, 8, 0) >> inside;
        set = word == 0 ? 64 - inside : (uint64_t)__builtin_ctzll(word);
        n += set < 64 - inside ? set : 64 - inside;
        if (set < 64 - inside)
            break;
    }
    return n < most ? n : most;
}

/* How many bits from `bit` on are not set, at most `most`. */
static uint64_t gap(const minidump_t *m, uint64_t bit, uint64_t most)
{
    uint64_t n = 0, word;

    if (most > m->bitmap.nbits - bit)
        most = m->bitmap.nbits - bit;
    while (n < most) {
        if (((bit + n) & 7) == 0 && most - n >= 64) {
            memcpy(&word, m->bitmap.bits + ((bit + n) >> 3), 8);
            if (word == 0) {
                n += 64;
                continue;
            }
        }
        if (pk_bitmap_bit(&m->bitmap, bit + n))
            break;
        n++;
    }
    return n;
}

/* The whole pages that the file has of a run of set bits; *offset is the first one's. */
static uint64_t held(const pk_image *image, const minidump_t *m, uint64_t bit, uint64_t most, uint64_t *offset)
{
    const uint64_t size = image->files[0].size;
    uint64_t n;

    *offset = offset_of(m, bit);
    n = *offset < size ? (size - *offset) >> m->page_shift : 0;
    return n == 0 ? 0 : run(m, bit, most < n ? most : n);
}

/* Where the bytes from addr on lie in the file, up to `most` pages; 0 or their
   number. */
static uint64_t piece(const minidump_t *m, uint64_t addr, uint64_t most, uint64_t *offset, int *exists)
{
    const uint64_t inside = addr & (m->shape.page_size - 1);
    uint64_t bit, more;

    *exists = bit_of(m, addr, &bit, &more);
    if (!*exists || !pk_bitmap_bit(&m->bitmap, bit))
        return 0;
    *offset = offset_of(m, bit) + inside;
    return (run(m, bit, most < more ? most : more) << m->page_shift) - inside;
}

static int view(const pk_image *image, uint64_t addr, pk_view *view)
{
    const minidump_t *m = image->kind;
    const pk_file *file = &image->files[0];
    uint64_t offset, size;
    int exists;

    if (file->map == NULL || (size = piece(m, addr, RUN_PAGES, &offset, &exists)) == 0 || offset >= file->size)
        return 0;
    view->data = file->map + offset;
    view->avail = size < file->size - offset ? size : file->size - offset;
    view->seq = NULL;
    view->ticket = 0;
    return 1;
}

static uint64_t move(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n, pk_fault *fault)
{
    const minidump_t *m = image->kind;
    const uint64_t left = m->shape.page_size - (addr & (m->shape.page_size - 1));   /* in its page */
    uint64_t offset, size;
    int exists;

    size = piece(m, addr, (n >> m->page_shift) + 2, &offset, &exists);
    if (size == 0 && exists)
        return pk_image_absent(image, addr, rbuf, n < left ? n : left, fault);
    if (size == 0) {
        pk_set_fault(fault, PK_EPHYS, addr, 0);
        return 0;
    }
    return pk_file_move(&image->files[0], offset, rbuf, wbuf, n < size ? n : size, addr, fault);
}

static void free_minidump(void *kind)
{
    minidump_t *m = kind;

    pk_bitmap_close(&m->bitmap);
    free(m->ranges);
    free(m);
}

static const pk_image_ops OPS = {.move = move, .view = view, .free = free_minidump, .writable = 1};

static int by_page(const void *a, const void *b)
{
    const pk_minidump_range *x = a, *y = b;

    return x->first_page < y->first_page ? -1 : x->first_page > y->first_page;
}

int pk_image_set_minidump(pk_image *image, const pk_minidump_shape *shape, const pk_minidump_range *ranges,
                          size_t nranges)
{
    minidump_t *m = calloc(1, sizeof(*m));
    int got;

    if (m == NULL)
        return -1;
    m->shape = *shape;
    m->page_shift = (unsigned)__builtin_ctz(shape->page_size);
    got = pk_bitmap_open(&m->bitmap, image, 0, shape->bitmap_offset, shape->bits, shape->swap_words);
    m->nranges = nranges;
    m->ranges = malloc((nranges + 1) * sizeof(*ranges));
    if (got <= 0 || m->ranges == NULL) {
        free_minidump(m);
        return got < 0 ? 1 : -1;
    }
    if (nranges > 0)
        memcpy(m->ranges, ranges, nranges * sizeof(*ranges));
    qsort(m->ranges, nranges, sizeof(*ranges), by_page);
    for (size_t i = 0; i < nranges; i++)
        if (m->ranges[i].pages > UINT64_MAX - m->ranges[i].first_page ||
            (i > 0 && m->ranges[i - 1].first_page + m->ranges[i - 1].pages > m->ranges[i].first_page)) {
            free_minidump(m);
            return 2;
        }
    pk_image_become(image, &OPS, m);
    return 0;
}

uint64_t pk_image_minidump_present(const pk_image *image)
{
    return image->ops == &OPS ? ((const minidump_t *)image->kind)->bitmap.total : 0;
}

uint64_t pk_image_minidump_where(const pk_image *image, uint64_t addr, uint64_t most, uint64_t *offset)
{
    const minidump_t *m = image->kind;
    uint64_t bit, more, n = 0;

    *offset = PK_NO_OFFSET;
    if (image->ops != &OPS)
        return 0;
    if (most > (UINT64_MAX - addr) >> m->page_shift)
        most = (UINT64_MAX - addr) >> m->page_shift;
    while (n < most) {
        const int exists = bit_of(m, addr + (n << m->page_shift), &bit, &more);
        uint64_t where, step = most - n < more ? most - n : more;
        if (exists && pk_bitmap_bit(&m->bitmap, bit)) {
            const uint64_t there = held(image, m, bit, step, &where);
            if (there != 0 && n == 0)
                *offset = where;
            if (there != 0)
                return n != 0 ? n : there;
            step = run(m, bit, step);
        } else if (exists) {
            step = gap(m, bit, step);
        }
        n += step;
    }
    return n;
}

uint64_t pk_image_minidump_next(const pk_image *image, uint64_t *page, uint64_t *offset)
{
    const minidump_t *m = image->kind;
    pk_minidump_range whole = {0, 0, 0};
    const pk_minidump_range *ranges = &whole;
    size_t n = 1;

    if (image->ops != &OPS)
        return 0;
    whole.pages = m->bitmap.nbits;
    if (m->nranges != 0) {
        ranges = m->ranges;
        n = m->nranges;
    }
    for (size_t i = 0; i < n; i++) {
        const pk_minidump_range *r = &ranges[i];
        uint64_t at = *page > r->first_page ? *page - r->first_page : 0;
        while (at < r->pages && at < m->bitmap.nbits && r->first_bit < m->bitmap.nbits - at) {
            const uint64_t bit = r->first_bit + at, left = r->pages - at;
            uint64_t step = gap(m, bit, left);
            if (step == 0) {
                step = held(image, m, bit, left, offset);
                if (step != 0) {
                    *page = r->first_page + at;
                    return step;
                }
                step = run(m, bit, left);   /* the file ends before them */
            }
            at += step;
        }
    }
    return 0;
}
