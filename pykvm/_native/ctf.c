/* CTF: where each type's record lies. Format: ctf(5) of illumos and FreeBSD; version 3 as in FreeBSD 14's <sys/ctf.h>. */
#include "core.h"

/* How a version packs a record: ctt_info (kind, whether it is a root, vlen) and ids are this many bytes. */
typedef struct {
    unsigned width, kind_shift;
    uint32_t root, vlen;
    uint32_t large;         /* ctt_size that says that the size follows, in two words */
    uint64_t threshold;     /* structures of so many bytes have members with wide offsets */
    unsigned member;        /* bytes of a member of one below that */
    uint32_t child;         /* set in the ids of what has a base */
} shape;

static const shape SHAPES[] = {
    {2, 11, 1u << 10, 0x3ff, 0xffff, 1u << 13, 8, 1u << 15},
    {4, 26, 1u << 25, 0xffffff, 0xffffffff, 1u << 29, 12, 1u << 31},
};
#define FIRST_VERSION 2u
#define WIDE_MEMBER 16u

struct pk_ctf {
    const pk_ctf *base;
    const shape *shape;
    const uint8_t *types;
    uint64_t types_size;
    const char *strings[2];     /* by the highest bit of a reference */
    uint64_t strings_size[2];
    uint32_t count, room, first_id;
    int big_endian;
    uint32_t *at;
    pk_names names;
};

enum { UNKNOWN, INTEGER, FLOAT, POINTER, ARRAY, FUNCTION, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, VOLATILE, CONST,
       RESTRICT };
#define NAMED (1u << INTEGER | 1u << STRUCT | 1u << UNION | 1u << ENUM | 1u << TYPEDEF)

static uint32_t load(const pk_ctf *c, const uint8_t *p, unsigned size)
{
    return (uint32_t)pk_load(p, size, c->big_endian);
}

/* The record at an offset of the section, *more: the bytes that follow its head. 1 or 0. */
static int parse(const pk_ctf *c, uint64_t off, pk_ctf_type *t, int *is_root, uint64_t *more)
{
    const shape *s = c->shape;
    const uint8_t *p = c->types + off;
    const uint64_t left = c->types_size - off;
    uint64_t head = 4 + 2 * s->width;
    uint32_t info;

    if (left < head)
        return 0;
    t->name = load(c, p, 4);
    info = load(c, p + 4, s->width);
    t->kind = info >> s->kind_shift;
    t->vlen = info & s->vlen;
    *is_root = (info & s->root) != 0;
    t->size = load(c, p + 4 + s->width, s->width);
    if (t->size == s->large) {
        head += 8;
        if (left < head)
            return 0;
        t->size = (uint64_t)load(c, p + head - 8, 4) << 32 | load(c, p + head - 4, 4);
    }
    t->each = 0;
    switch (t->kind) {
    case INTEGER: case FLOAT:
        *more = 4;
        break;
    case ARRAY:
        *more = 2 * s->width + 4;
        break;
    case FUNCTION:
        *more = ((uint64_t)t->vlen * s->width + 3) & ~(uint64_t)3;
        break;
    case STRUCT: case UNION: case ENUM:
        t->each = t->kind == ENUM ? 8 : t->size < s->threshold ? s->member : WIDE_MEMBER;
        *more = (uint64_t)t->vlen * t->each;
        break;
    case UNKNOWN: case POINTER: case FORWARD: case TYPEDEF: case VOLATILE: case CONST: case RESTRICT:
        *more = 0;
        break;
    default:
        return 0;
    }
    if (off + head > UINT32_MAX || *more > left - head)
        return 0;
    t->at = (uint32_t)(off + head);
    return 1;
}

/* A record that has been parsed before. */
static int again(const pk_ctf *c, uint32_t index, pk_ctf_type *t)
{
    int is_root;
    uint64_t more;

    return parse(c, c->at[index], t, &is_root, &more) ? 1 + is_root : 0;
}

/* The string of a reference, and the bytes to the end of its table; NULL if it is nowhere. */
static const char *string_at(const pk_ctf *c, uint32_t ref, uint64_t *left)
{
    const uint32_t table = ref >> 31, off = ref & 0x7fffffff;

    if (off >= c->strings_size[table])
        return NULL;
    *left = c->strings_size[table] - off;
    return c->strings[table] + off;
}

static int is_named(const pk_ctf *c, uint32_t ref, const char *name, size_t size)
{
    uint64_t left;
    const char *s = string_at(c, ref, &left);

    return s != NULL && size <= left && memcmp(s, name, size) == 0;
}

static int is_own(const pk_ctf *c, uint64_t id)
{
    return id >= c->first_id && id - c->first_id < c->count;
}

static int is_type(const pk_ctf *c, uint64_t id)
{
    return id == 0 || is_own(c, id) || (c->base != NULL && is_own(c->base, id));
}

