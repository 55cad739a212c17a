/* Images of pages that are found one by one and may be compressed. */
#include "core.h"

#define DESCRIPTOR 24u
#define BULK_PAGES 4u       /* from so many on, pages are expanded where they are wanted */

typedef struct {
    pk_page_part part;
    uint64_t base;          /* set bits before first_pfn */
    uint64_t descriptors;   /* that this file has */
    pk_bitmap bitmap;
} part_t;

typedef struct {
    pk_page_shape shape;
    unsigned page_shift;
    pk_bitmap valid;        /* without bits: every page of the bitmaps exists */
    size_t nparts;
    part_t *parts;
    pk_codecs codecs;
    pk_pagecache *cache;
} pages_t;

/* Where a page is: its part of the dump, or why it is nowhere. */
enum { PRESENT, LEFT_OUT, NOWHERE, NO_PART };

static const part_t *part_of(const pages_t *pages, uint64_t pfn)
{
    size_t lo = 0, hi = pages->nparts;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const part_t *p = &pages->parts[mid];
        if (pfn < p->part.first_pfn)
            hi = mid;
        else if (pfn > p->part.last_pfn)
            lo = mid + 1;
        else
            return p;
    }
    return NULL;
}

static int locate(const pages_t *pages, uint64_t pfn, const part_t **part)
{
    if (pfn >= pages->shape.pages)
        return NOWHERE;
    *part = part_of(pages, pfn);
    if (*part == NULL)
        return NO_PART;
    if (pk_bitmap_bit(&(*part)->bitmap, pfn))
        return PRESENT;
    return pages->valid.bits == NULL || pk_bitmap_bit(&pages->valid, pfn) ? LEFT_OUT : NOWHERE;
}

/* A page as it lies in its file. */
typedef struct {
    uint64_t offset;
    uint32_t size, flags;
} packed_t;

static int find_packed(const pk_image *image, const pages_t *pages, const part_t *part, uint64_t pfn, packed_t *p,
                       pk_fault *fault)
{
    const uint64_t addr = pfn << pages->page_shift, index = pk_bitmap_rank(&part->bitmap, pfn) - part->base;
    const pk_file *file = &image->files[part->part.file];
    uint8_t raw[DESCRIPTOR];

    if (pk_file_move(file, part->part.descriptor_offset + index * DESCRIPTOR, raw, NULL, DESCRIPTOR, addr, fault) !=
        DESCRIPTOR) {
        if (fault->status == PK_OK)
            pk_set_fault(fault, PK_EEOF, addr, 0);
        return 0;
    }
    p->offset = pk_load(raw, 8, pages->shape.big_endian);
    p->size = (uint32_t)pk_load(raw + 8, 4, pages->shape.big_endian);
    p->flags = (uint32_t)pk_load(raw + 12, 4, pages->shape.big_endian);
    /* A page that does not shrink is stored; some codecs may add a little. */
    if (p->size == 0 || p->size > 2 * pages->shape.page_size + 64) {
        pk_set_fault(fault, PK_EDAMAGED, addr, 0);
        return 0;
    }
    if (p->offset >= file->size || p->size > file->size - p->offset) {
        pk_set_fault(fault, PK_EEOF, addr, 0);
        return 0;
    }
    return 1;
}

/* Expand a page into dst; 1, or 0 with the fault set. */
static int load(const pk_image *image, const pages_t *pages, pk_codecs *codecs, const part_t *part, uint64_t pfn,
                uint8_t *dst, pk_fault *fault)
{
    const uint64_t addr = pfn << pages->page_shift;
    const pk_file *file = &image->files[part->part.file];
    uint8_t *scratch = NULL;
    const uint8_t *src;
    packed_t p;
    int good;

    if (!find_packed(image, pages, part, pfn, &p, fault))
        return 0;
    if (file->map != NULL) {
        src = file->map + p.offset;
    } else {
        scratch = malloc(p.size);
        if (scratch == NULL || pk_file_move(file, p.offset, scratch, NULL, p.size, addr, fault) != p.size) {
            if (fault->status == PK_OK)
                pk_set_fault(fault, scratch == NULL ? PK_EMEM : PK_EEOF, addr, 0);
            free(scratch);
            return 0;
        }
        src = scratch;
    }
    good = pk_codec_expand(codecs, p.flags, src, p.size, dst, pages->shape.page_size);
    free(scratch);
    if (!good)
        pk_set_fault(fault, PK_EDAMAGED, addr, 0);
    return good;
}

