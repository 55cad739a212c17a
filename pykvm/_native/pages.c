/* Images of pages that are found one by one and may be compressed, with a
   bounded cache of expanded pages. */
#include "core.h"

#define BLOCK_BITS 512u     /* bits of a bitmap that one count covers */
#define DESCRIPTOR 24u

/* A cached page under a sequence lock: odd while it is written. A reader copies
   and then looks whether the number is still the one it began with; if not, it
   expands the page for itself. */
typedef struct {
    _Atomic uint32_t seq;
    _Atomic uint64_t pfn_plus_1;
} slot_t;

typedef struct {
    pk_page_part part;
    uint64_t base;          /* set bits before first_pfn */
    uint64_t descriptors;   /* that this file has */
    uint32_t *counts;       /* set bits before each block of the bitmap */
    uint8_t *bitmap;
} part_t;

typedef struct {
    pk_page_shape shape;
    unsigned page_shift;
    uint8_t *valid;         /* NULL: every page of the bitmaps exists */
    size_t nparts;
    part_t *parts;
    pk_codecs codecs;
    uint32_t nslots;        /* a power of two */
    uint32_t ways;          /* slots that a page may be in */
    _Atomic uint32_t turn;
    slot_t *slots;
    uint8_t *data;          /* nslots pages */
} pages_t;

static int bit(const uint8_t *map, uint64_t pfn)
{
    return map[pfn >> 3] >> (pfn & 7) & 1;
}

static unsigned ones(const uint8_t *p, uint64_t bytes)
{
    unsigned n = 0;
    uint64_t word;

    for (; bytes >= 8; p += 8, bytes -= 8) {
        memcpy(&word, p, 8);
        n += (unsigned)__builtin_popcountll(word);
    }
    for (; bytes > 0; p++, bytes--)
        n += (unsigned)__builtin_popcount(*p);
    return n;
}

static uint64_t rank(const part_t *p, uint64_t pfn)
{
    const uint64_t block = pfn / BLOCK_BITS, byte = pfn >> 3;
    const uint64_t start = block * (BLOCK_BITS / 8);

    return p->counts[block] + ones(p->bitmap + start, byte - start) +
           (unsigned)__builtin_popcount(p->bitmap[byte] & ((1u << (pfn & 7)) - 1));
}

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

/* Expand a page into dst; 1, or 0 with the fault set. */
static int load(const pk_image *image, pages_t *pages, const part_t *part, uint64_t pfn, uint8_t *dst, pk_fault *fault)
{
    const uint64_t addr = pfn << pages->page_shift, index = rank(part, pfn) - part->base;
    const pk_file *file = &image->files[part->part.file];
    const uint32_t page_size = pages->shape.page_size;
    uint8_t raw[DESCRIPTOR], *scratch = NULL;
    const uint8_t *src;
    uint64_t offset;
    uint32_t size, flags;
    int good;

    if (pk_file_move(file, part->part.descriptor_offset + index * DESCRIPTOR, raw, NULL, DESCRIPTOR, addr, fault) !=
        DESCRIPTOR) {
        if (fault->status == PK_OK)
            pk_set_fault(fault, PK_EEOF, addr, 0);
        return 0;
    }
    offset = pk_load(raw, 8, pages->shape.big_endian);
    size = (uint32_t)pk_load(raw + 8, 4, pages->shape.big_endian);
    flags = (uint32_t)pk_load(raw + 12, 4, pages->shape.big_endian);
    /* A page that does not shrink is stored; some codecs may add a little. */
    if (size == 0 || size > 2 * page_size + 64) {
        pk_set_fault(fault, PK_EDAMAGED, addr, 0);
        return 0;
    }
    if (offset >= file->size || size > file->size - offset) {
        pk_set_fault(fault, PK_EEOF, addr, 0);
        return 0;
    }
    if (file->map != NULL) {
        src = file->map + offset;
    } else {
        scratch = malloc(size);
        if (scratch == NULL || pk_file_move(file, offset, scratch, NULL, size, addr, fault) != size) {
            free(scratch);
            if (fault->status == PK_OK)
                pk_set_fault(fault, scratch == NULL ? PK_EMEM : PK_EEOF, addr, 0);
            return 0;
        }
        src = scratch;
    }
    good = pk_codec_expand(&pages->codecs, flags, src, size, dst, page_size);
    free(scratch);
    if (!good)
        pk_set_fault(fault, PK_EDAMAGED, addr, 0);
    return good;
}

