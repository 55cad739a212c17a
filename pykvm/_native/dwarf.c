/* DWARF: where the types with names are, and what an entry says. Format: DWARF 5, and what 2 to 4 had. */
#include "core.h"

typedef struct {
    uint64_t start, end, first;     /* of the unit, and of its first entry */
    uint64_t str_offsets_base;
    uint32_t table;
    uint8_t version, address_size, offset_size;
} unit_t;

/* Abbreviations: where each begins (behind its code), by its code - 1; 0: there is none. */
typedef struct {
    uint64_t at;
    uint32_t *codes;
    uint32_t count;
} table_t;

typedef struct {
    uint64_t offset;
    const char *name;
    uint32_t name_len, kind, next;  /* next: index + 1 of another name of the same bucket */
} entry_t;

struct pk_dwarf {
    pk_dwarf_sections s;
    unit_t *units;
    table_t *tables;
    entry_t *entries;
    uint32_t *heads;
    uint64_t nunits, ntables, nentries, unit_room, table_room, entry_room;
    uint64_t budget;                /* bytes of abbreviations that may still be read */
};

#define BUCKETS (1u << 17)          /* a kernel has some 100,000 names of types and constants */
#define MAX_CHAIN 512               /* names that a file makes to collide are damage */
#define MAX_ATTRIBUTES 64           /* of one entry: compilers write up to 25 */
#define MAX_NAME 4096
#define MAX_UNITS (1u << 18)        /* a kernel has some 4000, one of everything 30,000 */
#define MAX_NAMES (1u << 21)

enum { DAMAGED = 0, FINE = 1, NO_MEMORY = -1 };

/* -- numbers ------------------------------------------------------------------------------------------------ */

/* A place in a section; p is NULL once something ran out of it. */
typedef struct {
    const uint8_t *p, *end;
    int big_endian;
} cursor_t;

static void skip(cursor_t *c, uint64_t n)
{
    if (c->p != NULL)
        c->p = n <= (uint64_t)(c->end - c->p) ? c->p + n : NULL;
}

static uint64_t fixed(cursor_t *c, unsigned size)
{
    const uint8_t *p = c->p;

    skip(c, size);
    if (c->p == NULL)
        return 0;
    if (size != 3)
        return pk_load(p, size, c->big_endian);
    return c->big_endian ? (uint64_t)p[0] << 16 | p[1] << 8 | p[2] : (uint64_t)p[2] << 16 | p[1] << 8 | p[0];
}

static uint64_t leb(cursor_t *c, int is_signed)
{
    uint64_t value = 0;
    unsigned shift = 0;

    while (c->p != NULL) {
        const uint8_t byte = (uint8_t)fixed(c, 1);

        if (c->p == NULL)
            return 0;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if ((byte & 0x80) == 0) {
            if (is_signed && (byte & 0x40) != 0 && shift < 64)
                value |= ~(uint64_t)0 << shift;
            return value;
        }
        if (shift > 70)
            c->p = NULL;
    }
    return 0;
}

/* -- abbreviations ------------------------------------------------------------------------------------------ */

static int grow(void **items, uint64_t *room, uint64_t count, size_t size)
{
    void *more;

    if (count < *room)
        return 1;
    more = realloc(*items, (*room == 0 ? 16 : *room * 2) * size);
    if (more == NULL)
        return 0;
    *items = more;
    *room = *room == 0 ? 16 : *room * 2;
    return 1;
}

#define IMPLICIT_CONST 0x21u