/* Bytes of one page, by way of the cache. */
static int fetch(const pk_image *image, pages_t *pages, const part_t *part, uint64_t pfn, uint32_t inside, void *buf,
                 uint32_t n, pk_fault *fault)
{
    uint8_t *dst, *own = NULL;
    uint32_t slot = 0;
    int good;

    if (pk_pagecache_get(pages->cache, pfn, inside, buf, n))
        return 1;
    if (n == pages->shape.page_size)    /* nothing of it would be read again soon */
        return load(image, pages, &pages->codecs, part, pfn, buf, fault);
    dst = pk_pagecache_begin(pages->cache, pfn, &slot);
    if (dst == NULL && (dst = own = malloc(pages->shape.page_size)) == NULL) {
        pk_set_fault(fault, PK_EMEM, pfn << pages->page_shift, 0);
        return 0;
    }
    good = load(image, pages, &pages->codecs, part, pfn, dst, fault);
    if (good)
        memcpy(buf, dst + inside, n);
    if (own == NULL)
        pk_pagecache_end(pages->cache, slot, pfn, good);
    free(own);
    return good;
}

typedef struct {
    const pk_image *image;
    uint64_t pfn;
    uint8_t *dst;
} bulk_t;

static int bulk_page(void *job, void *own, uint64_t index)
{
    const bulk_t *b = job;
    pages_t *pages = b->image->kind;
    const uint64_t pfn = b->pfn + index;
    uint8_t *dst = b->dst + (index << pages->page_shift);
    const part_t *part;
    pk_fault fault = {0};

    switch (locate(pages, pfn, &part)) {
    case PRESENT:
        return load(b->image, pages, own, part, pfn, dst, &fault);
    case LEFT_OUT:
        return pk_image_absent(b->image, 0, dst, pages->shape.page_size, &fault) != 0;
    default:
        return 0;
    }
}

static void bulk_done(void *own)
{
    pk_codecs_free(own);
}

static uint64_t move(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n, pk_fault *fault)
{
    pages_t *pages = image->kind;
    const uint32_t page_size = pages->shape.page_size;
    const uint64_t pfn = addr >> pages->page_shift;
    const uint32_t inside = (uint32_t)(addr & (page_size - 1));
    const part_t *part;

    (void)wbuf;
    if (inside == 0 && n >> pages->page_shift >= BULK_PAGES) {
        bulk_t job = {image, pfn, rbuf};
        const uint64_t good = pk_parallel(n >> pages->page_shift, bulk_page, &job, sizeof(pk_codecs), bulk_done);
        if (good > 0)   /* what stopped it is found when the rest is asked for */
            return good << pages->page_shift;
    }
    if (n > page_size - inside)
        n = page_size - inside;
    switch (locate(pages, pfn, &part)) {
    case PRESENT:
        return fetch(image, pages, part, pfn, inside, rbuf, (uint32_t)n, fault) ? n : 0;
    case LEFT_OUT:
        return pk_image_absent(image, addr, rbuf, n, fault);
    case NO_PART:
        pk_set_fault(fault, PK_ENOPART, addr, 0);
        return 0;
    default:
        pk_set_fault(fault, PK_EPHYS, addr, 0);
        return 0;
    }
}

