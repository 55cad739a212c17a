/* Expanding what compress(1) made, piece by piece. */
typedef struct pk_lzw pk_lzw;

typedef struct {
    uint64_t taken, made;   /* bytes of src, and of dst */
    uint64_t where;         /* of a code that is none: its first bit, from the first of the stream on */
    uint32_t code, highest; /* which, and the highest that can be there */
} pk_lzw_result;

/* After the header of 3 bytes. max_bits: 9 to 16; block: code 256 clears the table. NULL: out of memory, or of these. */
pk_lzw *pk_lzw_new(uint32_t max_bits, int block);
void pk_lzw_free(pk_lzw *lzw);

/* Go on until src is used up or less than PK_LZW_ROOM of dst is left; what is made may be nothing. Without room for
   PK_LZW_ROOM at all nothing is done. At the end of the stream once more with an empty src, until nothing is made.
   1; 0: a code that is none, after which the state is of no more use. */
#define PK_LZW_ROOM 65544
int pk_lzw_feed(pk_lzw *lzw, const uint8_t *src, uint64_t size, uint8_t *dst, uint64_t dst_size,
                pk_lzw_result *result);
/* Whether the stream may end here: no part of a code is left. */
int pk_lzw_ended(const pk_lzw *lzw);
