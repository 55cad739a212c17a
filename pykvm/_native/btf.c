/* BTF: where each type's record lies. Format: Linux Documentation/bpf/btf.rst. */
#include "core.h"

struct pk_btf {
    const pk_btf *base;
    const uint8_t *types;
    const char *strings;
    uint64_t strings_size, strings_start;   /* start: where the base's end */
    uint32_t count, room, first_id;
    int big_endian;
    uint32_t *at;
    uint32_t *heads, *next;     /* names: the first index + 1 of each bucket, and what follows each */
    uint32_t mask;
};

#define MAX_CHAIN 1024u     /* names that a file makes to collide are damage: a kernel's share buckets with up to 10 */
#define HEAD 12u    /* struct btf_type: name_off, info, size or type */
enum { INT = 1, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR,
       DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 };
#define NAMED (1u << INT | 1u << STRUCT | 1u << UNION | 1u << ENUM | 1u << TYPEDEF | 1u << ENUM64)
#define REFERS (1u << PTR | 1u << TYPEDEF | 1u << VOLATILE | 1u << CONST | 1u << RESTRICT | 1u << FUNC | \
                1u << FUNC_PROTO | 1u << VAR | 1u << DECL_TAG | 1u << TYPE_TAG)

/* Bytes that follow a btf_type, by kind and vlen. */
static int64_t tail(unsigned kind, uint32_t vlen)
{
    switch (kind) {
    case INT: case VAR: case DECL_TAG:
        return 4;
    case ARRAY:
        return 12;
    case STRUCT: case UNION: case DATASEC: case ENUM64:
        return (int64_t)vlen * 12;
    case ENUM: case FUNC_PROTO:
        return (int64_t)vlen * 8;
    case PTR: case FWD: case TYPEDEF: case VOLATILE: case CONST: case RESTRICT: case FUNC: case FLOAT: case TYPE_TAG:
        return 0;
    default:
        return -1;
    }
}

static uint32_t word(const pk_btf *b, const uint8_t *p)
{
    return (uint32_t)pk_load(p, 4, b->big_endian);
}

static unsigned kind_of(const pk_btf *b, const uint8_t *t)
{
    return word(b, t + 4) >> 24 & 31;
}

/* The string at an offset, and the bytes to the end of its section; NULL if it is nowhere. */
static const char *string_at(const pk_btf *b, uint32_t off, uint64_t *left)
{
    while (off < b->strings_start)
        b = b->base;
    if (off - b->strings_start >= b->strings_size)
        return NULL;
    *left = b->strings_size - (off - b->strings_start);
    return b->strings + (off - b->strings_start);
}

static int is_named(const pk_btf *b, uint32_t off, const char *name, size_t size)
{
    uint64_t left;
    const char *s = string_at(b, off, &left);

    return s != NULL && size <= left && memcmp(s, name, size) == 0;
}

/* FNV-1a. */
static uint32_t hash(const char *name, uint64_t left)
{
    uint32_t h = 2166136261u;

    for (; left > 0 && *name != '\0'; name++, left--)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h ^ h >> 15;
}

/* Whether all names and types that a record refers to can be there. */
static int is_whole(const pk_btf *b, const uint8_t *t)
{
    const unsigned kind = kind_of(b, t);
    const uint32_t vlen = word(b, t + 4) & 0xffff, end = pk_btf_end(b);
    const uint8_t *p = t + HEAD;
    uint64_t left;

    if (string_at(b, word(b, t), &left) == NULL || ((REFERS >> kind & 1) != 0 && word(b, t + 8) >= end))
        return 0;
    switch (kind) {
    case ARRAY:
        return word(b, p) < end;
    case STRUCT: case UNION:
        for (uint32_t i = 0; i < vlen; i++, p += 12)
            if (string_at(b, word(b, p), &left) == NULL || word(b, p + 4) >= end)
                return 0;
        return 1;
    case ENUM: case ENUM64:
        for (uint32_t i = 0; i < vlen; i++, p += kind == ENUM ? 8 : 12)
            if (string_at(b, word(b, p), &left) == NULL)
                return 0;
        return 1;
    default:
        return 1;
    }
}

/* Where each record begins; 1, 0 with *bad_at, or -1: out of memory. */
static int find_records(pk_btf *b, uint64_t types_size, uint64_t *bad_at)
{
    uint64_t off = 0;

    while (off < types_size) {
        int64_t more = -1;

        if (types_size - off >= HEAD)
            more = tail(kind_of(b, b->types + off), word(b, b->types + off + 4) & 0xffff);
        if (more < 0 || (uint64_t)more > types_size - off - HEAD || off > UINT32_MAX - 1) {
            *bad_at = off;
            return 0;
        }
        if (b->count == b->room) {
            const uint32_t room = b->room == 0 ? 1024 : b->room * 2;
            uint32_t *at = realloc(b->at, (size_t)room * sizeof(*at));
            if (at == NULL)
                return -1;
            b->at = at;
            b->room = room;
        }
        b->at[b->count++] = (uint32_t)off;
        off += HEAD + (uint64_t)more;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        if (!is_whole(b, b->types + b->at[i])) {
            *bad_at = b->at[i];
            return 0;
        }
    }
    return 1;
}

