/* Linux's tables of exported symbols (struct kernel_symbol): a value, a name and,
   since Linux 5.4, a namespace. Fields are addresses, or 32-bit distances from
   where they are themselves. Entries are sorted by name. */
typedef struct {
    uint64_t base;      /* address of the memory that is searched */
    uint32_t width;     /* bytes of a field: 4 or 8 */
    uint32_t fields;    /* of an entry: 2 or 3 */
    int relative, big_endian;
} pk_ksymtab_shape;

/* The first run of entries, at *at and multiples of their size from there on,
   whose names lie in the memory and ascend: how many, at least `least`, and *at is
   where; 0 if there is none, or after looking at names for too long. */
uint64_t pk_ksymtab_find(const uint8_t *memory, uint64_t size, const pk_ksymtab_shape *shape, uint64_t least,
                         uint64_t *at);
/* Value and name of the entry at an offset; 0 if it is none. */
int pk_ksymtab_entry(const uint8_t *memory, uint64_t size, const pk_ksymtab_shape *shape, uint64_t at, uint64_t *value,
                     const char **name, uint64_t *name_len);
