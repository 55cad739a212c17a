/* LZO1X, decoding only. Format: Linux Documentation/staging/lzo.rst. Every
   literal run and match is checked against both buffers. */
#include "core.h"

typedef struct {
    const uint8_t *at, *end;
    uint8_t *out, *out_start, *out_end;
} stream;

/* A length that continues in bytes: 255 for each zero byte, then the last. */
static int long_length(stream *s, size_t *len)
{
    while (s->at < s->end && *s->at == 0) {
        if (*len > ((size_t)1 << 31))
            return 0;
        *len += 255;
        s->at++;
    }
    if (s->at == s->end)
        return 0;
    *len += *s->at++;
    return 1;
}

/* Short runs are copied as whole words where both sides have room for that. */
#define WORD 8u
#define SHORT 16u

static inline int literals(stream *s, size_t n)
{
    const size_t in = (size_t)(s->end - s->at), room = (size_t)(s->out_end - s->out);

    if (n <= SHORT && in >= SHORT && room >= SHORT) {
        memcpy(s->out, s->at, SHORT);
    } else {
        if (n > in || n > room)
            return 0;
        memcpy(s->out, s->at, n);
    }
    s->out += n;
    s->at += n;
    return 1;
}

static inline int match(stream *s, size_t distance, size_t n)
{
    const size_t room = (size_t)(s->out_end - s->out);
    const uint8_t *from = s->out - distance;

    if (distance > (size_t)(s->out - s->out_start) || n > room)
        return 0;
    if (distance >= WORD && room >= n + WORD) {
        /* What overlaps repeats at a distance that a word does not reach. */
        for (size_t i = 0; i < n; i += WORD)
            memcpy(s->out + i, from + i, WORD);
    } else if (distance == 1) {
        memset(s->out, *from, n);
    } else {
        for (size_t i = 0; i < n; i++)
            s->out[i] = from[i];
    }
    s->out += n;
    return 1;
}

int pk_lzo1x_expand(const uint8_t *src, size_t src_size, uint8_t *dst, size_t dst_size)
{
    stream s = {src, src + src_size, dst, dst, dst + dst_size};
    unsigned state = 0;     /* literals copied before this instruction; 4: a long run */

    if (src_size > 0 && *s.at > 17) {
        const size_t n = *s.at++ - 17u;
        if (!literals(&s, n))
            return 0;
        state = n < 4 ? (unsigned)n : 4;
    }
    while (s.at < s.end) {
        const unsigned t = *s.at++;
        size_t len, distance;

        if (t < 16 && state == 0) {
            len = 3 + t;
            if (t == 0) {
                len = 18;
                if (!long_length(&s, &len))
                    return 0;
            }
            if (!literals(&s, len))
                return 0;
            state = 4;
            continue;
        }
        if (t >= 16 && t < 64) {
            unsigned low;
            const size_t bits = t < 32 ? t & 7 : t & 31;

            len = 2 + bits;
            if (bits == 0) {
                len = 2 + (t < 32 ? 7 : 31);
                if (!long_length(&s, &len))
                    return 0;
            }
            if (s.end - s.at < 2)
                return 0;
            low = s.at[0] | (unsigned)s.at[1] << 8;
            s.at += 2;
            distance = low >> 2;
            if (t < 32) {
                distance += 16384 + ((size_t)(t & 8) << 11);
                if (distance == 16384)      /* the end mark */
                    return s.out == s.out_end;
            } else {
                distance += 1;
            }
            state = low & 3;
        } else {
            if (s.at == s.end)
                return 0;
            if (t >= 64) {
                len = (t >> 5) + 1;
                distance = ((size_t)*s.at++ << 3) + (t >> 2 & 7) + 1;
            } else if (state == 4) {
                len = 3;
                distance = ((size_t)*s.at++ << 2) + (t >> 2) + 2049;
            } else {
                len = 2;
                distance = ((size_t)*s.at++ << 2) + (t >> 2) + 1;
            }
            state = t & 3;
        }
        if (!match(&s, distance, len) || !literals(&s, state))
            return 0;
    }
    return 0;
}
