/* BTF: where each type's record lies. Format: Linux Documentation/bpf/btf.rst. */
#include "core.h"

struct pk_btf {
    const uint8_t *types;
    const char *strings;
    uint64_t strings_size;
    uint32_t count, room, first_id;
    int big_endian;
    uint32_t *at;
};

#define HEAD 12u    /* struct btf_type: name_off, info, size or type */

/* Bytes that follow a btf_type, by kind and vlen. */
static int64_t tail(unsigned kind, uint32_t vlen)
{
    switch (kind) {
    case 1: case 14: case 17:           /* INT, VAR, DECL_TAG */
        return 4;
    case 3:                             /* ARRAY */
        return 12;
    case 4: case 5: case 15: case 19:   /* STRUCT, UNION, DATASEC, ENUM64 */
        return (int64_t)vlen * 12;
    case 6: case 13:                    /* ENUM, FUNC_PROTO */
        return (int64_t)vlen * 8;
    case 2: case 7: case 8: case 9: case 10: case 11: case 12: case 16: case 18:
        return 0;                       /* PTR FWD TYPEDEF VOLATILE CONST RESTRICT FUNC FLOAT TYPE_TAG */
    default:
        return -1;
    }
}

pk_btf *pk_btf_new(const uint8_t *types, uint64_t types_size, const char *strings, uint64_t strings_size,
                   uint32_t first_id, int big_endian, uint64_t *bad_at)
{
    pk_btf *b = calloc(1, sizeof(*b));
    uint64_t off = 0;

    *bad_at = UINT64_MAX;
    if (b == NULL)
        return NULL;
    b->types = types;
    b->strings = strings;
    b->strings_size = strings_size;
    b->first_id = first_id;
    b->big_endian = big_endian;
    while (off < types_size) {
        uint32_t info;
        int64_t more = -1;

        if (types_size - off >= HEAD) {
            info = (uint32_t)pk_load(types + off + 4, 4, big_endian);
            more = tail(info >> 24 & 31, info & 0xffff);
        }
        if (more < 0 || (uint64_t)more > types_size - off - HEAD || off > UINT32_MAX - 1) {
            *bad_at = off;
            pk_btf_free(b);
            return NULL;
        }
        if (b->count == b->room) {
            const uint32_t room = b->room == 0 ? 4096 : b->room * 2;
            uint32_t *at = realloc(b->at, (size_t)room * sizeof(*at));
            if (at == NULL) {
                pk_btf_free(b);
                return NULL;
            }
            b->at = at;
            b->room = room;
        }
        b->at[b->count++] = (uint32_t)off;
        off += HEAD + (uint64_t)more;
    }
    return b;
}

void pk_btf_free(pk_btf *b)
{
    if (b == NULL)
        return;
    free(b->at);
    free(b);
}

uint32_t pk_btf_count(const pk_btf *b)
{
    return b->count;
}

uint32_t pk_btf_at(const pk_btf *b, uint32_t id)
{
    return id < b->first_id || id - b->first_id >= b->count ? UINT32_MAX : b->at[id - b->first_id];
}

uint32_t pk_btf_find(const pk_btf *b, const char *name, uint32_t kinds)
{
    const size_t len = strlen(name) + 1;

    for (uint32_t i = 0; i < b->count; i++) {
        const uint8_t *t = b->types + b->at[i];
        const uint64_t str = pk_load(t, 4, b->big_endian);
        const unsigned kind = (unsigned)(pk_load(t + 4, 4, b->big_endian) >> 24 & 31);
        if ((kinds >> kind & 1) != 0 && str < b->strings_size && len <= b->strings_size - str &&
            memcmp(b->strings + str, name, len) == 0)
            return b->first_id + i;
    }
    return 0;
}
