/* An index of BTF, the type information of Linux kernels. */
typedef struct pk_btf pk_btf;

/* Index the type section (records one after another) of BTF in the given byte
   order. With a base (a module's BTF: its kernel's), ids and strings go on behind
   those of the base. Sections and base must outlive the index. NULL with *bad_at
   the offset of the record that makes no sense (it runs out of the section, its
   kind is unknown, it has a name or a type that is nowhere, or the hash of a
   thousand others), or UINT64_MAX: out of memory. */
pk_btf *pk_btf_new(const uint8_t *types, uint64_t types_size, const char *strings, uint64_t strings_size,
                   const pk_btf *base, int big_endian, uint64_t *bad_at);
void pk_btf_free(pk_btf *btf);
/* Ids are from pk_btf_first to pk_btf_end - 1; those below are the base's. */
uint32_t pk_btf_first(const pk_btf *btf);
uint32_t pk_btf_end(const pk_btf *btf);
/* Offset of a type's record in the section, or UINT32_MAX: not one of this BTF's own. */
uint32_t pk_btf_at(const pk_btf *btf, uint32_t id);
/* Id of the first type of this kind (bit mask of 1 << BTF_KIND: structures, unions,
   enums, typedefs, integers) and name, or 0. Types of the base are not looked at. */
uint32_t pk_btf_find(const pk_btf *btf, const char *name, uint32_t kinds);
/* Id of the first enum with a constant of this name, or 0; *index says which it is. */
uint32_t pk_btf_enumerator(const pk_btf *btf, const char *name, uint32_t *index);
/* Whether any type of these kinds has the kind flag. */
int pk_btf_flagged(const pk_btf *btf, uint32_t kinds);
