/* Bitmaps of pages in a file, and how many bits are set before each: a dump's
   pages lie in the order of their bits. */
#include "core.h"

#define BLOCK_BITS 512u     /* bits that one count covers */
#define BLOCK (BLOCK_BITS / 8)

static unsigned ones(const uint8_t *p, uint64_t bytes)
{
    unsigned n = 0;
    uint64_t word;

    for (; bytes >= 8; p += 8, bytes -= 8) {
        memcpy(&word, p, 8);
        n += (unsigned)__builtin_popcountll(word);
    }
    for (; bytes > 0; p++, bytes--)
        n += (unsigned)__builtin_popcount(*p);
    return n;
}

/* The bytes of the bitmap: where they are mapped, or a copy. */
static int take(pk_bitmap *b, const pk_file *file, uint64_t offset, uint64_t bytes, int swap_words)
{
    const unsigned size = swap_words == 4 ? 4 : 8;
    pk_fault fault = {0};

    if (file->map != NULL && !swap_words) {
        b->bits = file->map + offset;
        return 1;
    }
    b->own = calloc(1, (size_t)bytes + 8);
    if (b->own == NULL)
        return 0;
    b->bits = b->own;
    if (pk_file_move(file, offset, b->own, NULL, bytes, 0, &fault) != bytes)
        return -1;
    for (uint64_t i = 0; swap_words && i < bytes; i += size) {
        uint64_t word = pk_load(b->own + i, size, 1);
        for (unsigned k = 0; k < size; k++)
            b->own[i + k] = (uint8_t)(word >> 8 * k);
    }
    return 1;
}

int pk_bitmap_open(pk_bitmap *b, const pk_image *image, uint32_t file, uint64_t offset, uint64_t nbits, int swap_words)
{
    const uint64_t bytes = nbits / 8 + (nbits % 8 != 0), blocks = nbits / BLOCK_BITS + 1;
    /* The first bits of a big-endian word are in its last byte. */
    const uint64_t word = swap_words == 0 ? 1 : swap_words == 4 ? 4 : 8, held = (bytes + word - 1) / word * word;
    uint64_t n = 0;
    int got;

    memset(b, 0, sizeof(*b));
    if (nbits > UINT32_MAX || file >= image->nfiles || offset > image->files[file].size ||
        held > image->files[file].size - offset)
        return -1;
    got = take(b, &image->files[file], offset, held, swap_words);
    b->counts = got > 0 ? malloc((size_t)blocks * sizeof(*b->counts)) : NULL;
    if (b->counts == NULL) {
        pk_bitmap_close(b);
        return got < 0 ? -1 : 0;
    }
    b->nbits = nbits;
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t left = bytes - i * BLOCK;
        b->counts[i] = (uint32_t)n;
        n += ones(b->bits + i * BLOCK, left < BLOCK ? left : BLOCK);
    }
    if (nbits % 8 != 0)     /* what is behind the last bit does not count */
        n -= (unsigned)__builtin_popcount(b->bits[bytes - 1] >> nbits % 8);
    b->total = n;
    return 1;
}

void pk_bitmap_close(pk_bitmap *b)
{
    free(b->own);
    free(b->counts);
    memset(b, 0, sizeof(*b));
}

uint64_t pk_bitmap_rank(const pk_bitmap *b, uint64_t i)
{
    const uint64_t block = i / BLOCK_BITS, byte = i >> 3, start = block * BLOCK;

    if (i >= b->nbits)
        return b->total;
    return b->counts[block] + ones(b->bits + start, byte - start) +
           (unsigned)__builtin_popcount(b->bits[byte] & ((1u << (i & 7)) - 1));
}
