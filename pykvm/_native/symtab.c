/* The symbol index: names by hash, addresses by binary search. */
#include "core.h"

#include <pthread.h>

typedef struct {
    uint64_t value, size;
    uint32_t name;          /* offset in the arena: the arena moves as it grows */
    uint32_t module;        /* likewise, + 1: of a byte of length and the module's name; 0 none */
    uint32_t hash;
    uint16_t name_len, desc;
    uint8_t type, other;
    uint8_t is_addr, is_global;
} entry_t;

struct pk_symtab {
    uint64_t seed;
    uint64_t len, room;
    entry_t *entries;
    uint64_t arena_len, arena_room;
    char *arena;            /* at most PK_NAMES_MAX bytes */
    uint32_t module;        /* of the entry added last */
    uint32_t *slots;        /* index + 1 of an entry, 0 free */
    uint64_t nslots;        /* a power of two, at least twice len */
    pthread_mutex_t sorting;
    uint32_t *by_addr;
    uint64_t by_addr_len;
};

pk_symtab *pk_symtab_new(uint64_t seed)
{
    pk_symtab *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->seed = seed;
    if (pthread_mutex_init(&t->sorting, NULL) != 0) {
        free(t);
        return NULL;
    }
    return t;
}

void pk_symtab_free(pk_symtab *t)
{
    if (t == NULL)
        return;
    pthread_mutex_destroy(&t->sorting);
    free(t->entries);
    free(t->arena);
    free(t->slots);
    free(t->by_addr);
    free(t);
}

/* Seeded, so that a file cannot be made to collide. Words of eight bytes, each
   multiplied and folded. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    const uint64_t al = a & 0xffffffff, ah = a >> 32, bl = b & 0xffffffff, bh = b >> 32;
    const uint64_t mid = ah * bl + (al * bl >> 32), mid2 = al * bh + (mid & 0xffffffff);

    return (a * b) ^ (ah * bh + (mid >> 32) + (mid2 >> 32));
}

static uint32_t hash_name(const pk_symtab *t, const char *name, size_t len)
{
    uint64_t h = t->seed ^ len, word;

    for (; len >= 8; name += 8, len -= 8) {
        memcpy(&word, name, 8);
        h = fold(h ^ word, 0x9e3779b97f4a7c15u ^ t->seed);
    }
    word = 0;
    memcpy(&word, name, len);
    h = fold(h ^ word, 0xd1342543de82ef95u ^ t->seed);
    return (uint32_t)(h ^ (h >> 32));
}

/* The slot of this name, or the free slot where it belongs. */
static uint64_t find_slot(const pk_symtab *t, const char *name, size_t len, uint32_t hash)
{
    uint64_t slot = hash & (t->nslots - 1);

    for (; t->slots[slot] != 0; slot = (slot + 1) & (t->nslots - 1)) {
        const entry_t *e = &t->entries[t->slots[slot] - 1];
        if (e->hash == hash && e->name_len == len && memcmp(t->arena + e->name, name, len) == 0)
            break;
    }
    return slot;
}

static int grow_slots(pk_symtab *t, uint64_t want)
{
    uint64_t n = 1024;
    uint32_t *slots;

    while (n < want * 2)
        n *= 2;
    if (n <= t->nslots)
        return 1;
    slots = calloc((size_t)n, sizeof(*slots));
    if (slots == NULL)
        return 0;
    free(t->slots);
    t->slots = slots;
    t->nslots = n;
    for (uint64_t i = 0; i < t->len; i++) {
        const entry_t *e = &t->entries[i];
        t->slots[find_slot(t, t->arena + e->name, e->name_len, e->hash)] = (uint32_t)(i + 1);
    }
    return 1;
}

static int grow(void **p, uint64_t *room, uint64_t want, size_t size)
{
    uint64_t n = *room == 0 ? 1024 : *room;
    void *q;

    if (want <= *room)
        return 1;
    while (n < want)
        n *= 2;
    if (n > SIZE_MAX / size || (q = realloc(*p, (size_t)n * size)) == NULL)
        return 0;
    *p = q;
    *room = n;
    return 1;
}

int pk_symtab_reserve(pk_symtab *t, uint64_t count)
{
    return t->len != 0 || grow_slots(t, count < 1u << 24 ? count : 1u << 24);
}

