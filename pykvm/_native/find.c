/* Looking for what has no address: bytes at known places of pages. */
#include "core.h"

#define NEEDLE 256u

uint64_t pk_image_find(const pk_image *image, uint64_t addr, uint64_t end, uint64_t step, const char *needle, uint32_t n)
{
    uint8_t room[NEEDLE];
    pk_fault fault;
    pk_view view;

    if (n > NEEDLE || step == 0)
        return end;
    for (uint64_t at = addr; at < end && end - at >= n; at += step) {
        const uint8_t *p = room;

        if (pk_image_view(image, at, &view) && view.seq == NULL && view.avail >= n)
            p = view.data;
        else if (pk_image_read(image, at, room, n, &fault) != n)
            p = NULL;
        if (p != NULL && memcmp(p, needle, n) == 0)
            return at;
        if (at > UINT64_MAX - step)
            break;
    }
    return end;
}

uint64_t pk_find_words(const uint8_t *data, uint64_t size, uint64_t from, const uint8_t *bits, uint32_t nbits,
                       int big_endian)
{
    for (uint64_t at = from; at < size && size - at >= 4; at++) {
        const uint32_t word = (uint32_t)pk_load(data + at, 4, big_endian);
        if (word < nbits && (bits[word >> 3] >> (word & 7) & 1) != 0)
            return at;
    }
    return size;
}