static int read_table(pk_dwarf *d, uint64_t at, table_t *t)
{
    cursor_t c = { d->s.abbrev + at, d->s.abbrev + d->s.abbrev_size, d->s.big_endian };
    uint64_t room = 0, declared = 0, code;

    t->at = at;
    while ((code = leb(&c, 0)) != 0 && c.p != NULL) {
        const uint64_t here = (uint64_t)(c.p - d->s.abbrev) - at;
        unsigned attributes = 0;

        if (code > 4 * ++declared + 64 || here > UINT32_MAX)
            return DAMAGED;
        while (code > room) {
            const uint64_t before = room;
            if (!grow((void **)&t->codes, &room, room, sizeof(*t->codes)))
                return NO_MEMORY;
            memset(t->codes + before, 0, (room - before) * sizeof(*t->codes));
        }
        t->codes[code - 1] = (uint32_t)here;
        if (code > t->count)
            t->count = (uint32_t)code;
        leb(&c, 0);
        skip(&c, 1);
        for (;;) {
            const uint64_t attribute = leb(&c, 0), form = leb(&c, 0);
            if (form == IMPLICIT_CONST)
                leb(&c, 1);
            if (c.p == NULL || ++attributes > MAX_ATTRIBUTES)
                return DAMAGED;
            if (attribute == 0 && form == 0)
                break;
        }
        if ((uint64_t)(c.p - d->s.abbrev) - at > d->budget)
            return DAMAGED;
    }
    if (c.p == NULL)
        return DAMAGED;
    d->budget -= (uint64_t)(c.p - d->s.abbrev) - at;
    return FINE;
}

/* The table at an offset: that of the unit before, or a new one. */
static int find_table(pk_dwarf *d, uint64_t at, uint32_t *index)
{
    int ok;

    if (d->ntables > 0 && d->tables[d->ntables - 1].at == at) {
        *index = (uint32_t)d->ntables - 1;
        return FINE;
    }
    if (at >= d->s.abbrev_size)
        return DAMAGED;
    if (!grow((void **)&d->tables, &d->table_room, d->ntables, sizeof(*d->tables)))
        return NO_MEMORY;
    memset(&d->tables[d->ntables], 0, sizeof(*d->tables));
    *index = (uint32_t)d->ntables;
    d->ntables++;               /* so that it is freed */
    ok = read_table(d, at, &d->tables[*index]);
    return ok;
}

/* -- attributes --------------------------------------------------------------------------------------------- */

enum { OTHER, NUMBER, STRING, REFERENCE, BLOCK };

typedef struct {
    int class;
    uint64_t number;            /* of a block: its bytes */
    const uint8_t *bytes;
} value_t;

static void string_in(value_t *v, const uint8_t *section, uint64_t size, uint64_t at)
{
    v->class = OTHER;
    if (at < size) {
        v->class = STRING;
        v->bytes = section + at;
        v->number = size - at;
    }
}

static void indexed_string(const pk_dwarf *d, const unit_t *u, value_t *v, uint64_t index)
{
    const uint64_t size = d->s.str_offsets_size, base = u->str_offsets_base;

    v->class = OTHER;
    if (base <= size && index < (size - base) / u->offset_size)
        string_in(v, d->s.str, d->s.str_size,
                  pk_load(d->s.str_offsets + base + index * u->offset_size, u->offset_size, d->s.big_endian));
}

static void block(cursor_t *c, value_t *v, uint64_t size)
{
    v->class = BLOCK;
    v->number = size;
    v->bytes = c->p;
    skip(c, size);
}

static void reference(const unit_t *u, value_t *v, uint64_t offset)
{
    v->class = REFERENCE;
    v->number = offset < u->end - u->start ? u->start + offset : UINT64_MAX;
}

