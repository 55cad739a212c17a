/* An index of names and addresses, built from tables in a file's own form. */
typedef struct pk_symtab pk_symtab;

/* How one entry of a symbol table looks. */
typedef struct {
    uint32_t entry_size;
    uint8_t name_off;           /* u32: offset of the name in the string table */
    uint8_t value_off, value_size;
    uint8_t size_off, size_size;    /* size_size 0: sizes are not recorded */
    uint8_t type_off, other_off, desc_off;
    uint8_t skip_types;         /* entries with any of these type bits are no symbols */
    uint8_t addr_type_mask;     /* symbol_at: (type & mask) must be in addr_types, */
    uint8_t global_mask;        /* (type & global_mask) != 0: visible outside its file */
    uint8_t big_endian;
    uint32_t addr_types;
    uint16_t addr_desc_min, addr_desc_max;  /* and desc in this range */
} pk_symlayout;

typedef struct {
    uint64_t value, size;
    uint64_t order;             /* position in the table */
    const char *name;           /* not NUL-terminated */
    uint32_t name_len;
    uint16_t desc;
    uint8_t type, other;
} pk_symbol;

pk_symtab *pk_symtab_new(uint64_t seed);
void pk_symtab_free(pk_symtab *tab);

/* Bytes that all names together may take: twenty times those of a large kernel. */
#define PK_NAMES_MAX 268435456

/* Add `count` entries. How many names ran out of the string table (they are left
   out), or -1: out of memory, or of PK_NAMES_MAX. Where a name occurs twice the
   later entry is found. */
int64_t pk_symtab_add(pk_symtab *tab, const void *entries, uint64_t count, const char *strings,
                      uint64_t strings_size, const pk_symlayout *layout);
/* Linux's kallsyms: names in tokens, each behind its type letter (which becomes
   the symbol's type). With absolute_percpu, offsets of 0 and more are values and
   the others count down from base - 1; else all are added to base. */
typedef struct {
    const uint8_t *names;
    uint64_t names_size;
    const char *tokens;
    uint32_t tokens_size;
    uint32_t count;
    const uint16_t *token_index;    /* 256 */
    const uint8_t *offsets;         /* 4 bytes each */
    uint64_t base;
    int absolute_percpu, big_endian;
} pk_kallsyms;

/* How many symbols could be read (all: count), or -1 as pk_symtab_add. */
int64_t pk_symtab_add_kallsyms(pk_symtab *tab, const pk_kallsyms *k);
/* Add delta to all values from `from` on: a kernel that was moved after it was
   linked. Before the first pk_symtab_at. */
void pk_symtab_slide(pk_symtab *tab, uint64_t from, uint64_t delta);
uint64_t pk_symtab_len(const pk_symtab *tab);
int pk_symtab_get(const pk_symtab *tab, uint64_t index, pk_symbol *out);

/* Exact name; 1 found, 0 not. */
int pk_symtab_find(const pk_symtab *tab, const char *name, uint64_t len, pk_symbol *out);
/* By nlist(3)'s rule: the name, or (of a name that begins with '_') the rest of
   it, which in a.out must not begin with another '_'; of several the last in the
   table. */
int pk_symtab_nlist(const pk_symtab *tab, const char *name, uint64_t len, int aout, pk_symbol *out);
/* The value of an exact name, or PK_MISS (ask pk_symtab_find to be sure). */
uint64_t pk_symtab_value(const pk_symtab *tab, const char *name, uint64_t len);

/* The closest symbol at or below addr that names an address; 1 found, 2 it is the
   last of all, 0 none, -1 out of memory (the order is made at the first call). */
int pk_symtab_at(pk_symtab *tab, uint64_t addr, pk_symbol *out);
