/* An index of DWARF 2 to 5: where the types with names are, and what an entry says. */
typedef struct pk_dwarf pk_dwarf;

/* The sections; those that are not there have size 0. */
typedef struct {
    const uint8_t *info, *abbrev, *str, *line_str, *str_offsets;
    uint64_t info_size, abbrev_size, str_size, line_str_size, str_offsets_size;
    int big_endian;
} pk_dwarf_sections;

/* What one entry says; absent numbers are 0. `has` tells which were there. */
typedef struct {
    uint64_t offset, next;          /* in .debug_info; next: the first child, or what follows */
    uint64_t sibling;               /* 0: not told */
    uint64_t type;                  /* offset of the entry it refers to, 0: void */
    uint64_t byte_size, bit_size, data_bit_offset, location, count;
    int64_t bit_offset;             /* below 0 if a packed field begins before its storage unit's end */
    int64_t value;                  /* DW_AT_const_value */
    const char *name;               /* not NUL-terminated; NULL: none */
    uint32_t name_len;
    uint32_t tag, encoding, has;
    uint8_t has_children, address_size;
} pk_die;

#define PK_DIE_DECLARATION 1
#define PK_DIE_DATA_BIT_OFFSET 2
#define PK_DIE_BIT_OFFSET 4
#define PK_DIE_BYTE_SIZE 8
#define PK_DIE_ODD 16               /* its type or place is told in a way that is not understood */

/* Kinds of name. */
#define PK_DWARF_STRUCT 0
#define PK_DWARF_UNION 1
#define PK_DWARF_ENUM 2
#define PK_DWARF_TYPEDEF 3
#define PK_DWARF_ENUMERATOR 4

/* Read all units for the names of types at their top. The sections must outlive
   the index. NULL with *bad_at the offset in .debug_info of what makes no sense,
   or UINT64_MAX: out of memory. */
pk_dwarf *pk_dwarf_new(const pk_dwarf_sections *sections, uint64_t *bad_at);
void pk_dwarf_free(pk_dwarf *d);
/* Offset of the first entry of this kind and name that is no mere declaration, or 0. */
uint64_t pk_dwarf_find(const pk_dwarf *d, const char *name, uint64_t len, uint32_t kind);
/* The names, in the order of the file: 1, or 0 from the last on. */
int pk_dwarf_name(const pk_dwarf *d, uint64_t index, uint32_t *kind, const char **name, uint32_t *len);
/* The entry at an offset: 1; 0: it ends a list of children; -1: there is none. */
int pk_dwarf_read(const pk_dwarf *d, uint64_t offset, pk_die *out);
/* What follows an entry and its children in their list; as pk_dwarf_read. */
int pk_dwarf_next(const pk_dwarf *d, const pk_die *die, pk_die *out);
