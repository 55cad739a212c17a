/* Translation of virtual to physical addresses. */

/* Tables from here on are not in memory but in file 0, at so many bytes less: where
   some dumps keep them (FreeBSD's minidumps). */
#define PK_FILE_TABLE 0x8000000000000000

/* A range of virtual addresses and the physical address of the table (or, in a
   scheme without levels, of the memory) that serves it. */
typedef struct {
    uint64_t start;
    uint64_t last;      /* inclusive: a range may end at the top of the space */
    uint64_t table;
    uint32_t linear;    /* the range is memory itself, at `table`, whatever levels there are */
    uint32_t reserved;
} pk_root;

/* One level of a radix tree. An entry is present if (e & present_mask) ==
   present_value; it is a leaf on the last level, or if leaf_mask is not 0 and
   (e & leaf_mask) == leaf_value; in `flags` both tests can be turned round.
   The address in an entry is (e & mask) >> rshift << lshift, joined by
   (e & high_mask) << high_shift where a format keeps top bits at the bottom.
   If wide_shift is not 0, a leaf with (e & wide_mask) == wide_value is one of the
   entries of a page of 1 << wide_shift bytes, whose address is e & wide_page_mask.
   An entry with (e & refuse_mask) == refuse_value is none, if refuse_mask is not 0.
   Where tables are known by virtual addresses of two linear ranges, one that is
   (e & other_mask) == other_value is at e & other_table_mask, if other_mask is not 0. */
enum { PK_PRESENT_UNLESS = 1, PK_LEAF_UNLESS = 2 };

typedef struct {
    uint8_t shift;      /* lowest bit of the index in the virtual address */
    uint8_t bits;       /* width of the index */
    uint8_t entry_size; /* 4 or 8 */
    uint8_t lshift;
    uint8_t flags;
    uint8_t high_shift;
    uint8_t wide_shift;
    uint8_t rshift;
    uint64_t present_mask, present_value;
    uint64_t leaf_mask, leaf_value;
    uint64_t table_mask;
    uint64_t page_mask;
    uint64_t high_mask;
    uint64_t wide_mask, wide_value, wide_page_mask;
    uint64_t refuse_mask, refuse_value;
    uint64_t other_mask, other_value, other_table_mask;
} pk_level;

/* Sun's MMU of the sun4 and sun4c: segments name page map entry groups. */
typedef struct {
    uint64_t base;          /* virtual address of segment 0 */
    uint32_t nsegs;
    uint32_t npmegs;        /* the last one is the invalid PMEG */
    uint32_t ptes_per_pmeg;
    uint8_t seg_shift, page_shift;
    uint16_t reserved;
    uint32_t valid_mask, pfn_mask;
} pk_pmeg_shape;

/* The hashed page table of 64-bit PowerPC. */
typedef struct {
    uint64_t table;     /* where it is, as in pk_root */
    uint64_t groups;    /* a power of two */
} pk_hashed_shape;

typedef struct pk_mmu pk_mmu;

/* Both copy what they are given; NULL: out of memory or a table that makes no
   sense (levels that overlap, entry sizes other than 4 and 8). */
pk_mmu *pk_mmu_radix(const pk_root *roots, size_t nroots, const pk_level *levels, size_t nlevels, int big_endian);
pk_mmu *pk_mmu_pmeg(const pk_pmeg_shape *shape, const uint16_t *seg_pmeg, const uint8_t *seg_npte, const uint32_t *ptes);
/* Ranges that are not linear go through the hashed table. */
pk_mmu *pk_mmu_hashed(const pk_root *roots, size_t nroots, const pk_hashed_shape *shape);
void pk_mmu_unref(pk_mmu *mmu);
