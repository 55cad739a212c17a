/* Images of whole pages that follow one another in file 0, in the order of the
   set bits of a bitmap. */
typedef struct {
    uint64_t bits;              /* of the bitmap */
    uint64_t bitmap_offset;
    uint64_t data_offset;       /* of the page of the first set bit */
    uint32_t page_size;         /* a power of two */
    int swap_words;             /* the bitmap is of big-endian words of so many bytes (4, 8), or 0 */
} pk_minidump_shape;

/* Pages first_page ... have the bits first_bit ... . */
typedef struct {
    uint64_t first_page, pages, first_bit;
} pk_minidump_range;

/* Make the image one of a minidump; without ranges bit i is page i. 0; -1 out of
   memory; 1: the bitmap does not fit the file; 2: ranges overlap. */
int pk_image_set_minidump(pk_image *image, const pk_minidump_shape *shape, const pk_minidump_range *ranges,
                          size_t nranges);
/* Pages that are there. */
uint64_t pk_image_minidump_present(const pk_image *image);

/* Where the page of addr lies in the file, and how many pages from it on (at most
   `most`) lie in one piece there. Of a page that is not there (or not whole, in a
   file that was cut) *offset is PK_NO_OFFSET, and the result how many are not. */
#define PK_NO_OFFSET 0xffffffffffffffff
uint64_t pk_image_minidump_where(const pk_image *image, uint64_t addr, uint64_t most, uint64_t *offset);
/* The first page with the number `page` or a higher one that is there: *page, *offset,
   and how many follow in one piece; 0 if there is none. */
uint64_t pk_image_minidump_next(const pk_image *image, uint64_t *page, uint64_t *offset);