/* The value of an attribute in a form (DWARF 5, section 7.5.6, and GNU's); *implicit is in the abbreviation. */
static void read_form(const pk_dwarf *d, const unit_t *u, cursor_t *c, uint64_t form, uint64_t implicit, value_t *v)
{
    v->class = NUMBER;
    switch (form) {
    case 0x01:                                              /* addr */
        v->class = OTHER;
        skip(c, u->address_size);
        return;
    case 0x03: block(c, v, fixed(c, 2)); return;            /* block2 */
    case 0x04: block(c, v, fixed(c, 4)); return;
    case 0x05: v->number = fixed(c, 2); return;             /* data2 */
    case 0x06: v->number = fixed(c, 4); return;
    case 0x07: v->number = fixed(c, 8); return;
    case 0x08: {                                            /* string */
        const uint8_t *nul = c->p == NULL ? NULL : memchr(c->p, 0, (size_t)(c->end - c->p));
        v->class = STRING;
        v->bytes = c->p;
        v->number = nul == NULL ? 0 : (uint64_t)(nul + 1 - c->p);
        c->p = nul == NULL ? NULL : nul + 1;
        return;
    }
    case 0x09: case 0x18: block(c, v, leb(c, 0)); return;   /* block, exprloc */
    case 0x0a: block(c, v, fixed(c, 1)); return;
    case 0x0b: case 0x0c: v->number = fixed(c, 1); return;  /* data1, flag */
    case 0x0d: v->number = leb(c, 1); return;               /* sdata */
    case 0x0e: string_in(v, d->s.str, d->s.str_size, fixed(c, u->offset_size)); return;
    case 0x0f: v->number = leb(c, 0); return;               /* udata */
    case 0x10:                                              /* ref_addr */
        v->class = REFERENCE;
        v->number = fixed(c, u->version == 2 ? u->address_size : u->offset_size);
        return;
    case 0x11: reference(u, v, fixed(c, 1)); return;
    case 0x12: reference(u, v, fixed(c, 2)); return;
    case 0x13: reference(u, v, fixed(c, 4)); return;
    case 0x14: reference(u, v, fixed(c, 8)); return;
    case 0x15: reference(u, v, leb(c, 0)); return;
    case 0x19: v->number = 1; return;                       /* flag_present */
    case 0x1a: case 0x1f02: indexed_string(d, u, v, leb(c, 0)); return;
    case 0x1e:                                              /* data16 */
        v->class = OTHER;
        skip(c, 16);
        return;
    case 0x1f: string_in(v, d->s.line_str, d->s.line_str_size, fixed(c, u->offset_size)); return;
    case IMPLICIT_CONST: v->number = implicit; return;
    case 0x25: case 0x26: case 0x27: case 0x28: indexed_string(d, u, v, fixed(c, (unsigned)form - 0x24)); return;
    case 0x17: case 0x1d: case 0x1f20: case 0x1f21:         /* sec_offset; of another file: strp_sup, ref_alt, strp_alt */
        v->class = OTHER;
        v->number = fixed(c, u->offset_size);
        return;
    case 0x1c:                                              /* ref_sup4 */
        v->class = OTHER;
        skip(c, 4);
        return;
    case 0x20: case 0x24:                                   /* ref_sig8, ref_sup8 */
        v->class = OTHER;
        skip(c, 8);
        return;
    case 0x1b: case 0x22: case 0x23: case 0x1f01:           /* addrx, loclistx, rnglistx */
        v->class = OTHER;
        leb(c, 0);
        return;
    case 0x29: case 0x2a: case 0x2b: case 0x2c:             /* addrx1 ... addrx4 */
        v->class = OTHER;
        skip(c, form - 0x28);
        return;
    default:
        c->p = NULL;
    }
}

/* Where a member lies: a number, or the expression DW_OP_plus_uconst of DWARF 2. */
static void place(const pk_dwarf *d, const value_t *v, pk_die *out)
{
    if (v->class == NUMBER) {
        out->location = v->number;
    } else if (v->class == BLOCK && v->bytes != NULL && v->number > 1 && v->bytes[0] == 0x23) {
        cursor_t c = { v->bytes + 1, v->bytes + v->number, d->s.big_endian };
        out->location = leb(&c, 0);
        if (c.p != c.end)
            out->has |= PK_DIE_ODD;
    } else {
        out->has |= PK_DIE_ODD;
    }
}