/* Bytes of a page out of its slot, if it holds that page. */
static int cached(const pages_t *pages, uint32_t slot, uint64_t pfn, uint32_t inside, void *buf, uint32_t n)
{
    slot_t *s = &pages->slots[slot];
    const uint32_t seq = atomic_load_explicit(&s->seq, memory_order_acquire);

    if ((seq & 1) != 0 || atomic_load_explicit(&s->pfn_plus_1, memory_order_relaxed) != pfn + 1)
        return 0;
    memcpy(buf, pages->data + (size_t)slot * pages->shape.page_size + inside, n);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&s->seq, memory_order_relaxed) == seq;
}

/* The slot of a set to fill: an empty one, or each in turn. */
static uint32_t victim(pages_t *pages, uint32_t set)
{
    for (uint32_t way = 0; way < pages->ways; way++)
        if (atomic_load_explicit(&pages->slots[set + way].pfn_plus_1, memory_order_relaxed) == 0)
            return set + way;
    return set + atomic_fetch_add_explicit(&pages->turn, 1, memory_order_relaxed) % pages->ways;
}

static int fetch(const pk_image *image, pages_t *pages, const part_t *part, uint64_t pfn, uint32_t inside, void *buf,
                 uint32_t n, pk_fault *fault)
{
    const uint32_t hash = (uint32_t)(pfn * 0x9e3779b97f4a7c15u >> 32);
    const uint32_t set = (hash & (pages->nslots / pages->ways - 1)) * pages->ways;
    uint32_t slot, seq;
    uint8_t *dst;
    slot_t *s;
    int good;

    for (uint32_t way = 0; way < pages->ways; way++)
        if (cached(pages, set + way, pfn, inside, buf, n))
            return 1;
    slot = victim(pages, set);
    s = &pages->slots[slot];
    dst = pages->data + (size_t)slot * pages->shape.page_size;
    seq = atomic_load_explicit(&s->seq, memory_order_relaxed);
    if ((seq & 1) != 0 || !atomic_compare_exchange_strong(&s->seq, &seq, seq + 1)) {
        /* Another thread is filling the slot: expand the page aside. */
        uint8_t *own = malloc(pages->shape.page_size);
        if (own == NULL) {
            pk_set_fault(fault, PK_EMEM, pfn << pages->page_shift, 0);
            return 0;
        }
        good = load(image, pages, part, pfn, own, fault);
        if (good)
            memcpy(buf, own + inside, n);
        free(own);
        return good;
    }
    atomic_thread_fence(memory_order_release);
    good = load(image, pages, part, pfn, dst, fault);
    if (good)
        memcpy(buf, dst + inside, n);
    atomic_store_explicit(&s->pfn_plus_1, good ? pfn + 1 : 0, memory_order_relaxed);
    atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
    return good;
}

static uint64_t move(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n, pk_fault *fault)
{
    pages_t *pages = image->kind;
    const uint32_t page_size = pages->shape.page_size;
    const uint64_t pfn = addr >> pages->page_shift;
    const uint32_t inside = (uint32_t)(addr & (page_size - 1));
    const part_t *part;

    (void)wbuf;
    if (n > page_size - inside)
        n = page_size - inside;
    if (pfn >= pages->shape.pages) {
        pk_set_fault(fault, PK_EPHYS, addr, 0);
        return 0;
    }
    part = part_of(pages, pfn);
    if (part == NULL || !bit(part->bitmap, pfn)) {
        const int exists = pages->valid == NULL ? part != NULL : bit(pages->valid, pfn);
        if (exists && pages->shape.zero_excluded) {
            memset(rbuf, 0, (size_t)n);
            return n;
        }
        pk_set_fault(fault, exists ? PK_ELEFTOUT : PK_EPHYS, addr, 0);
        return 0;
    }
    return fetch(image, pages, part, pfn, inside, rbuf, (uint32_t)n, fault) ? n : 0;
}

