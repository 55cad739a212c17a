/* Small files of many directories at once, such as those that /proc has of each process. */

/* A file: `size` bytes at `at` of pk_texts.data; if error is not 0, an errno, and there are none. E2BIG: it has more
   than its limit. */
typedef struct {
    uint64_t at;
    uint64_t size;
    int32_t error;
} pk_text;

typedef struct {
    uint8_t *data;
    pk_text *files;
    uint64_t count;
} pk_texts;

/* Read the files `names` (nnames words with a NUL after each) of the directories in `root` whose names are the numbers
   `dirs`: files[i * nnames + j] is file j of dirs[i]. Each directory is opened before its files, which are read one
   after another, file j up to limits[j] bytes. Bit j of once: the kernel writes file j in one piece, so that a read that gives less than asked has
   reached its end. NULL: out of memory, or
   not 1 to 32 names. Free it with pk_texts_free. */
pk_texts *pk_texts_read(int root, const uint32_t *dirs, uint64_t count, const char *names, uint32_t nnames,
                        const uint64_t *limits, uint32_t once);
void pk_texts_free(pk_texts *texts);
