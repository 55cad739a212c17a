/* The LZW of compress(1), decoding only. A code stands for a byte (below 256), for
   "forget all strings" (256, in block mode), or for the string of an earlier code and
   the first byte of the string after that. Codes lie in the stream from low bits to
   high ones, 9 bits wide at first, and one bit wider as soon as all codes of a width
   have strings. They are written eight at a time: where the width changes, and after
   code 256, the others of the eight mean nothing. */
#include "core.h"

enum { MIN_BITS = 9, MAX_BITS = 16, CLEAR = 256, GROUP = 8 };

#define NONE UINT32_MAX
#define WORD 8u

/* A string is kept as words of eight bytes: its last one, which may be shorter, here,
   and those before as the string of another code. So it is written by words. */
typedef struct {
    uint64_t word;      /* as in memory */
    uint16_t before;    /* the code of all words before, if there are any */
    uint16_t len;
    uint8_t first;
} string;

struct pk_lzw {
    uint64_t read;              /* bytes of the stream */
    uint64_t bits;              /* read and not yet used, the next one lowest */
    uint32_t nbits;             /* how many */
    uint32_t max_bits, width;
    uint32_t next_width;        /* after the codes that mean nothing */
    uint32_t drop;              /* how many of those follow */
    uint32_t group;             /* codes of this group so far */
    uint32_t start;             /* the first code that can get a string */
    uint32_t known;             /* the next one that will */
    uint32_t last;              /* the code before; NONE: there was none since all were forgotten */
    int block;
    string strings[];           /* 1 << max_bits */
};

/* Byte i of a word. */
static inline uint64_t placed(uint8_t byte, uint32_t i)
{
    const uint32_t at = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? WORD - 1 - i : i;

    return (uint64_t)byte << (8 * at);
}

pk_lzw *pk_lzw_new(uint32_t max_bits, int block)
{
    pk_lzw *z;

    if (max_bits < MIN_BITS || max_bits > MAX_BITS)
        return NULL;
    if ((z = malloc(sizeof *z + (sizeof z->strings[0] << max_bits))) == NULL)
        return NULL;
    *z = (pk_lzw){
        .max_bits = max_bits,
        .width = MIN_BITS,
        .start = block ? CLEAR + 1 : CLEAR,
        .known = block ? CLEAR + 1 : CLEAR,
        .last = NONE,
        .block = block,
    };
    for (uint32_t i = 0; i < 256; i++)
        z->strings[i] = (string){.word = placed((uint8_t)i, 0), .len = 1, .first = (uint8_t)i};
    return z;
}

void pk_lzw_free(pk_lzw *z)
{
    free(z);
}

int pk_lzw_ended(const pk_lzw *z)
{
    /* The last byte is filled up with zeros. */
    return z->nbits < 8 && z->bits == 0;
}

/* A string with one byte more. */
static inline void longer(pk_lzw *z, uint32_t code, uint8_t byte, string *out)
{
    const string *s = &z->strings[code];
    const uint32_t i = s->len % WORD;

    /* One string gets longer by each code at most: len is below 65536. */
    *out = (string){
        .word = (i != 0 ? s->word : 0) | placed(byte, i),
        .before = i != 0 ? s->before : (uint16_t)code,
        .len = (uint16_t)(s->len + 1u),
        .first = s->first,
    };
}

/* Write a string, and up to 7 bytes behind it; its end. */
static inline uint8_t *put(const pk_lzw *z, uint32_t code, uint8_t *out)
{
    const string *s = &z->strings[code];
    const uint32_t len = s->len;
    uint32_t at = (len - 1) / WORD * WORD;

    for (;;) {
        memcpy(out + at, &s->word, WORD);
        if (at == 0)
            return out + len;
        at -= WORD;
        s = &z->strings[s->before];
    }
}

/* Begin with another width, at the next group. */
static inline void change(pk_lzw *z, uint32_t width, uint32_t group)
{
    z->drop = (GROUP - group) % GROUP;
    z->next_width = width;
    if (z->drop == 0)
        z->width = width;
}

int pk_lzw_feed(pk_lzw *z, const uint8_t *src, uint64_t size, uint8_t *dst, uint64_t dst_size, pk_lzw_result *result)
{
    const uint8_t *at = src;
    uint64_t left = size, bits = z->bits, made = 0;
    uint32_t nbits = z->nbits, group = z->group;
    const uint32_t all = (uint32_t)1 << z->max_bits;
    /* compress(1) looks whether it is at max_bits only after it has gone on to 10 bits, and so do all that read it. */
    const uint32_t widest = z->max_bits > MIN_BITS ? z->max_bits : MIN_BITS + 1;

    *result = (pk_lzw_result){0};
    if (dst_size < PK_LZW_ROOM)
        return 1;
    while (made <= dst_size - PK_LZW_ROOM) {
        uint32_t code, highest;

        if (nbits < z->width) {
            if (left >= 8) {
                /* What does not fit is read again, as the same bits. */
                const uint32_t n = (63 - nbits) / 8;
                bits |= pk_load(at, 8, 0) << nbits;
                nbits += 8 * n;
                at += n;
                left -= n;
            } else {
                for (; left > 0 && nbits < 56; left--, nbits += 8)
                    bits |= (uint64_t)*at++ << nbits;
            }
            if (nbits < z->width)
                break;
        }
        code = (uint32_t)bits & (((uint32_t)1 << z->width) - 1);
        bits >>= z->width;
        nbits -= z->width;
        group = (group + 1) % GROUP;
        if (z->drop != 0) {
            if (--z->drop == 0)
                z->width = z->next_width;
            continue;
        }
        if (code == CLEAR && z->block) {
            z->known = z->start;
            z->last = NONE;
            change(z, MIN_BITS, group);
            continue;
        }
        highest = z->last == NONE ? z->start - 1 : z->known < all ? z->known : all - 1;
        if (code > highest) {
            result->code = code;
            result->highest = highest;
            result->where = 8 * (z->read + (size - left)) - nbits - z->width;
            return 0;
        }
        if (z->last != NONE && z->known < all) {
            /* The code may be the very one that gets its string now: then it begins as the one before. */
            const uint32_t begins = code == z->known ? z->last : code;
            longer(z, z->last, z->strings[begins].first, &z->strings[z->known]);
            if (++z->known == (uint32_t)1 << z->width && z->width < widest)
                change(z, z->width + 1, group);
        }
        z->last = code;
        made = (uint64_t)(put(z, code, dst + made) - dst);
    }
    z->bits = bits & (((uint64_t)1 << nbits) - 1);
    z->nbits = nbits;
    z->group = group;
    z->read += size - left;
    result->taken = size - left;
    result->made = made;
    return 1;
}