char *pk_symtab_room(pk_symtab *t, size_t len)
{
    /* Entries may share their names' bytes in a file: what they come to is bounded here. */
    if (t->arena_len > PK_NAMES_MAX - len || !grow((void **)&t->arena, &t->arena_room, t->arena_len + len, 1))
        return NULL;
    return t->arena + t->arena_len;
}

/* The arena's offset, + 1, of a module's name; 0: no room for it. */
static uint32_t intern_module(pk_symtab *t, const char *name, size_t len)
{
    char *at;

    if (t->module != 0) {   /* the symbols of a module follow each other */
        at = t->arena + t->module - 1;
        if ((uint8_t)at[0] == len && memcmp(at + 1, name, len) == 0)
            return t->module;
    }
    if (len > 255 || (at = pk_symtab_room(t, len + 1)) == NULL)
        return 0;
    at[0] = (char)len;
    memcpy(at + 1, name, len);
    t->module = (uint32_t)t->arena_len + 1;
    t->arena_len += len + 1;
    return t->module;
}

int pk_symtab_append(pk_symtab *t, const pk_symbol *s, int is_addr, int is_global)
{
    entry_t e = {.value = s->value, .size = s->size, .desc = s->desc, .type = s->type, .other = s->other};
    const size_t len = s->name_len;
    char *name;

    if (len > 65535 || t->len >= UINT32_MAX - 1 ||
        (s->module_len != 0 && (e.module = intern_module(t, s->module, s->module_len)) == 0) ||
        (name = pk_symtab_room(t, len)) == NULL ||
        !grow((void **)&t->entries, &t->room, t->len + 1, sizeof(*t->entries)) ||
        (t->len + 1 > t->nslots / 2 && !grow_slots(t, t->len + 1)))
        return 0;
    if (s->name != name)    /* else it was made in pk_symtab_room */
        memcpy(name, s->name, len);
    e.name = (uint32_t)t->arena_len;
    e.name_len = (uint16_t)len;
    e.hash = hash_name(t, name, len);
    e.is_addr = is_addr != 0;
    e.is_global = is_global != 0;
    t->entries[t->len++] = e;
    t->slots[find_slot(t, name, len, e.hash)] = (uint32_t)t->len;
    t->arena_len += len;
    return 1;
}

int pk_symtab_put(pk_symtab *t, const char *name, uint32_t len, uint64_t value, uint64_t size, uint8_t type,
                  int is_addr, const char *module, uint32_t module_len)
{
    const pk_symbol s = {.value = value, .size = size, .type = type, .name = name, .name_len = len,
                         .module = module, .module_len = module_len};

    return pk_symtab_append(t, &s, is_addr, type >= 'A' && type <= 'Z');
}

int64_t pk_symtab_add(pk_symtab *t, const void *entries, uint64_t count, const char *strings, uint64_t strings_size,
                      const pk_symlayout *l)
{
    const int big = l->big_endian;
    const uint8_t *raw = entries;
    int64_t bad = 0;

    if (!pk_symtab_reserve(t, count))
        return -1;
    for (uint64_t i = 0; i < count; i++, raw += l->entry_size) {
        const uint64_t at = pk_load(raw + l->name_off, 4, big);
        pk_symbol s = {.type = raw[l->type_off]};
        const char *end;

        if (at == 0 || (s.type & l->skip_types) != 0)
            continue;
        end = at < strings_size ? memchr(strings + at, 0, (size_t)(strings_size - at)) : NULL;
        if (end == NULL || end - (strings + at) > 65535) {
            bad++;
            continue;
        }
        if (end == strings + at)
            continue;
        s.name = strings + at;
        s.name_len = (uint32_t)(end - s.name);
        s.value = pk_load(raw + l->value_off, l->value_size, big);
        s.size = l->size_size != 0 ? pk_load(raw + l->size_off, l->size_size, big) : 0;
        s.other = raw[l->other_off];
        s.desc = (uint16_t)pk_load(raw + l->desc_off, 2, big);
        if (l->undefined && s.desc == 0 && s.value == 0)
            continue;
        if (!pk_symtab_append(t, &s,
                              (l->addr_types >> (s.type & l->addr_type_mask & 31) & 1) != 0 &&
                                  s.desc >= l->addr_desc_min && s.desc <= l->addr_desc_max,
                              (s.type & l->global_mask) != 0))
            return -1;
    }
    return bad;
}

void pk_symtab_slide(pk_symtab *t, uint64_t from, uint64_t delta)
{
    for (uint64_t i = 0; i < t->len; i++)
        if (t->entries[i].value >= from)
            t->entries[i].value += delta;
}

