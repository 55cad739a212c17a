/* A bounded cache of expanded pages, without locks. */
#include "core.h"

/* A cached page under a sequence lock: odd while it is written. A reader copies
   and then looks whether the number is still the one it began with; if not, it
   expands the page for itself. */
typedef struct {
    _Atomic uint32_t seq;
    _Atomic uint64_t pfn_plus_1;
} slot_t;

struct pk_pagecache {
    uint32_t page_size;
    uint32_t nslots;        /* a power of two */
    uint32_t ways;          /* slots that a page may be in */
    _Atomic uint32_t turn;
    slot_t *slots;
    uint8_t *data;          /* nslots pages */
};

pk_pagecache *pk_pagecache_new(uint32_t page_size, uint32_t bytes)
{
    pk_pagecache *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->page_size = page_size;
    c->nslots = 1;
    while (c->nslots * 2u <= bytes / page_size)
        c->nslots *= 2;
    c->ways = c->nslots < 4 ? c->nslots : 4;
    atomic_init(&c->turn, 0);
    c->slots = calloc(c->nslots, sizeof(*c->slots));
    c->data = malloc((size_t)c->nslots * page_size);
    if (c->slots == NULL || c->data == NULL) {
        pk_pagecache_free(c);
        return NULL;
    }
    return c;
}

void pk_pagecache_free(pk_pagecache *c)
{
    if (c == NULL)
        return;
    free(c->slots);
    free(c->data);
    free(c);
}

static inline uint32_t first_slot(const pk_pagecache *c, uint64_t pfn)
{
    const uint32_t hash = (uint32_t)(pfn * 0x9e3779b97f4a7c15u >> 32);

    return (hash & (c->nslots / c->ways - 1)) * c->ways;
}

/* The slot that holds a page and the number under which it does, or UINT32_MAX. */
static inline uint32_t slot_of(const pk_pagecache *c, uint64_t pfn, uint32_t *seq)
{
    const uint32_t set = first_slot(c, pfn);

    for (uint32_t way = 0; way < c->ways; way++) {
        slot_t *s = &c->slots[set + way];
        *seq = atomic_load_explicit(&s->seq, memory_order_acquire);
        if ((*seq & 1) == 0 && atomic_load_explicit(&s->pfn_plus_1, memory_order_relaxed) == pfn + 1)
            return set + way;
    }
    return UINT32_MAX;
}

int pk_pagecache_view(const pk_pagecache *c, uint64_t pfn, uint32_t inside, pk_view *view)
{
    const uint32_t slot = slot_of(c, pfn, &view->ticket);

    if (slot == UINT32_MAX)
        return 0;
    view->data = c->data + (size_t)slot * c->page_size + inside;
    view->avail = c->page_size - inside;
    view->seq = &c->slots[slot].seq;
    return 1;
}

int pk_pagecache_get(const pk_pagecache *c, uint64_t pfn, uint32_t inside, void *buf, uint32_t n)
{
    pk_view view;

    if (!pk_pagecache_view(c, pfn, inside, &view))
        return 0;
    memcpy(buf, view.data, n);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(view.seq, memory_order_relaxed) == view.ticket;
}

/* The slot of a set to fill: an empty one, or each in turn. */
static uint32_t victim(pk_pagecache *c, uint32_t set)
{
    for (uint32_t way = 0; way < c->ways; way++)
        if (atomic_load_explicit(&c->slots[set + way].pfn_plus_1, memory_order_relaxed) == 0)
            return set + way;
    return set + atomic_fetch_add_explicit(&c->turn, 1, memory_order_relaxed) % c->ways;
}

uint8_t *pk_pagecache_begin(pk_pagecache *c, uint64_t pfn, uint32_t *slot)
{
    const uint32_t chosen = victim(c, first_slot(c, pfn));
    slot_t *s = &c->slots[chosen];
    uint32_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);

    if ((seq & 1) != 0 || !atomic_compare_exchange_strong(&s->seq, &seq, seq + 1))
        return NULL;
    atomic_thread_fence(memory_order_release);
    *slot = chosen;
    return c->data + (size_t)chosen * c->page_size;
}

void pk_pagecache_end(pk_pagecache *c, uint32_t slot, uint64_t pfn, int good)
{
    slot_t *s = &c->slots[slot];

    atomic_store_explicit(&s->pfn_plus_1, good ? pfn + 1 : 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->seq, 1, memory_order_release);
}
