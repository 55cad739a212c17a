/* The compressions of dump pages: zlib by libdeflate, zstd and snappy by their
   libraries, LZO by lzo.c. */
#include "core.h"

#include <libdeflate.h>
#include <snappy-c.h>
#include <zstd.h>

/* Expanders are costly to make: one of each is kept for whoever comes next. */
static void *take(_Atomic(void *) *spare)
{
    return atomic_exchange(spare, NULL);
}

static void *give(_Atomic(void *) *spare, void *p)
{
    return atomic_exchange(spare, p);
}

static int inflate(pk_codecs *c, const void *src, size_t src_size, void *dst, size_t dst_size)
{
    struct libdeflate_decompressor *d = take(&c->inflate);
    int good;

    if (d == NULL && (d = libdeflate_alloc_decompressor()) == NULL)
        return 0;
    /* Without a place for the actual size, anything but dst_size is an error. */
    good = libdeflate_zlib_decompress(d, src, src_size, dst, dst_size, NULL) == LIBDEFLATE_SUCCESS;
    libdeflate_free_decompressor(give(&c->inflate, d));
    return good;
}

static int unzstd(pk_codecs *c, const void *src, size_t src_size, void *dst, size_t dst_size)
{
    ZSTD_DCtx *d = take(&c->zstd);
    size_t got;

    if (d == NULL && (d = ZSTD_createDCtx()) == NULL)
        return 0;
    got = ZSTD_decompressDCtx(d, dst, dst_size, src, src_size);
    ZSTD_freeDCtx(give(&c->zstd, d));
    return !ZSTD_isError(got) && got == dst_size;
}

static int unsnappy(const void *src, size_t src_size, void *dst, size_t dst_size)
{
    size_t n;

    /* The length that the stream promises is checked before anything is written. */
    if (snappy_uncompressed_length(src, src_size, &n) != SNAPPY_OK || n != dst_size)
        return 0;
    return snappy_uncompress(src, src_size, dst, &n) == SNAPPY_OK && n == dst_size;
}

int pk_codec_expand(pk_codecs *codecs, uint32_t flags, const void *src, size_t src_size, void *dst, size_t dst_size)
{
    switch (flags & PK_PAGE_CODECS) {
    case 0:
        if (src_size != dst_size)
            return 0;
        memcpy(dst, src, dst_size);
        return 1;
    case PK_PAGE_ZLIB:
        return inflate(codecs, src, src_size, dst, dst_size);
    case PK_PAGE_LZO:
        return pk_lzo1x_expand(src, src_size, dst, dst_size);
    case PK_PAGE_SNAPPY:
        return unsnappy(src, src_size, dst, dst_size);
    case PK_PAGE_ZSTD:
        return unzstd(codecs, src, src_size, dst, dst_size);
    default:
        return 0;
    }
}

void pk_codecs_free(pk_codecs *codecs)
{
    libdeflate_free_decompressor(take(&codecs->inflate));
    ZSTD_freeDCtx(take(&codecs->zstd));
}

int pk_expand(uint32_t flags, const void *src, size_t src_size, void *dst, size_t dst_size)
{
    pk_codecs codecs;
    int good;

    atomic_init(&codecs.inflate, NULL);
    atomic_init(&codecs.zstd, NULL);
    good = pk_codec_expand(&codecs, flags, src, src_size, dst, dst_size);
    pk_codecs_free(&codecs);
    return good;
}
