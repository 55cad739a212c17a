/* Words, strings and columns of words of a kernel's virtual memory. */
#include "space.h"

#define AHEAD 32u

static inline uint64_t value(pk_space *s, uint64_t va, unsigned size)
{
    uint8_t raw[8];

    if (!(s->ndirect != 0 ? quick_direct(s, va, raw, size) : quick(s, va, raw, size)) && pk_space_read(s, va, raw, size, NULL) != size)
        return PK_MISS;
    return pk_load(raw, size, s->big_endian);
}

uint64_t pk_word_u8(pk_space *s, uint64_t va) { return value(s, va, 1); }
uint64_t pk_word_u16(pk_space *s, uint64_t va) { return value(s, va, 2); }
uint64_t pk_word_u32(pk_space *s, uint64_t va) { return value(s, va, 4); }
uint64_t pk_word_u64(pk_space *s, uint64_t va) { return value(s, va, 8); }

static inline int64_t signed_value(pk_space *s, uint64_t va, unsigned size)
{
    const uint64_t v = value(s, va, size), sign = (uint64_t)1 << (size * 8 - 1);

    return v == PK_MISS ? (int64_t)v : (int64_t)((v ^ sign) - sign);
}

int64_t pk_word_i8(pk_space *s, uint64_t va) { return signed_value(s, va, 1); }
int64_t pk_word_i16(pk_space *s, uint64_t va) { return signed_value(s, va, 2); }
int64_t pk_word_i32(pk_space *s, uint64_t va) { return signed_value(s, va, 4); }
int64_t pk_word_i64(pk_space *s, uint64_t va) { return signed_value(s, va, 8); }

uint64_t pk_space_cstr(pk_space *s, uint64_t va, char *buf, uint64_t limit, pk_fault *fault)
{
    uint64_t done = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    while (done < limit) {
        const uint64_t at = done == 0 ? va : (va + done) & s->va_mask;
        uint64_t step = GRANULE - (at & (GRANULE - 1)), got;
        const char *nul;

        if (step > limit - done)
            step = limit - done;
        got = pk_space_read(s, at, buf + done, step, fault);
        nul = memchr(buf + done, 0, (size_t)got);
        if (nul != NULL) {
            fault->status = PK_OK;
            return (uint64_t)(nul - buf);
        }
        done += got;
        if (got < step)
            return done;
    }
    return done;
}

uint64_t pk_space_gather(pk_space *s, const uint64_t *addrs, uint64_t count, uint64_t size, void *dst,
                         uint64_t stride, uint8_t *ok, pk_fault *fault)
{
    struct { const uint8_t *p; uint64_t seq, ticket; } places[AHEAD];
    char *out = dst;

    pk_set_fault(fault, PK_OK, 0, 0);
    for (uint64_t i = 0; i < count; i++, out += stride) {
        const uint64_t slot = i % AHEAD;
        int got;

        /* The host's memory is asked for many words before it is waited for. */
        if (slot == 0)
            for (uint64_t j = 0; j < AHEAD && i + j < count; j++) {
                places[j].p = known(s, addrs[i + j], size, &places[j].seq, &places[j].ticket);
                __builtin_prefetch(places[j].p);
            }
        /* Copies of known size are one instruction each. */
        got = size == 8   ? take(places[slot].p, places[slot].seq, places[slot].ticket, out, 8)
              : size == 4 ? take(places[slot].p, places[slot].seq, places[slot].ticket, out, 4)
                          : take(places[slot].p, places[slot].seq, places[slot].ticket, out, size);
        if (ok != NULL)
            ok[i] = 1;
        if (got || pk_space_read(s, addrs[i], out, size, fault) == size)
            continue;
        if (ok == NULL)
            return i;
        ok[i] = 0;
        memset(out, 0, (size_t)size);
    }
    pk_set_fault(fault, PK_OK, 0, 0);
    return count;
}
