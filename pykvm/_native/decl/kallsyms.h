/* Linux's kallsyms: names in tokens, each behind its type letter (which becomes
   the symbol's type); values in a table of their own, by one of these rules. */
#define PK_KALLSYMS_OFFSETS 0   /* 4 bytes, unsigned: added to base */
#define PK_KALLSYMS_PERCPU 1    /* 4 bytes: of 0 and more they are the value, the others count down from base - 1 */
#define PK_KALLSYMS_ADDRESSES 2 /* the value, of value_size bytes */

typedef struct {
    const uint8_t *names;
    uint64_t names_size;
    const char *tokens;
    uint32_t tokens_size;
    uint32_t count;
    const uint16_t *token_index;    /* 256 */
    const uint8_t *values;          /* count of them */
    uint64_t base;
    int rule, value_size, big_endian;
} pk_kallsyms;

/* How many symbols could be read (all: count), or -1 as pk_symtab_add. */
int64_t pk_symtab_add_kallsyms(pk_symtab *tab, const pk_kallsyms *k);

/* Where in a piece of memory these tables were found. */
typedef struct {
    uint64_t num_syms, names, markers;  /* offsets */
    uint32_t count, marker_size;
} pk_kallsyms_place;

/* Find, nearest to the end of a piece of memory, what lies before
   kallsyms_token_table: the number of symbols, their names, and the markers, which
   say where every 256th name begins. Tables begin at multiples of align (4 or 8).
   1 found, 0 not. */
int pk_kallsyms_find(const uint8_t *memory, uint64_t size, uint32_t align, int big_endian, pk_kallsyms_place *out);
