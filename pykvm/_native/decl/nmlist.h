/* Lists of names as text: System.map, nm(1), /proc/kallsyms. */
typedef struct {
    uint64_t line, begins;      /* the one that makes no sense, from 1, and where in the text; 0: none */
    uint64_t defined, nonzero;  /* symbols, and those of them whose value is not 0 */
} pk_nmlist_result;

/* Add the symbols of lines ADDRESS [SIZE] TYPE NAME [MODULE], NAME's of a module
   (in brackets) to `modules`; lines without an address are of names that are not
   defined, and left out. At most max symbols. 1; 0: a line makes no sense; -1: out
   of memory, of PK_NAMES_MAX or of max. */
int pk_symtab_add_nmlist(pk_symtab *tab, pk_symtab *modules, const char *text, uint64_t size, uint64_t max,
                         pk_nmlist_result *result);