static void free_pages(void *kind)
{
    pages_t *pages = kind;

    for (size_t i = 0; i < pages->nparts; i++) {
        free(pages->parts[i].counts);
        free(pages->parts[i].bitmap);
    }
    pk_codecs_free(&pages->codecs);
    free(pages->parts);
    free(pages->valid);
    free(pages->slots);
    free(pages->data);
    free(pages);
}

static const pk_image_ops OPS = {.move = move, .window = NULL, .free = free_pages, .writable = 0};

/* A copy of a bitmap, with room for whole blocks behind it; NULL if the file has
   no such bytes or the host no memory. */
static uint8_t *copy_bitmap(const pk_image *image, uint32_t file, uint64_t offset, uint64_t pages, int *memory)
{
    const uint64_t bytes = (pages + 7) / 8;
    pk_fault fault = {0, 0, 0};
    uint8_t *map;

    *memory = 0;
    if (file >= image->nfiles || offset > image->files[file].size || bytes > image->files[file].size - offset)
        return NULL;
    map = calloc(1, (size_t)bytes + BLOCK_BITS / 8);
    if (map == NULL) {
        *memory = 1;
        return NULL;
    }
    if (pk_file_move(&image->files[file], offset, map, NULL, bytes, 0, &fault) != bytes) {
        free(map);
        return NULL;
    }
    if (pages % 8 != 0)
        map[bytes - 1] &= (uint8_t)((1u << pages % 8) - 1);
    return map;
}

static int count_part(part_t *p, uint64_t pages)
{
    const uint64_t blocks = pages / BLOCK_BITS + 1;
    uint64_t n = 0;

    p->counts = malloc((size_t)blocks * sizeof(*p->counts));
    if (p->counts == NULL)
        return 0;
    for (uint64_t i = 0; i < blocks; i++) {
        p->counts[i] = (uint32_t)n;
        n += ones(p->bitmap + i * (BLOCK_BITS / 8), BLOCK_BITS / 8);
    }
    p->base = rank(p, p->part.first_pfn);
    p->descriptors = rank(p, p->part.last_pfn) + (unsigned)bit(p->bitmap, p->part.last_pfn) - p->base;
    return 1;
}

int pk_image_set_pages(pk_image *image, const pk_page_shape *shape, const pk_page_part *parts, size_t count)
{
    pages_t *pages = calloc(1, sizeof(*pages));
    uint32_t nslots = 1;
    int memory = 0;

    if (pages == NULL)
        return -1;
    pages->shape = *shape;
    pages->page_shift = (unsigned)__builtin_ctz(shape->page_size);
    atomic_init(&pages->codecs.inflate, NULL);
    atomic_init(&pages->codecs.zstd, NULL);
    while (nslots * 2u <= shape->cache_bytes / shape->page_size)
        nslots *= 2;
    pages->nslots = nslots;
    pages->ways = nslots < 4 ? nslots : 4;
    atomic_init(&pages->turn, 0);
    pages->slots = calloc(nslots, sizeof(*pages->slots));
    pages->data = malloc((size_t)nslots * shape->page_size);
    pages->parts = calloc(count + 1, sizeof(*pages->parts));
    if (pages->slots == NULL || pages->data == NULL || pages->parts == NULL) {
        free_pages(pages);
        return -1;
    }
    if (shape->valid_offset != 0) {
        pages->valid = copy_bitmap(image, 0, shape->valid_offset, shape->pages, &memory);
        if (pages->valid == NULL) {
            free_pages(pages);
            return memory ? -1 : 1;
        }
    }
    for (size_t i = 0; i < count; i++) {
        part_t *p = &pages->parts[i];

        p->part = parts[i];
        pages->nparts = i + 1;
        if (parts[i].last_pfn < parts[i].first_pfn || parts[i].last_pfn >= shape->pages ||
            (i > 0 && parts[i].first_pfn <= parts[i - 1].last_pfn) ||
            (p->bitmap = copy_bitmap(image, parts[i].file, parts[i].bitmap_offset, shape->pages, &memory)) == NULL) {
            free_pages(pages);
            return memory ? -1 : (int)(i + 1);
        }
        if (!count_part(p, shape->pages)) {
            free_pages(pages);
            return -1;
        }
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
    uint64_t all;

    if (image->ops != &OPS || pages->valid == NULL)
        return 0;
    all = ones(pages->valid, (pages->shape.pages + 7) / 8);
    return all > present ? all - present : 0;
}
