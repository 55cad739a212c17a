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
    uint32_t undefined;         /* an entry with desc and value of 0 is no symbol, but refers to one */
} pk_symlayout;

typedef struct {
    uint64_t value, size;
    uint64_t order;             /* position in the table */
    const char *name, *module;  /* not NUL-terminated; module: NULL, or whose symbol it is */
    uint32_t name_len, module_len;
    uint16_t desc;
    uint8_t type, other;
} pk_symbol;

pk_symtab *pk_symtab_new(uint64_t seed);
void pk_symtab_free(pk_symtab *tab);

/* Bytes that all names together may take: five times those of a large kernel. */
#define PK_NAMES_MAX 67108864

/* Add `count` entries. How many names ran out of the string table (they are left
   out), or -1: out of memory, or of PK_NAMES_MAX. Where a name occurs twice the
   later entry is found. */
int64_t pk_symtab_add(pk_symtab *tab, const void *entries, uint64_t count, const char *strings,
                      uint64_t strings_size, const pk_symlayout *layout);
/* Add one symbol, of a module (NULL: of none). is_addr: pk_symtab_at may name it. 1, or 0 where it says -1 above. */
int pk_symtab_put(pk_symtab *tab, const char *name, uint32_t len, uint64_t value, uint64_t size, uint8_t type,
                  int is_addr, const char *module, uint32_t module_len);
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
/* The value of an exact name, or PK_MISS (ask pk_symtab_find to be sure), which Python
   sees as None. */
uint64_t pk_symtab_value(const pk_symtab *tab, const char *name, uint64_t len);

/* The closest symbol at or below addr that names an address; 1 found, 2 it is the
   last of all, 0 none, -1 out of memory (the order is made at the first call). */
int pk_symtab_at(pk_symtab *tab, uint64_t addr, pk_symbol *out);