static int view(const pk_image *image, uint64_t addr, pk_view *view)
{
    const pages_t *pages = image->kind;
    const uint64_t pfn = addr >> pages->page_shift;
    const uint32_t inside = (uint32_t)(addr & (pages->shape.page_size - 1));
    const pk_file *file;
    const part_t *part;
    pk_fault fault = {0};
    packed_t p;

    if (locate(pages, pfn, &part) != PRESENT)
        return 0;
    if (pk_pagecache_view(pages->cache, pfn, inside, view))
        return 1;
    /* A page that is stored as it is can be read where it lies. */
    file = &image->files[part->part.file];
    if (file->map == NULL || !find_packed(image, pages, part, pfn, &p, &fault) || p.size != pages->shape.page_size ||
        (p.flags & PK_PAGE_CODECS) != 0)
        return 0;
    view->data = file->map + p.offset + inside;
    view->avail = pages->shape.page_size - inside;
    view->seq = NULL;
    view->ticket = 0;
    return 1;
}

static void free_pages(void *kind)
{
    pages_t *pages = kind;

    for (size_t i = 0; i < pages->nparts; i++)
        pk_bitmap_close(&pages->parts[i].bitmap);
    pk_codecs_free(&pages->codecs);
    free(pages->parts);
    pk_bitmap_close(&pages->valid);
    pk_pagecache_free(pages->cache);
    free(pages);
}

static const pk_image_ops OPS = {.move = move, .view = view, .free = free_pages, .writable = 0};

int pk_image_set_pages(pk_image *image, const pk_page_shape *shape, const pk_page_part *parts, size_t count)
{
    pages_t *pages = calloc(1, sizeof(*pages));
    int got;

    if (pages == NULL)
        return -1;
    pages->shape = *shape;
    pages->page_shift = (unsigned)__builtin_ctz(shape->page_size);
    atomic_init(&pages->codecs.inflate, NULL);
    atomic_init(&pages->codecs.zstd, NULL);
    pages->cache = pk_pagecache_new(shape->page_size, shape->cache_bytes);
    pages->parts = calloc(count + 1, sizeof(*pages->parts));
    if (pages->cache == NULL || pages->parts == NULL) {
        free_pages(pages);
        return -1;
    }
    if (shape->valid_offset != 0) {
        got = pk_bitmap_open(&pages->valid, image, 0, shape->valid_offset, shape->pages, 0);
        if (got <= 0) {
            free_pages(pages);
            return got < 0 ? 1 : -1;
        }
    }
    for (size_t i = 0; i < count; i++) {
        part_t *p = &pages->parts[i];

        p->part = parts[i];
        pages->nparts = i + 1;
        got = parts[i].last_pfn < parts[i].first_pfn || parts[i].last_pfn >= shape->pages ||
                      (i > 0 && parts[i].first_pfn <= parts[i - 1].last_pfn)
                  ? -1
                  : pk_bitmap_open(&p->bitmap, image, parts[i].file, parts[i].bitmap_offset, shape->pages, 0);
        if (got <= 0) {
            free_pages(pages);
            return got < 0 ? (int)(i + 1) : -1;
        }
        p->base = pk_bitmap_rank(&p->bitmap, parts[i].first_pfn);
        p->descriptors = pk_bitmap_rank(&p->bitmap, parts[i].last_pfn + 1) - p->base;
    }
    pk_image_become(image, &OPS, pages);
    return 0;
}

uint64_t pk_image_pages_present(const pk_image *image)
{
    uint64_t n = 0;

    if (image->ops == &OPS) {
        const pages_t *pages = image->kind;
        for (size_t i = 0; i < pages->nparts; i++)
            n += pages->parts[i].descriptors;
    }
    return n;
}

uint64_t pk_image_pages_excluded(const pk_image *image)
{
    const uint64_t present = pk_image_pages_present(image);
    const pages_t *pages = image->kind;

    if (image->ops != &OPS || pages->valid.bits == NULL)
        return 0;
    return pages->valid.total > present ? pages->valid.total - present : 0;
}
