/* An index of BTF, the type information of Linux kernels. */
typedef struct pk_btf pk_btf;

/* Index the type section (records one after another) of BTF in the given byte
   order; both sections must outlive the index. NULL with *bad_at the offset of
   the record that makes no sense, or UINT64_MAX: out of memory. */
pk_btf *pk_btf_new(const uint8_t *types, uint64_t types_size, const char *strings, uint64_t strings_size,
                   uint32_t first_id, int big_endian, uint64_t *bad_at);
void pk_btf_free(pk_btf *btf);
uint32_t pk_btf_count(const pk_btf *btf);
/* Offset of a type's record in the section, or UINT32_MAX. */
uint32_t pk_btf_at(const pk_btf *btf, uint32_t id);
/* Id of the type of this kind (bit mask of 1 << BTF_KIND) and name, or 0. */
uint32_t pk_btf_find(const pk_btf *btf, const char *name, uint32_t kinds);