/* Whether all names and types that a record refers to can be there. */
static int is_whole(const pk_ctf *c, const pk_ctf_type *t)
{
    const uint8_t *p = c->types + t->at;
    uint64_t left;

    if (string_at(c, t->name, &left) == NULL)
        return 0;
    switch (t->kind) {
    case POINTER: case FUNCTION: case TYPEDEF: case VOLATILE: case CONST: case RESTRICT:
        return is_type(c, t->size);
    case ARRAY:
        return is_type(c, load(c, p, c->shape->width));
    case STRUCT: case UNION: case ENUM:
        for (uint32_t i = 0; i < t->vlen; i++, p += t->each)
            if (string_at(c, load(c, p, 4), &left) == NULL ||
                (t->kind != ENUM && !is_type(c, load(c, p + 4, c->shape->width))))
                return 0;
        return 1;
    default:
        return 1;
    }
}

/* Where each record begins; 1, 0 with *bad_at, or -1: out of memory. */
static int find_records(pk_ctf *c, uint64_t *bad_at)
{
    pk_ctf_type t;
    uint64_t more;
    int is_root;

    for (uint64_t off = 0; off < c->types_size; off = t.at + more) {
        if (!parse(c, off, &t, &is_root, &more)) {
            *bad_at = off;
            return 0;
        }
        if (c->count == c->room) {
            const uint32_t room = c->room == 0 ? 1024 : c->room * 2;
            uint32_t *at = realloc(c->at, (size_t)room * sizeof(*at));
            if (at == NULL)
                return -1;
            c->at = at;
            c->room = room;
        }
        c->at[c->count++] = (uint32_t)off;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (!again(c, i, &t) || !is_whole(c, &t)) {
            *bad_at = c->at[i];
            return 0;
        }
    }
    return 1;
}

/* From the last to the first and those at the top level last, each put in front: of two with one name the first is
   found, and what is at the top level before what is not. */
static int index_names(pk_ctf *c)
{
    pk_ctf_type t;
    uint64_t left;

    if (!pk_names_open(&c->names, c->count))
        return 0;
    for (int root = 0; root < 2; root++) {
        for (uint32_t i = c->count; i-- > 0; ) {
            if (again(c, i, &t) != 1 + root || (NAMED >> t.kind & 1) == 0)
                continue;
            const char *name = string_at(c, t.name, &left);
            if (*name != '\0')
                pk_names_put(&c->names, i, name, left);
        }
    }
    return 1;
}

pk_ctf *pk_ctf_new(const uint8_t *types, uint64_t types_size, const char *strings, uint64_t strings_size,
                   const char *linked, uint64_t linked_size, const pk_ctf *base, unsigned version, int big_endian,
                   uint64_t *bad_at)
{
    pk_ctf *c = calloc(1, sizeof(*c));
    int ok;

    *bad_at = UINT64_MAX;
    if (c == NULL)
        return NULL;
    c->base = base;
    c->shape = &SHAPES[version - FIRST_VERSION];
    c->types = types;
    c->types_size = types_size;
    c->strings[0] = strings;
    c->strings_size[0] = strings_size;
    c->strings[1] = linked;
    c->strings_size[1] = linked == NULL ? 0 : linked_size;
    c->first_id = 1 + (base == NULL ? 0 : c->shape->child);
    c->big_endian = big_endian;
    ok = find_records(c, bad_at);
    if (ok != 1 || !index_names(c)) {
        pk_ctf_free(c);
        return NULL;
    }
    return c;
}

void pk_ctf_free(pk_ctf *c)
{
    if (c == NULL)
        return;
    free(c->at);
    pk_names_close(&c->names);
    free(c);
}

uint32_t pk_ctf_first(const pk_ctf *c)
{
    return c->first_id;
}

uint32_t pk_ctf_end(const pk_ctf *c)
{
    return c->first_id + c->count;
}

int pk_ctf_get(const pk_ctf *c, uint32_t id, pk_ctf_type *t)
{
    return is_own(c, id) && again(c, id - c->first_id, t) != 0;
}

uint32_t pk_ctf_find(const pk_ctf *c, const char *name, uint32_t kinds, uint32_t after)
{
    const size_t size = strlen(name) + 1;
    uint32_t i = pk_names_first(&c->names, name);
    pk_ctf_type t;

    if (after != 0)
        i = is_own(c, after) ? c->names.next[after - c->first_id] : 0;
    for (; i != 0; i = c->names.next[i - 1])
        if (again(c, i - 1, &t) && (kinds >> t.kind & 1) != 0 && is_named(c, t.name, name, size))
            return c->first_id + i - 1;
    return 0;
}

uint32_t pk_ctf_enumerator(const pk_ctf *c, const char *name, uint32_t *index)
{
    const size_t size = strlen(name) + 1;
    pk_ctf_type t;

    for (uint32_t i = 0; i < c->count; i++) {
        if (!again(c, i, &t) || t.kind != ENUM)
            continue;
        for (uint32_t j = 0; j < t.vlen; j++) {
            if (is_named(c, load(c, c->types + t.at + (uint64_t)j * t.each, 4), name, size)) {
                *index = j;
                return c->first_id + i;
            }
        }
    }
    return 0;
}