/* From the last to the first, each put in front: of two with one name the first is found. 1, 0 with *bad_at, or -1. */
static int index_names(pk_btf *b, uint64_t *bad_at)
{
    uint32_t buckets = 64, *lengths;
    int ok = 1;

    while (buckets < b->count / 2 && buckets < 1u << 30)
        buckets *= 2;
    b->mask = buckets - 1;
    b->heads = calloc(buckets, sizeof(*b->heads));
    b->next = calloc(b->count + 1u, sizeof(*b->next));
    lengths = calloc(buckets, sizeof(*lengths));
    if (b->heads == NULL || b->next == NULL || lengths == NULL)
        ok = -1;
    for (uint32_t i = b->count; i-- > 0 && ok == 1; ) {
        const uint8_t *t = b->types + b->at[i];
        uint64_t left = 0;

        if ((NAMED >> kind_of(b, t) & 1) != 0 && word(b, t) != 0) {
            const char *name = string_at(b, word(b, t), &left);
            const uint32_t bucket = hash(name, left) & b->mask;
            b->next[i] = b->heads[bucket];
            b->heads[bucket] = i + 1;
            if (++lengths[bucket] > MAX_CHAIN) {
                *bad_at = b->at[i];
                ok = 0;
            }
        }
    }
    free(lengths);
    return ok;
}

pk_btf *pk_btf_new(const uint8_t *types, uint64_t types_size, const char *strings, uint64_t strings_size,
                   const pk_btf *base, int big_endian, uint64_t *bad_at)
{
    pk_btf *b = calloc(1, sizeof(*b));
    int ok;

    *bad_at = UINT64_MAX;
    if (b == NULL)
        return NULL;
    b->base = base;
    b->types = types;
    b->strings = strings;
    b->strings_size = strings_size;
    b->strings_start = base == NULL ? 0 : base->strings_start + base->strings_size;
    b->first_id = base == NULL ? 1 : pk_btf_end(base);
    b->big_endian = big_endian;
    ok = find_records(b, types_size, bad_at);
    if (ok == 1)
        ok = index_names(b, bad_at);
    if (ok != 1) {
        pk_btf_free(b);
        return NULL;
    }
    return b;
}

void pk_btf_free(pk_btf *b)
{
    if (b == NULL)
        return;
    free(b->at);
    free(b->heads);
    free(b->next);
    free(b);
}

uint32_t pk_btf_first(const pk_btf *b)
{
    return b->first_id;
}

uint32_t pk_btf_end(const pk_btf *b)
{
    return b->first_id + b->count;
}

uint32_t pk_btf_at(const pk_btf *b, uint32_t id)
{
    return id < b->first_id || id - b->first_id >= b->count ? UINT32_MAX : b->at[id - b->first_id];
}

uint32_t pk_btf_find(const pk_btf *b, const char *name, uint32_t kinds)
{
    const size_t size = strlen(name) + 1;

    for (uint32_t i = b->heads[hash(name, size) & b->mask]; i != 0; i = b->next[i - 1]) {
        const uint8_t *t = b->types + b->at[i - 1];
        if ((kinds >> kind_of(b, t) & 1) != 0 && is_named(b, word(b, t), name, size))
            return b->first_id + i - 1;
    }
    return 0;
}

uint32_t pk_btf_enumerator(const pk_btf *b, const char *name, uint32_t *index)
{
    const size_t size = strlen(name) + 1;

    for (uint32_t i = 0; i < b->count; i++) {
        const uint8_t *t = b->types + b->at[i], *p = t + HEAD;
        const unsigned kind = kind_of(b, t);
        const uint32_t vlen = word(b, t + 4) & 0xffff;

        if (kind != ENUM && kind != ENUM64)
            continue;
        for (uint32_t j = 0; j < vlen; j++, p += kind == ENUM ? 8 : 12) {
            if (is_named(b, word(b, p), name, size)) {
                *index = j;
                return b->first_id + i;
            }
        }
    }
    return 0;
}

int pk_btf_flagged(const pk_btf *b, uint32_t kinds)
{
    for (uint32_t i = 0; i < b->count; i++) {
        const uint8_t *t = b->types + b->at[i];
        if ((kinds >> kind_of(b, t) & 1) != 0 && word(b, t + 4) >> 31 != 0)
            return 1;
    }
    return 0;
}
