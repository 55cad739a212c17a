/* An image: physical addresses laid out over one or more files. */
typedef struct {
    uint64_t addr;      /* first physical address */
    uint64_t size;      /* bytes */
    uint64_t offset;    /* where they lie in the file */
    uint32_t file;      /* which file, as pk_image_add_file counted them */
    uint32_t left_out;  /* memory that exists but is in no file: offset and file say nothing */
} pk_extent;

typedef struct pk_image pk_image;

/* A new, empty image with one reference, or NULL. */
pk_image *pk_image_new(void);
void pk_image_unref(pk_image *image);

/* Add a file of `size` bytes; its descriptor is duplicated and, where the host
   can, its contents are mapped. The file's index, or -errno. */
int pk_image_add_file(pk_image *image, int fd, uint64_t size, int map);
/* As that, of a part of a host's file: `size` bytes from `start` on are all there is. */
int pk_image_add_part(pk_image *image, int fd, uint64_t start, uint64_t size, int map);

/* From now on memory that the dump leaves out reads as zeros (or again not). */
void pk_image_zero_excluded(pk_image *image, int on);

/* The memory is of a running system: what a space has found once may be elsewhere the next time. */
void pk_image_live(pk_image *image);

/* Before the first read: only one thread may read this file at a time. Linux copies what is read from /proc/kcore by
   way of one page for each open file (read_kcore_iter() of fs/proc/kcore.c), which threads would take from each other.
   1, or 0: out of memory. */
int pk_image_one_at_a_time(pk_image *image, uint32_t file);

/* What is written goes to this file, at its physical address, and not to where it is read from. */
void pk_image_write_through(pk_image *image, uint32_t file);

/* Large tables have been read that will not be read again: their pages of the mapped
   files need not stay in this process. */
void pk_image_release(const pk_image *image);

/* Say where memory lies. The extents are copied and sorted. Index of the first
   extent that overlaps another, wraps or names no file; -1 if all are good;
   -2 out of memory. */
int64_t pk_image_set_extents(pk_image *image, const pk_extent *extents, size_t count);
/* The same of segments (address and size of each, those without a size aside) that follow one another in file 0 from an
   offset on. */
int64_t pk_image_set_segments(pk_image *image, const uint64_t *pairs, size_t count, uint64_t offset);

/* The memory of another image as it was when each page of it was read first: up to `bytes` of pages of `page_size`
   bytes (a power of two) are kept. Takes its own reference. NULL: out of memory. */
pk_image *pk_image_snapshot(pk_image *image, uint32_t page_size, uint32_t bytes);

/* Where n bytes lie mapped in one piece, for as long as the image lives; NULL if
   they do not. */
const char *pk_image_window(const pk_image *image, uint64_t addr, uint64_t n);

/* The first address from `addr` on, in steps of `step`, at which the n bytes of
   `needle` lie; `end` if there is none before it. */
uint64_t pk_image_find(const pk_image *image, uint64_t addr, uint64_t end, uint64_t step, const char *needle, uint32_t n);

/* Copy up to n bytes at a physical address; how many, with fault->status set
   when that is fewer than n; for reads it may be NULL. */
uint64_t pk_image_read(const pk_image *image, uint64_t addr, void *buf, uint64_t n, pk_fault *fault);
uint64_t pk_image_writable(const pk_image *image, uint64_t addr, uint64_t n, pk_fault *fault);     /* only to see */
uint64_t pk_image_write(const pk_image *image, uint64_t addr, const void *buf, uint64_t n, pk_fault *fault);
