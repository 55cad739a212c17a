/* Images: physical addresses over mapped files, by extents. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    int fd;
    uint64_t size;
    const uint8_t *map;     /* NULL where the host could not map it */
} file_t;

struct pk_image {
    atomic_int refs;
    uint32_t nfiles;
    file_t *files;
    size_t nextents;
    pk_extent *extents;     /* sorted by addr, none overlapping */
};

pk_image *pk_image_new(void)
{
    pk_image *image = calloc(1, sizeof(*image));

    if (image != NULL)
        atomic_init(&image->refs, 1);
    return image;
}

pk_image *pk_image_ref(pk_image *image)
{
    atomic_fetch_add(&image->refs, 1);
    return image;
}

void pk_image_unref(pk_image *image)
{
    if (image == NULL || atomic_fetch_sub(&image->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < image->nfiles; i++) {
        if (image->files[i].map != NULL)
            munmap((void *)image->files[i].map, (size_t)image->files[i].size);
        close(image->files[i].fd);
    }
    free(image->files);
    free(image->extents);
    free(image);
}

int pk_image_add_file(pk_image *image, int fd, uint64_t size, int map)
{
    file_t *files = realloc(image->files, (image->nfiles + 1) * sizeof(*files));
    file_t *file;

    if (files == NULL)
        return -ENOMEM;
    image->files = files;
    file = &files[image->nfiles];
    file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (file->fd < 0)
        return -errno;
    file->size = size;
    file->map = NULL;
    if (map && size > 0 && size <= SIZE_MAX) {
        /* A 32-bit host cannot map a large file: reads then go through pread. */
        void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, file->fd, 0);
        if (p != MAP_FAILED)
            file->map = p;
    }
    return (int)image->nfiles++;
}

static int by_addr(const void *a, const void *b)
{
    const pk_extent *x = a, *y = b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

int64_t pk_image_set_extents(pk_image *image, const pk_extent *extents, size_t count)
{
    pk_extent *copy;

    if (count > SIZE_MAX / sizeof(*copy))
        return -2;
    for (size_t i = 0; i < count; i++) {
        const pk_extent *e = &extents[i];
        if (e->file >= image->nfiles || e->size == 0 || e->addr + (e->size - 1) < e->addr ||
            e->offset + (e->size - 1) < e->offset)
            return (int64_t)i;
    }
    copy = malloc(count * sizeof(*copy) + 1);
    if (copy == NULL)
        return -2;
    if (count > 0)
        memcpy(copy, extents, count * sizeof(*copy));
    qsort(copy, count, sizeof(*copy), by_addr);
    for (size_t i = 1; i < count; i++)
        if (copy[i - 1].addr + (copy[i - 1].size - 1) >= copy[i].addr) {
            free(copy);
            return (int64_t)i;
        }
    free(image->extents);
    image->extents = copy;
    image->nextents = count;
    return -1;
}

int pk_image_is_mapped(const pk_image *image)
{
    for (uint32_t i = 0; i < image->nfiles; i++)
        if (image->files[i].map == NULL)
            return 0;
    return 1;
}

/* The extent that holds addr. */
static inline const pk_extent *find(const pk_image *image, uint64_t addr)
{
    size_t lo = 0, hi = image->nextents;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const pk_extent *e = &image->extents[mid];
        if (addr < e->addr)
            hi = mid;
        else if (addr - e->addr >= e->size)
            lo = mid + 1;
        else
            return e;
    }
    return NULL;
}

const uint8_t *pk_image_window(const pk_image *image, uint64_t addr, uint64_t *avail)
{
    const pk_extent *e = find(image, addr);
    const file_t *file;
    uint64_t off, left;

    if (e == NULL)
        return NULL;
    file = &image->files[e->file];
    off = e->offset + (addr - e->addr);
    left = e->size - (addr - e->addr);
    if (file->map == NULL || off >= file->size)
        return NULL;
    if (left > file->size - off)
        left = file->size - off;
    *avail = left;
    return file->map + off;
}

/* Move the part of a transfer that lies in one extent; bytes moved. */
static uint64_t move(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n, pk_fault *fault)
{
    const pk_extent *e = find(image, addr);
    const file_t *file;
    uint64_t off, left, done = 0;

    if (e == NULL) {
        pk_set_fault(fault, PK_EPHYS, addr, 0);
        return 0;
    }
    file = &image->files[e->file];
    off = e->offset + (addr - e->addr);
    left = e->size - (addr - e->addr);
    if (n > left)
        n = left;
    /* A dump must not grow when it is written to, so the end of the file bounds
       both directions. A file of unknown size (a device) has size UINT64_MAX. */
    if (off >= file->size) {
        pk_set_fault(fault, PK_EEOF, addr, 0);
        return 0;
    }
    if (n > file->size - off)
        n = file->size - off;
    if (rbuf != NULL && file->map != NULL) {
        memcpy(rbuf, file->map + off, (size_t)n);
        return n;
    }
    while (done < n) {
        size_t want = n - done > (1u << 30) ? 1u << 30 : (size_t)(n - done);
        ssize_t r = rbuf != NULL ? pread(file->fd, (char *)rbuf + done, want, (off_t)(off + done))
                                 : pwrite(file->fd, (const char *)wbuf + done, want, (off_t)(off + done));
        if (r < 0) {
            if (errno == EINTR)
                continue;
            pk_set_fault(fault, PK_EIO, addr + done, errno);
            break;
        }
        if (r == 0) {
            pk_set_fault(fault, PK_EEOF, addr + done, 0);
            break;
        }
        done += (uint64_t)r;
    }
    return done;
}

static uint64_t transfer(const pk_image *image, uint64_t addr, void *rbuf, const void *wbuf, uint64_t n,
                         pk_fault *fault)
{
    uint64_t done = 0;

    pk_set_fault(fault, PK_OK, 0, 0);
    while (done < n) {
        uint64_t got = move(image, addr + done, rbuf != NULL ? (char *)rbuf + done : NULL,
                            wbuf != NULL ? (const char *)wbuf + done : NULL, n - done, fault);
        done += got;
        if (fault->status != PK_OK)
            break;
    }
    return done;
}

uint64_t pk_image_read(const pk_image *image, uint64_t addr, void *buf, uint64_t n, pk_fault *fault)
{
    return transfer(image, addr, buf, NULL, n, fault);
}

uint64_t pk_image_write(const pk_image *image, uint64_t addr, const void *buf, uint64_t n, pk_fault *fault)
{
    return transfer(image, addr, NULL, buf, n, fault);
}
