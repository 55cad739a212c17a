/* An index of CTF, the type information of the kernels of the BSDs and illumos. */
typedef struct pk_ctf pk_ctf;

typedef struct {
    uint64_t size;      /* bytes; of what refers to a type: its id; of a forward: the kind */
    uint32_t kind, name, vlen;
    uint32_t at;        /* offset of what follows the record's head, in the section */
    uint32_t each;      /* bytes of each of the vlen members or constants there */
} pk_ctf_type;

/* Index the type section (records one after another) of CTF version 2 or 3 in the
   given byte order. strings: CTF's own, and those of the symbols of its file (NULL:
   none). With a base, this refers to the types of it. Sections and base must outlive
   the index. NULL with *bad_at the offset of the record that makes no sense (it runs
   out of the section, its kind is unknown, or it has a name or a type that is
   nowhere), or UINT64_MAX: out of memory. */
pk_ctf *pk_ctf_new(const uint8_t *types, uint64_t types_size, const char *strings, uint64_t strings_size,
                   const char *linked, uint64_t linked_size, const pk_ctf *base, unsigned version, int big_endian,
                   uint64_t *bad_at);
void pk_ctf_free(pk_ctf *ctf);
/* Ids are from pk_ctf_first to pk_ctf_end - 1; those below are the base's. */
uint32_t pk_ctf_first(const pk_ctf *ctf);
uint32_t pk_ctf_end(const pk_ctf *ctf);
/* A type by id; 0 if it is not one of this CTF's own. */
int pk_ctf_get(const pk_ctf *ctf, uint32_t id, pk_ctf_type *type);
/* Id of the first type of this kind (bit mask of 1 << CTF_K: structures, unions,
   enums, typedefs, integers) and name, those at the top level before others, or 0;
   the next one after a type that was found (0: from the beginning). Types of the base
   are not looked at. */
uint32_t pk_ctf_find(const pk_ctf *ctf, const char *name, uint32_t kinds, uint32_t after);
/* Id of the first enum with a constant of this name, or 0; *index says which it is. */
uint32_t pk_ctf_enumerator(const pk_ctf *ctf, const char *name, uint32_t *index);