static void take(const pk_dwarf *d, unit_t *u, uint64_t attribute, const value_t *v, pk_die *out)
{
    const int is_number = v->class == NUMBER;

    switch (attribute) {
    case 0x01:
        if (v->class == REFERENCE)
            out->sibling = v->number;
        return;
    case 0x03:
        if (v->class == STRING) {
            const uint64_t room = v->number < MAX_NAME ? v->number : MAX_NAME;
            const uint8_t *nul = memchr(v->bytes, 0, (size_t)room);
            out->name = (const char *)v->bytes;
            out->name_len = (uint32_t)(nul == NULL ? room : (uint64_t)(nul - v->bytes));
        }
        return;
    case 0x49:
        out->type = v->number;
        if (v->class != REFERENCE)
            out->has |= PK_DIE_ODD;
        return;
    case 0x38:
        place(d, v, out);
        return;
    case 0x72:
        u->str_offsets_base = v->number;
        return;
    default:
        if (!is_number)
            return;
    }
    switch (attribute) {
    case 0x0b: out->byte_size = v->number; out->has |= PK_DIE_BYTE_SIZE; return;
    case 0x0c: out->bit_offset = (int64_t)v->number; out->has |= PK_DIE_BIT_OFFSET; return;
    case 0x0d: out->bit_size = v->number; return;
    case 0x1c: out->value = (int64_t)v->number; return;
    case 0x2f: out->count = v->number + 1; return;
    case 0x37: out->count = v->number; return;
    case 0x3c: out->has |= v->number != 0 ? PK_DIE_DECLARATION : 0; return;
    case 0x3e: out->encoding = (uint32_t)v->number; return;
    case 0x6b: out->data_bit_offset = v->number; out->has |= PK_DIE_DATA_BIT_OFFSET; return;
    default: return;
    }
}

/* -- entries ------------------------------------------------------------------------------------------------ */

/* The entry at an offset of a unit, whose str_offsets_base is set by its first one. */
static int read_die(const pk_dwarf *d, unit_t *u, uint64_t offset, pk_die *out)
{
    const table_t *t = &d->tables[u->table];
    cursor_t c = { d->s.info + offset, d->s.info + u->end, d->s.big_endian };
    cursor_t a = { NULL, d->s.abbrev + d->s.abbrev_size, d->s.big_endian };
    const uint64_t code = leb(&c, 0);

    memset(out, 0, sizeof(*out));
    out->offset = offset;
    out->address_size = u->address_size;
    if (c.p == NULL || (code != 0 && (code > t->count || t->codes[code - 1] == 0)))
        return -1;
    if (code != 0) {
        a.p = d->s.abbrev + t->at + t->codes[code - 1];
        out->tag = (uint32_t)leb(&a, 0);
        out->has_children = fixed(&a, 1) != 0;
        for (;;) {
            const uint64_t attribute = leb(&a, 0);
            uint64_t form = leb(&a, 0), implicit = 0;
            value_t v = { OTHER, 0, NULL };

            if (form == IMPLICIT_CONST)
                implicit = leb(&a, 1);
            if (attribute == 0 && form == 0)
                break;
            if (form == 0x16) {                             /* indirect */
                form = leb(&c, 0);
                if (form == 0x16 || form == IMPLICIT_CONST)
                    return -1;
            }
            read_form(d, u, &c, form, implicit, &v);
            if (c.p == NULL || a.p == NULL)
                return -1;
            take(d, u, attribute, &v, out);
        }
    }
    out->next = (uint64_t)(c.p - d->s.info);
    return code != 0;
}

/* What follows an entry and all below it: by its sibling, or by counting the lists that begin and end. `out` may be
   the entry itself. */
static int next_die(const pk_dwarf *d, unit_t *u, const pk_die *die, pk_die *out)
{
    uint64_t at = die->next, depth = die->has_children ? 1 : 0;

    if (depth > 0 && die->sibling > die->next && die->sibling < u->end) {
        at = die->sibling;
        depth = 0;
    }
    while (at < u->end) {
        const int got = read_die(d, u, at, out);

        if (got < 0 || depth == 0)
            return got;
        at = out->next;
        if (got == 0)
            depth--;
        else if (out->has_children && out->sibling > out->next && out->sibling < u->end)
            at = out->sibling;
        else if (out->has_children)
            depth++;
    }
    return at == u->end && depth == 0 ? 0 : -1;
}

