/* Images of single pages, found by bitmap and descriptor (kdump-compressed). */

/* One file of a dump. Pages first_pfn ... last_pfn that are set in the bitmap
   have a descriptor each, in order: i64 offset, u32 size, u32 flags, u64 unused,
   in the dump's byte order. Bit p%8 of byte p/8 of a bitmap stands for page p. */
typedef struct {
    uint32_t file;
    uint32_t reserved;
    uint64_t first_pfn, last_pfn;       /* inclusive */
    uint64_t bitmap_offset;             /* of the bitmap of dumped pages */
    uint64_t descriptor_offset;
} pk_page_part;

typedef struct {
    uint64_t pages;             /* bits of the bitmaps */
    uint64_t valid_offset;      /* the bitmap of memory that exists, in file 0; 0: none */
    uint32_t page_size;         /* a power of two, 512 to 1 MB */
    int big_endian;
    uint32_t cache_bytes;       /* at most, for expanded pages */
} pk_page_shape;

#define PK_PAGE_ZLIB   1
#define PK_PAGE_LZO    2
#define PK_PAGE_SNAPPY 4
#define PK_PAGE_ZSTD   32
#define PK_PAGE_CODECS 39

/* Make the image one of pages. 0; -1 out of memory; 1 + i: part i does not fit
   its file, or its pages are not behind those of the part before. */
int pk_image_set_pages(pk_image *image, const pk_page_shape *shape, const pk_page_part *parts, size_t count);

/* Pages that are there, and pages of memory that were left out. */
uint64_t pk_image_pages_present(const pk_image *image);
uint64_t pk_image_pages_excluded(const pk_image *image);

/* Expand one page by a codec (PK_PAGE_*, 0: stored); 1 if it gives exactly
   dst_size bytes. For tests of the codecs. */
int pk_expand(uint32_t flags, const void *src, size_t src_size, void *dst, size_t dst_size);