uint64_t pk_symtab_len(const pk_symtab *t)
{
    return t->len;
}

static void export(const pk_symtab *t, uint64_t i, pk_symbol *out)
{
    const entry_t *e = &t->entries[i];

    out->value = e->value;
    out->size = e->size;
    out->order = i;
    out->name = t->arena + e->name;
    out->name_len = e->name_len;
    out->desc = e->desc;
    out->type = e->type;
    out->other = e->other;
    out->module = e->module != 0 ? t->arena + e->module : NULL;
    out->module_len = e->module != 0 ? (uint8_t)t->arena[e->module - 1] : 0;
}

int pk_symtab_get(const pk_symtab *t, uint64_t index, pk_symbol *out)
{
    if (index >= t->len)
        return 0;
    export(t, index, out);
    return 1;
}

static const uint32_t *lookup(const pk_symtab *t, const char *name, uint64_t len)
{
    const uint32_t *slot;

    if (t->len == 0 || len > 65535)
        return NULL;
    slot = &t->slots[find_slot(t, name, (size_t)len, hash_name(t, name, (size_t)len))];
    return *slot == 0 ? NULL : slot;
}

int pk_symtab_find(const pk_symtab *t, const char *name, uint64_t len, pk_symbol *out)
{
    const uint32_t *slot = lookup(t, name, len);

    if (slot == NULL)
        return 0;
    export(t, *slot - 1, out);
    return 1;
}

int pk_symtab_nlist(const pk_symtab *t, const char *name, uint64_t len, int aout, pk_symbol *out)
{
    const uint32_t *slot = lookup(t, name, len);

    if (len > 1 && name[0] == '_' && !(aout && name[1] == '_')) {
        const uint32_t *plain = lookup(t, name + 1, len - 1);
        if (plain != NULL && (slot == NULL || *plain > *slot))
            slot = plain;
    }
    if (slot == NULL)
        return 0;
    export(t, *slot - 1, out);
    return 1;
}

uint64_t pk_symtab_value(const pk_symtab *t, const char *name, uint64_t len)
{
    const uint32_t *slot = lookup(t, name, len);

    return slot == NULL ? PK_MISS : t->entries[*slot - 1].value;
}

/* Heapsort by address, then globals last and later entries last, so that the
   last of equals is the one to name. (qsort has no room for the table, and its
   worst case may be quadratic.) */
static int before(const pk_symtab *t, uint32_t a, uint32_t b)
{
    const entry_t *x = &t->entries[a], *y = &t->entries[b];

    if (x->value != y->value)
        return x->value < y->value;
    if (x->is_global != y->is_global)
        return x->is_global < y->is_global;
    return a < b;
}

static void sift(const pk_symtab *t, uint32_t *v, uint64_t from, uint64_t len)
{
    for (;;) {
        uint64_t child = from * 2 + 1;
        uint32_t tmp;

        if (child >= len)
            return;
        if (child + 1 < len && before(t, v[child], v[child + 1]))
            child++;
        if (!before(t, v[from], v[child]))
            return;
        tmp = v[from];
        v[from] = v[child];
        v[child] = tmp;
        from = child;
    }
}

static int sort_addresses(pk_symtab *t)
{
    uint32_t *v = malloc((size_t)t->len * sizeof(*v) + 1);
    uint64_t n = 0;

    if (v == NULL)
        return 0;
    for (uint64_t i = 0; i < t->len; i++)
        if (t->entries[i].is_addr)
            v[n++] = (uint32_t)i;
    for (uint64_t i = n / 2; i-- > 0;)
        sift(t, v, i, n);
    for (uint64_t i = n; i-- > 1;) {
        uint32_t tmp = v[0];
        v[0] = v[i];
        v[i] = tmp;
        sift(t, v, 0, i);
    }
    t->by_addr = v;
    t->by_addr_len = n;
    return 1;
}

int pk_symtab_at(pk_symtab *t, uint64_t addr, pk_symbol *out)
{
    uint64_t lo = 0, hi;
    int sorted;

    pthread_mutex_lock(&t->sorting);
    sorted = t->by_addr != NULL || sort_addresses(t);
    pthread_mutex_unlock(&t->sorting);
    if (!sorted)
        return -1;
    for (hi = t->by_addr_len; lo < hi;) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (t->entries[t->by_addr[mid]].value <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return 0;
    export(t, t->by_addr[lo - 1], out);
    return lo == t->by_addr_len ? 2 : 1;
}
