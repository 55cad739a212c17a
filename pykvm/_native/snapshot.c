/* The memory of a running system, each page as it was when it was read first. */
#include "core.h"

typedef struct {
    pk_image *of;
    uint32_t page_size;
    unsigned shift;
    pk_pagecache *cache;
} snapshot_t;

static int view(const pk_image *image, uint64_t addr, pk_view *view)
{
    const snapshot_t *s = image->kind;

    return pk_pagecache_view(s->cache, addr >> s->shift, (uint32_t)(addr & (s->page_size - 1)), view);
}

static uint64_t move(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n, pk_fault *fault)
{
    const snapshot_t *s = image->kind;
    const uint64_t page = addr >> s->shift;
    const uint32_t inside = (uint32_t)(addr & (s->page_size - 1));
    uint32_t slot;
    uint8_t *room;

    (void)wbuf;
    if (n > s->page_size - inside)
        n = s->page_size - inside;
    if (pk_pagecache_get(s->cache, page, inside, rbuf, (uint32_t)n))
        return n;
    room = pk_pagecache_begin(s->cache, page, &slot);
    if (room != NULL) {
        const int good = pk_image_read(s->of, page << s->shift, room, s->page_size, fault) == s->page_size;

        if (good)
            memcpy(rbuf, room + inside, (size_t)n);
        pk_pagecache_end(s->cache, slot, page, good);
        pk_set_fault(fault, PK_OK, 0, 0);
        if (good)
            return n;
    }
    /* Another thread is at it, or there is not a whole page. */
    return pk_image_read(s->of, addr, rbuf, n, fault);
}

static void free_snapshot(void *kind)
{
    snapshot_t *s = kind;

    pk_pagecache_free(s->cache);
    pk_image_unref(s->of);
    free(s);
}

static const pk_image_ops OPS = {.move = move, .view = view, .free = free_snapshot, .writable = 0};

pk_image *pk_image_snapshot(pk_image *of, uint32_t page_size, uint32_t bytes)
{
    pk_image *image = pk_image_new();
    snapshot_t *s = calloc(1, sizeof(*s));

    if (image == NULL || s == NULL || page_size == 0 || (page_size & (page_size - 1)) != 0 ||
        (s->cache = pk_pagecache_new(page_size, bytes)) == NULL) {
        free(s);
        pk_image_unref(image);
        return NULL;
    }
    s->of = pk_image_ref(of);
    s->page_size = page_size;
    s->shift = (unsigned)__builtin_ctz(page_size);
    pk_image_become(image, &OPS, s);
    return image;
}