static unit_t *unit_of(const pk_dwarf *d, uint64_t offset)
{
    uint64_t low = 0, high = d->nunits;

    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (d->units[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->nunits && d->units[low].first <= offset ? &d->units[low] : NULL;
}

int pk_dwarf_read(const pk_dwarf *d, uint64_t offset, pk_die *out)
{
    const unit_t *found = unit_of(d, offset);
    unit_t u;

    if (found == NULL)
        return -1;
    u = *found;
    return read_die(d, &u, offset, out);
}

int pk_dwarf_next(const pk_dwarf *d, const pk_die *die, pk_die *out)
{
    const unit_t *found = unit_of(d, die->offset);
    unit_t u;

    if (found == NULL)
        return -1;
    u = *found;
    return next_die(d, &u, die, out);
}

/* -- the index ---------------------------------------------------------------------------------------------- */

static uint32_t bucket(const char *name, uint64_t len)
{
    uint32_t h = 2166136261u;

    for (uint64_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return (h ^ h >> 15) & (BUCKETS - 1);
}

static const entry_t *find_entry(const pk_dwarf *d, const char *name, uint64_t len, uint32_t kind, unsigned *chain)
{
    for (uint32_t i = d->heads[bucket(name, len)]; i != 0; i = d->entries[i - 1].next, ++*chain) {
        const entry_t *e = &d->entries[i - 1];
        if (e->kind == kind && e->name_len == len && memcmp(e->name, name, len) == 0)
            return e;
    }
    return NULL;
}

static int add(pk_dwarf *d, const pk_die *die, uint32_t kind)
{
    uint32_t *head;
    unsigned chain = 0;

    if (die->name == NULL || die->name_len == 0 || (die->has & PK_DIE_DECLARATION) != 0)
        return FINE;
    if (find_entry(d, die->name, die->name_len, kind, &chain) != NULL)
        return FINE;
    if (chain > MAX_CHAIN || d->nentries >= MAX_NAMES)
        return DAMAGED;
    if (!grow((void **)&d->entries, &d->entry_room, d->nentries, sizeof(*d->entries)))
        return NO_MEMORY;
    head = &d->heads[bucket(die->name, die->name_len)];
    d->entries[d->nentries] = (entry_t){ die->offset, die->name, die->name_len, kind, *head };
    *head = (uint32_t)++d->nentries;
    return FINE;
}

/* The constants of an enum. */
static int add_constants(pk_dwarf *d, unit_t *u, const pk_die *parent)
{
    pk_die die;
    int got = read_die(d, u, parent->next, &die), ok;

    while (got == 1) {
        if (die.tag == 0x28 && (ok = add(d, &die, PK_DWARF_ENUMERATOR)) != FINE)
            return ok;
        if (die.has_children)
            got = next_die(d, u, &die, &die);
        else
            got = die.next < u->end ? read_die(d, u, die.next, &die) : 0;
    }
    return got == 0 ? FINE : DAMAGED;
}

static int index_unit(pk_dwarf *d, unit_t *u)
{
    pk_die die;
    int got = read_die(d, u, u->first, &die), ok;

    if (got != 1 || !die.has_children)
        return got < 0 ? DAMAGED : FINE;
    got = die.next < u->end ? read_die(d, u, die.next, &die) : 0;
    while (got == 1) {
        ok = FINE;
        switch (die.tag) {
        case 0x02: case 0x13: ok = add(d, &die, PK_DWARF_STRUCT); break;
        case 0x17: ok = add(d, &die, PK_DWARF_UNION); break;
        case 0x16: ok = add(d, &die, PK_DWARF_TYPEDEF); break;
        case 0x04:
            ok = add(d, &die, PK_DWARF_ENUM);
            if (ok == FINE && die.has_children)
                ok = add_constants(d, u, &die);
            break;
        default: break;
        }
        if (ok != FINE)
            return ok;
        got = next_die(d, u, &die, &die);
    }
    return got == 0 ? FINE : DAMAGED;
}

/* The head of the unit at an offset (DWARF 5, section 7.5.1). */
static int read_unit(pk_dwarf *d, uint64_t at, unit_t *u)
{
    cursor_t c = { d->s.info + at, d->s.info + d->s.info_size, d->s.big_endian };
    uint64_t length, table, type = 1;

    memset(u, 0, sizeof(*u));
    u->start = at;
    u->offset_size = 4;
    length = fixed(&c, 4);
    if (length == 0xffffffff) {
        u->offset_size = 8;
        length = fixed(&c, 8);
    }
    if (c.p == NULL || length > (uint64_t)(c.end - c.p))
        return DAMAGED;
    c.end = c.p + length;
    u->end = (uint64_t)(c.end - d->s.info);
    u->version = (uint8_t)fixed(&c, 2);
    if (u->version >= 5) {
        type = fixed(&c, 1);
        u->address_size = (uint8_t)fixed(&c, 1);
        table = fixed(&c, u->offset_size);
    } else {
        table = fixed(&c, u->offset_size);
        u->address_size = (uint8_t)fixed(&c, 1);
    }
    if (type == 2 || type == 6)         /* a type unit: its signature, and where its type is */
        skip(&c, 8u + u->offset_size);
    else if (type == 4 || type == 5)    /* a skeleton, and what is in its place elsewhere */
        skip(&c, 8);
    if (c.p == NULL || u->version < 2 || u->version > 5 || d->nunits >= MAX_UNITS)
        return DAMAGED;
    if (u->address_size != 2 && u->address_size != 4 && u->address_size != 8)
        return DAMAGED;
    u->first = (uint64_t)(c.p - d->s.info);
    u->str_offsets_base = u->offset_size == 8 ? 16 : 8;
    return find_table(d, table, &u->table);
}

static int index_all(pk_dwarf *d, uint64_t *bad_at)
{
    uint64_t at = 0;

    while (at < d->s.info_size) {
        unit_t u;
        int ok = read_unit(d, at, &u);

        if (ok == FINE && u.first < u.end)
            ok = index_unit(d, &u);
        if (ok == FINE && !grow((void **)&d->units, &d->unit_room, d->nunits, sizeof(*d->units)))
            ok = NO_MEMORY;
        if (ok != FINE) {
            *bad_at = ok == DAMAGED ? at : UINT64_MAX;
            return 0;
        }
        d->units[d->nunits++] = u;
        at = u.end;
    }
    return 1;
}

pk_dwarf *pk_dwarf_new(const pk_dwarf_sections *sections, uint64_t *bad_at)
{
    pk_dwarf *d = calloc(1, sizeof(*d));

    *bad_at = UINT64_MAX;
    if (d == NULL)
        return NULL;
    d->s = *sections;
    d->budget = 4 * (sections->info_size + sections->abbrev_size);
    d->heads = calloc(BUCKETS, sizeof(*d->heads));
    if (d->heads == NULL || !index_all(d, bad_at)) {
        pk_dwarf_free(d);
        return NULL;
    }
    return d;
}

void pk_dwarf_free(pk_dwarf *d)
{
    if (d == NULL)
        return;
    for (uint64_t i = 0; i < d->ntables; i++)
        free(d->tables[i].codes);
    free(d->tables);
    free(d->units);
    free(d->entries);
    free(d->heads);
    free(d);
}

uint64_t pk_dwarf_find(const pk_dwarf *d, const char *name, uint64_t len, uint32_t kind)
{
    unsigned chain = 0;
    const entry_t *e = find_entry(d, name, len, kind, &chain);

    return e == NULL ? 0 : e->offset;
}

int pk_dwarf_name(const pk_dwarf *d, uint64_t index, uint32_t *kind, const char **name, uint32_t *len)
{
    if (index >= d->nentries)
        return 0;
    *kind = d->entries[index].kind;
    *name = d->entries[index].name;
    *len = d->entries[index].name_len;
    return 1;
}
