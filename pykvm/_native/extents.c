/* Images whose memory lies uncompressed in the files, in a few pieces. */
#include "core.h"

typedef struct {
    size_t count;
    pk_extent extents[];    /* sorted by addr, none overlapping */
} extents_t;

static int by_addr(const void *a, const void *b)
{
    const pk_extent *x = a, *y = b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* The extent that holds addr. */
static inline const pk_extent *find(const extents_t *x, uint64_t addr)
{
    size_t lo = 0, hi = x->count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const pk_extent *e = &x->extents[mid];
        if (addr < e->addr)
            hi = mid;
        else if (addr - e->addr >= e->size)
            lo = mid + 1;
        else
            return e;
    }
    return NULL;
}

static int view(const pk_image *image, uint64_t addr, pk_view *view)
{
    const pk_extent *e = find(image->kind, addr);
    const pk_file *file;
    uint64_t off, left;

    if (e == NULL || e->left_out)
        return 0;
    file = &image->files[e->file];
    off = e->offset + (addr - e->addr);
    left = e->size - (addr - e->addr);
    if (file->map == NULL || off >= file->size)
        return 0;
    view->data = file->map + off;
    view->avail = left < file->size - off ? left : file->size - off;
    view->seq = NULL;
    view->ticket = 0;
    return 1;
}

static uint64_t move(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n, pk_fault *fault)
{
    const pk_extent *e = find(image->kind, addr);
    uint64_t inside;

    if (e == NULL) {
        pk_set_fault(fault, PK_EPHYS, addr, 0);
        return 0;
    }
    inside = addr - e->addr;
    if (n > e->size - inside)
        n = e->size - inside;
    if (e->left_out)
        return pk_image_absent(image, addr, rbuf, n, fault);
    if (rbuf == NULL && image->through != 0)
        return pk_file_move(&image->files[image->through - 1], addr, NULL, wbuf, n, addr, fault);
    return pk_file_move(&image->files[e->file], e->offset + inside, rbuf, wbuf, n, addr, fault);
}

static const pk_image_ops OPS = {.move = move, .view = view, .free = free, .writable = 1};

int64_t pk_image_set_extents(pk_image *image, const pk_extent *extents, size_t count)
{
    extents_t *x;

    if (count > (SIZE_MAX - sizeof(*x)) / sizeof(*extents))
        return -2;
    for (size_t i = 0; i < count; i++) {
        const pk_extent *e = &extents[i];
        if (e->size == 0 || e->addr + (e->size - 1) < e->addr ||
            (!e->left_out && (e->file >= image->nfiles || e->offset + (e->size - 1) < e->offset)))
            return (int64_t)i;
    }
    x = malloc(sizeof(*x) + count * sizeof(*extents));
    if (x == NULL)
        return -2;
    x->count = count;
    if (count > 0)
        memcpy(x->extents, extents, count * sizeof(*extents));
    qsort(x->extents, count, sizeof(*extents), by_addr);
    for (size_t i = 1; i < count; i++)
        if (x->extents[i - 1].addr + (x->extents[i - 1].size - 1) >= x->extents[i].addr) {
            free(x);
            return (int64_t)i;
        }
    pk_image_become(image, &OPS, x);
    return -1;
}

int64_t pk_image_set_segments(pk_image *image, const uint64_t *pairs, size_t count, uint64_t offset)
{
    pk_extent *extents;
    size_t used = 0;
    int64_t bad = -1;

    if (count > SIZE_MAX / sizeof(*extents) - 1 || (extents = malloc((count + 1) * sizeof(*extents))) == NULL)
        return -2;
    for (size_t i = 0; i < count && bad == -1; i++) {
        const uint64_t start = pairs[2 * i], size = pairs[2 * i + 1];

        if (size == 0)
            continue;
        if (start + (size - 1) < start || offset > INT64_MAX || size > INT64_MAX - offset) {
            bad = (int64_t)i;
            break;
        }
        extents[used++] = (pk_extent){.addr = start, .size = size, .offset = offset};
        offset += size;
    }
    if (bad == -1)
        bad = pk_image_set_extents(image, extents, used);
    free(extents);
    return bad;
}
