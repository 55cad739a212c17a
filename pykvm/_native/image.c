/* Images: files, references, and the way to the kind of image that serves a read. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* A map begins where the host's file does: not everywhere else it could. */
static const uint8_t *whole_map(const pk_file *file)
{
    return file->map - file->start;
}

void pk_image_unref(pk_image *image)
{
    if (image == NULL || atomic_fetch_sub(&image->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < image->nfiles; i++) {
        if (image->files[i].map != NULL)
            munmap((void *)whole_map(&image->files[i]), (size_t)(image->files[i].start + image->files[i].size));
        close(image->files[i].fd);
        if (image->files[i].one != NULL) {
            pthread_mutex_destroy(image->files[i].one);
            free(image->files[i].one);
        }
    }
    free(image->files);
    if (image->ops != NULL)
        image->ops->free(image->kind);
    free(image);
}

int pk_image_add_file(pk_image *image, int fd, uint64_t size, int map)
{
    return pk_image_add_part(image, fd, 0, size, map);
}

int pk_image_add_part(pk_image *image, int fd, uint64_t start, uint64_t size, int map)
{
    pk_file *files = realloc(image->files, (image->nfiles + 1) * sizeof(*files));
    pk_file *file;

    if (files == NULL)
        return -ENOMEM;
    image->files = files;
    file = &files[image->nfiles];
    file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (file->fd < 0)
        return -errno;
    file->start = start;
    file->size = size;
    file->map = NULL;
    file->one = NULL;
    if (map && size > 0 && start <= SIZE_MAX && size <= SIZE_MAX - start) {
        /* A 32-bit host cannot map a large file: reads then go through pread. */
        void *p = mmap(NULL, (size_t)(start + size), PROT_READ, MAP_SHARED, file->fd, 0);
        if (p != MAP_FAILED)
            file->map = (const uint8_t *)p + start;
    }
    return (int)image->nfiles++;
}

void pk_image_become(pk_image *image, const pk_image_ops *ops, void *kind)
{
    if (image->ops != NULL)
        image->ops->free(image->kind);
    image->ops = ops;
    image->kind = kind;
}

void pk_image_zero_excluded(pk_image *image, int on)
{
    image->zero_excluded = on;
}

void pk_image_live(pk_image *image)
{
    image->live = 1;
}

int pk_image_one_at_a_time(pk_image *image, uint32_t file)
{
    pthread_mutex_t *one = file < image->nfiles ? malloc(sizeof(*one)) : NULL;

    if (one == NULL)
        return 0;
    pthread_mutex_init(one, NULL);
    image->files[file].one = one;
    return 1;
}

void pk_image_write_through(pk_image *image, uint32_t file)
{
    image->through = file < image->nfiles ? file + 1 : 0;
}

void pk_image_release(const pk_image *image)
{
#ifdef MADV_DONTNEED
    /* The mappings are shared and never written to: nothing can be lost. */
    for (uint32_t i = 0; i < image->nfiles; i++)
        if (image->files[i].map != NULL)
            madvise((void *)whole_map(&image->files[i]), (size_t)(image->files[i].start + image->files[i].size),
                    MADV_DONTNEED);
#else
    (void)image;
#endif
}

uint64_t pk_image_absent(const pk_image *image, uint64_t addr, void *rbuf, uint64_t n, pk_fault *fault)
{
    if (!image->zero_excluded || rbuf == NULL) {
        pk_set_fault(fault, PK_ELEFTOUT, addr, 0);
        return 0;
    }
    memset(rbuf, 0, (size_t)n);
    return n;
}

int pk_image_view(const pk_image *image, uint64_t addr, pk_view *view)
{
    return image->ops != NULL && image->ops->view(image, addr, view);
}

const char *pk_image_window(const pk_image *image, uint64_t addr, uint64_t n)
{
    pk_view view;

    return n > 0 && pk_image_view(image, addr, &view) && view.seq == NULL && view.avail >= n ? (const char *)view.data
                                                                                          : NULL;
}

uint64_t pk_file_move(const pk_file *file, uint64_t off, void *rbuf, const void *wbuf, uint64_t n, uint64_t addr,
                      pk_fault *fault)
{
    uint64_t done = 0;

    /* A dump must not grow when it is written to, so the end of the file bounds
       both directions. */
    if (off >= file->size) {
        pk_set_fault(fault, PK_EEOF, addr, 0);
        return 0;
    }
    if (n > file->size - off)
        n = file->size - off;
    if (rbuf == NULL && wbuf == NULL)
        return n;
    if (rbuf != NULL && file->map != NULL) {
        memcpy(rbuf, file->map + off, (size_t)n);
        return n;
    }
    while (done < n) {
        /* Who waits for a file that is one thread's at a time may hold the GIL meanwhile. */
        const uint64_t most = file->one != NULL ? 1u << 16 : 1u << 30;
        const size_t want = (size_t)(n - done > most ? most : n - done);
        ssize_t r;

        if (file->one != NULL)
            pthread_mutex_lock(file->one);
        r = rbuf != NULL ? pread(file->fd, (char *)rbuf + done, want, (off_t)(file->start + off + done))
                         : pwrite(file->fd, (const char *)wbuf + done, want, (off_t)(file->start + off + done));
        if (file->one != NULL) {
            const int why = errno;

            pthread_mutex_unlock(file->one);
            errno = why;
        }
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
    if (n > 0 && (image->ops == NULL || (rbuf == NULL && !image->ops->writable))) {
        pk_set_fault(fault, image->ops == NULL ? PK_EPHYS : PK_EREADONLY, addr, 0);
        return 0;
    }
    while (done < n) {
        done += image->ops->move(image, addr + done, rbuf != NULL ? (char *)rbuf + done : NULL,
                                 wbuf != NULL ? (const char *)wbuf + done : NULL, n - done, fault);
        if (fault->status != PK_OK)
            break;
    }
    return done;
}

uint64_t pk_image_read(const pk_image *image, uint64_t addr, void *buf, uint64_t n, pk_fault *fault)
{
    pk_fault own;

    return transfer(image, addr, buf, NULL, n, fault != NULL ? fault : &own);
}

uint64_t pk_image_writable(const pk_image *image, uint64_t addr, uint64_t n, pk_fault *fault)
{
    return transfer(image, addr, NULL, NULL, n, fault);
}

uint64_t pk_image_write(const pk_image *image, uint64_t addr, const void *buf, uint64_t n, pk_fault *fault)
{
    return transfer(image, addr, NULL, buf, n, fault);
}
