/* A kernel's virtual memory: an image seen through an MMU, with a software TLB.
   Any number of threads may read one space. */
typedef struct pk_space pk_space;

/* Takes its own references. `va_mask` is the target's address width: addresses
   wrap at it within a read, as a pointer of that width does. `entries` is the size
   of the TLB, a power of two. */
pk_space *pk_space_new(pk_image *image, pk_mmu *mmu, uint64_t va_mask, int big_endian, uint32_t entries);
void pk_space_free(pk_space *space);
/* From now on every access says PK_ECLOSED; memory stays until pk_space_free. */
void pk_space_close(pk_space *space);

/* File 0 of the image has this range of virtual addresses as it is, from `offset` on (/proc/kcore): it is read there,
   and nowhere translated. Not `sure`: zeros may stand for what is not mapped (vmalloc), and count only if page tables say
   that it is. At most PK_DIRECT_MAX ranges, before the first read; 1, or 0: too many. */
#define PK_DIRECT_MAX 64
int pk_space_direct(pk_space *space, uint64_t start, uint64_t last, uint64_t offset, int sure);

/* Physical address of va, or 0 with fault->status set; *left is the number of
   bytes to the end of that page. */
uint64_t pk_space_translate(pk_space *space, uint64_t va, uint64_t *left, pk_fault *fault);

/* Where n bytes lie mapped in one piece, for as long as the space lives; NULL if
   they do not. */
const char *pk_space_window(pk_space *space, uint64_t va, uint64_t n);

/* Bytes moved, which is n unless fault->status is set; of a read the fault may be NULL. A write
   is begun only if all of it can be written. */
uint64_t pk_space_read(pk_space *space, uint64_t va, void *buf, uint64_t n, pk_fault *fault);
/* The same for a few bytes, if it is known where they lie: 1; else 0, and nothing was done. */
int pk_space_quick(pk_space *space, uint64_t va, void *buf, uint64_t n);
uint64_t pk_space_write(pk_space *space, uint64_t va, const void *buf, uint64_t n, pk_fault *fault);

/* One value in the target's byte order. PK_MISS may be a failure, or what is there:
   read it again with pk_space_read to tell. Python sees None instead (brief.h). */
#define PK_MISS 0x2badc0de
uint64_t pk_word_u8(pk_space *space, uint64_t va);
uint64_t pk_word_u16(pk_space *space, uint64_t va);
uint64_t pk_word_u32(pk_space *space, uint64_t va);
uint64_t pk_word_u64(pk_space *space, uint64_t va);
int64_t pk_word_i8(pk_space *space, uint64_t va);
int64_t pk_word_i16(pk_space *space, uint64_t va);
int64_t pk_word_i32(pk_space *space, uint64_t va);
int64_t pk_word_i64(pk_space *space, uint64_t va);

/* Bytes before the NUL, at most limit; limit when there is none so far. */
uint64_t pk_space_cstr(pk_space *space, uint64_t va, char *buf, uint64_t limit, pk_fault *fault);

/* `size` bytes from each address to dst, dst + stride, ... Without `ok` it stops
   at the first address that cannot be read and returns its index (count: all
   were read). With `ok` it goes on, zeroes what is missing and notes 1 or 0. */
uint64_t pk_space_gather(pk_space *space, const uint64_t *addrs, uint64_t count, uint64_t size,
                         void *dst, uint64_t stride, uint8_t *ok, pk_fault *fault);

/* Addresses on a list: head, then the pointer at +next_offset of each, up to a
   NULL (or, if circular, up to head). A pointer that cannot be read ends it
   behind the element that it is in. *out is malloc'ed, also on failure, and
   freed with pk_free. */
uint64_t pk_space_walk(pk_space *space, uint64_t head, uint64_t next_offset, uint32_t pointer_size,
                       int circular, uint64_t limit, uint64_t **out, pk_fault *fault);
void pk_free(void *p);
