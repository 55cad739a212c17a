/* Linux's kallsyms: the names that a kernel keeps of itself. */
#include "core.h"

enum {
    NAME_MAX_LEN = 1024,    /* a kernel's longest is 512 (KSYM_NAME_LEN) */
    MIN_COUNT = 257,        /* what is looked for has two markers at least */
    MAX_COUNT = 1 << 20,
    MAX_STEPS = 1 << 26,    /* names looked at in a search: a tenth of a second */
};

/* A token: long ones are copied from where they are, the others, being most, in one piece. */
enum { SHORT = 16 };
typedef struct {
    const char *text;       /* NULL: there is none */
    size_t len;
    char copy[SHORT];
} token_t;

static void prepare(const pk_kallsyms *k, token_t tokens[256])
{
    for (int i = 0; i < 256; i++) {
        const uint32_t start = k->token_index[i];
        const char *text = k->tokens + start;
        const char *nul = start < k->tokens_size ? memchr(text, 0, k->tokens_size - start) : NULL;
        token_t *t = &tokens[i];

        t->text = nul != NULL && nul - text <= NAME_MAX_LEN ? text : NULL;
        t->len = t->text != NULL ? (size_t)(nul - text) : 0;
        if (t->len > 0 && t->len <= SHORT)
            memcpy(t->copy, text, t->len);
    }
}

/* Number of tokens of the name at *at, which is moved behind the number; 0: it
   makes no sense. Since Linux 6.1 it may take two bytes, the low seven bits first. */
static inline size_t name_size(const uint8_t **at, const uint8_t *end)
{
    size_t n;

    if (*at == end)
        return 0;
    n = *(*at)++;
    if (n >= 0x80) {
        if (*at == end)
            return 0;
        n = (n & 0x7f) | (size_t)*(*at)++ << 7;
    }
    return n <= (size_t)(end - *at) ? n : 0;
}

static uint64_t value_of(const pk_kallsyms *k, uint32_t i, int *is_addr)
{
    int32_t offset;

    if (k->rule == PK_KALLSYMS_ADDRESSES)
        return pk_load(k->values + (size_t)i * (unsigned)k->value_size, (unsigned)k->value_size, k->big_endian);
    offset = (int32_t)pk_load(k->values + (size_t)i * 4, 4, k->big_endian);
    if (k->rule == PK_KALLSYMS_OFFSETS)
        return k->base + (uint32_t)offset;
    if (offset >= 0) {
        *is_addr = 0;
        return (uint64_t)offset;
    }
    return k->base - 1 - (uint64_t)(int64_t)offset;
}

int64_t pk_symtab_add_kallsyms(pk_symtab *t, const pk_kallsyms *k)
{
    const uint8_t *at = k->names, *end = k->names + k->names_size;
    token_t tokens[256];

    if (!pk_symtab_reserve(t, k->count))
        return -1;
    prepare(k, tokens);
    for (uint32_t i = 0; i < k->count; i++) {
        const size_t n = name_size(&at, end);
        const uint8_t *stop = at + n;
        pk_symbol s = {0};
        const token_t *first;
        char *name, *to;
        int is_addr;

        if (n == 0 || (first = &tokens[*at++])->len == 0)
            return i;
        if ((name = pk_symtab_room(t, NAME_MAX_LEN + SHORT)) == NULL)
            return -1;
        s.type = (uint8_t)first->text[0];
        memcpy(name, first->text + 1, first->len - 1);
        for (to = name + first->len - 1; at < stop; at++) {
            const token_t *token = &tokens[*at];
            if (token->text == NULL || token->len > (size_t)(name + NAME_MAX_LEN - to))
                return i;
            if (token->len <= SHORT)
                memcpy(to, token->copy, SHORT);
            else
                memcpy(to, token->text, token->len);
            to += token->len;
        }
        if (to == name)
            return i;
        is_addr = (s.type | 0x20) != 'a';
        s.value = value_of(k, i, &is_addr);
        s.name = name;
        s.name_len = (uint32_t)(to - name);
        if (!pk_symtab_append(t, &s, is_addr, s.type >= 'A' && s.type <= 'Z'))
            return -1;
    }
    return k->count;
}

/* Whether `count` names begin at `names`, and their markers behind them. */
static int names_at(const uint8_t *memory, uint64_t size, uint32_t align, int big, uint64_t names, uint32_t count,
                    uint64_t *steps, pk_kallsyms_place *out)
{
    const uint8_t *at = memory + names, *end = memory + size;
    const uint32_t nmarkers = (count + 255) / 256;

    for (uint32_t i = 0; i < count; i++) {
        const size_t n = name_size(&at, end);
        if (n == 0 || ++*steps > MAX_STEPS)
            return 0;
        at += n;
    }
    out->markers = ((uint64_t)(at - memory) + align - 1) & ~(uint64_t)(align - 1);
    /* Longs up to Linux 4.20, then of 4 bytes. */
    for (out->marker_size = 4; out->marker_size <= align; out->marker_size += 4) {
        const uint8_t *marker = memory + out->markers;

        if (out->markers > size || nmarkers > (size - out->markers) / out->marker_size)
            return 0;
        at = memory + names;
        for (uint32_t i = 0; i < count; i++) {
            if (i % 256 == 0) {
                if (pk_load(marker, out->marker_size, big) != (uint64_t)(at - memory) - names)
                    break;
                marker += out->marker_size;
            }
            at += name_size(&at, end);
        }
        if (marker == memory + out->markers + (uint64_t)nmarkers * out->marker_size)
            return 1;
    }
    return 0;
}

int pk_kallsyms_find(const uint8_t *memory, uint64_t size, uint32_t align, int big, pk_kallsyms_place *out)
{
    uint64_t steps = 0;

    for (uint64_t at = (size & ~(uint64_t)(align - 1)); at >= 2 * align && steps <= MAX_STEPS;) {
        uint32_t count;

        at -= align;
        /* 4 bytes and padding, or a long up to Linux 4.20. */
        count = (uint32_t)pk_load(memory + at, 4, big);
        if (align == 8) {
            const uint32_t other = (uint32_t)pk_load(memory + at + 4, 4, big);
            if (big && count == 0)
                count = other;
            else if (other != 0)
                continue;
        }
        if (count < MIN_COUNT || count > MAX_COUNT || count > (size - at - align) / 2)
            continue;
        out->num_syms = at;
        out->names = at + align;
        out->count = count;
        if (names_at(memory, size, align, big, out->names, count, &steps, out))
            return 1;
    }
    return 0;
}
