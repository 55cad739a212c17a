/* Linux's tables of exported symbols, found by their looks. */
#include "core.h"

enum {
    NAME_MAX_LEN = 512,     /* KSYM_NAME_LEN of the kernel */
    MAX_STEPS = 1 << 23,    /* bytes of names looked at in a search: kernels need a tenth of it */
};

/* What is at an offset: the field's address, or what it is the distance to. */
static uint64_t target(const uint8_t *memory, const pk_ksymtab_shape *s, uint64_t at)
{
    const uint64_t v = pk_load(memory + at, s->width, s->big_endian);

    if (!s->relative)
        return v;
    return s->base + at + (uint64_t)(int64_t)(int32_t)(uint32_t)v;
}

/* A C identifier; Rust's have dots and dollars, too. */
static int in_name(uint8_t c)
{
    const uint8_t letter = c | 0x20;

    return (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '$';
}

/* Where the name that an entry names begins; size if it is none. */
static uint64_t name_at(const uint8_t *memory, uint64_t size, const pk_ksymtab_shape *s, uint64_t at, uint64_t *len,
                        uint64_t *steps)
{
    const uint64_t name = target(memory, s, at + s->width) - s->base;

    if (name >= size)
        return size;
    for (uint64_t i = 0; i < size - name && i < NAME_MAX_LEN; i++) {
        if (memory[name + i] == 0) {
            *steps += i;
            *len = i;
            return i > 0 ? name : size;
        }
        if (!in_name(memory[name + i])) {
            *steps += i;
            return size;
        }
    }
    *steps += NAME_MAX_LEN;
    return size;
}

uint64_t pk_ksymtab_find(const uint8_t *memory, uint64_t size, const pk_ksymtab_shape *s, uint64_t least, uint64_t *at)
{
    const uint64_t entry = (uint64_t)s->width * s->fields;
    uint64_t steps = 0, start = *at, count = 0, before = 0;

    for (uint64_t p = *at; p <= size && size - p >= entry && steps <= MAX_STEPS; p += entry) {
        uint64_t len, name = name_at(memory, size, s, p, &len, &steps);

        /* Both end within the memory, with a NUL. */
        if (name < size && count > 0 && strcmp((const char *)memory + before, (const char *)memory + name) >= 0) {
            if (count >= least)
                break;
            count = 0;
        }
        if (name == size) {
            if (count >= least)
                break;
            count = 0;
            continue;
        }
        if (count++ == 0)
            start = p;
        before = name;
    }
    *at = start;
    return count >= least ? count : 0;
}

int pk_ksymtab_entry(const uint8_t *memory, uint64_t size, const pk_ksymtab_shape *s, uint64_t at, uint64_t *value,
                     const char **name, uint64_t *name_len)
{
    uint64_t steps = 0, found;

    if (at > size || size - at < (uint64_t)s->width * s->fields)
        return 0;
    found = name_at(memory, size, s, at, name_len, &steps);
    if (found == size)
        return 0;
    *name = (const char *)memory + found;
    *value = target(memory, s, at);
    return 1;
}
