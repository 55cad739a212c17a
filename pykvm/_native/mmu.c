/* The table-driven radix walker, and the choice between it and other schemes. */
#include "core.h"

struct pk_mmu {
    atomic_int refs;
    int big_endian;
    size_t nroots, nlevels;
    pk_root *roots;         /* sorted by start */
    pk_level *levels;
    pk_pmeg *pmeg;          /* not NULL: PMEGs instead of a radix tree */
    pk_hashed_shape hashed; /* groups not 0: a hashed table instead of one */
};

static int by_start(const void *a, const void *b)
{
    const pk_root *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static int levels_make_sense(const pk_level *levels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const pk_level *l = &levels[i];
        if ((l->entry_size != 4 && l->entry_size != 8) || l->bits == 0 || l->shift + l->bits > 64 || l->lshift > 63 ||
            l->rshift > 63 || l->high_shift > 63 || l->wide_shift > 63 ||
            (l->wide_shift != 0 && l->wide_shift < l->shift))
            return 0;
        if (i > 0 && l->shift + l->bits > levels[i - 1].shift)
            return 0;
    }
    return 1;
}

static pk_mmu *new_mmu(void)
{
    pk_mmu *mmu = calloc(1, sizeof(*mmu));

    if (mmu != NULL)
        atomic_init(&mmu->refs, 1);
    return mmu;
}

pk_mmu *pk_mmu_radix(const pk_root *roots, size_t nroots, const pk_level *levels, size_t nlevels, int big_endian)
{
    pk_mmu *mmu;

    if (nroots > SIZE_MAX / sizeof(*roots) - 1 || nlevels > 8 || !levels_make_sense(levels, nlevels))
        return NULL;
    mmu = new_mmu();
    if (mmu == NULL)
        return NULL;
    mmu->big_endian = big_endian;
    mmu->nroots = nroots;
    mmu->nlevels = nlevels;
    mmu->roots = malloc((nroots + 1) * sizeof(*roots));
    mmu->levels = malloc((nlevels + 1) * sizeof(*levels));
    if (mmu->roots == NULL || mmu->levels == NULL) {
        pk_mmu_unref(mmu);
        return NULL;
    }
    if (nroots > 0)
        memcpy(mmu->roots, roots, nroots * sizeof(*roots));
    if (nlevels > 0)
        memcpy(mmu->levels, levels, nlevels * sizeof(*levels));
    qsort(mmu->roots, nroots, sizeof(*roots), by_start);
    return mmu;
}

pk_mmu *pk_mmu_hashed(const pk_root *roots, size_t nroots, const pk_hashed_shape *shape)
{
    pk_mmu *mmu;

    if (shape->groups == 0 || (shape->groups & (shape->groups - 1)) != 0)
        return NULL;
    mmu = pk_mmu_radix(roots, nroots, NULL, 0, 1);
    if (mmu != NULL)
        mmu->hashed = *shape;
    return mmu;
}

pk_mmu *pk_mmu_pmeg(const pk_pmeg_shape *shape, const uint16_t *seg_pmeg, const uint8_t *seg_npte,
                    const uint32_t *ptes)
{
    pk_mmu *mmu = new_mmu();

    if (mmu == NULL)
        return NULL;
    mmu->pmeg = pk_pmeg_new(shape, seg_pmeg, seg_npte, ptes);
    if (mmu->pmeg == NULL) {
        pk_mmu_unref(mmu);
        return NULL;
    }
    return mmu;
}

pk_mmu *pk_mmu_ref(pk_mmu *mmu)
{
    atomic_fetch_add(&mmu->refs, 1);
    return mmu;
}

void pk_mmu_unref(pk_mmu *mmu)
{
    if (mmu == NULL || atomic_fetch_sub(&mmu->refs, 1) != 1)
        return;
    pk_pmeg_free(mmu->pmeg);
    free(mmu->roots);
    free(mmu->levels);
    free(mmu);
}

static const pk_root *find_root(const pk_mmu *mmu, uint64_t va)
{
    size_t lo = 0, hi = mmu->nroots;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const pk_root *r = &mmu->roots[mid];
        if (va < r->start)
            hi = mid;
        else if (va > r->last)
            lo = mid + 1;
        else
            return r;
    }
    return NULL;
}

int pk_mmu_load(const pk_image *image, uint64_t addr, unsigned size, int big_endian, uint64_t *out, int *why)
{
    uint8_t raw[8];
    pk_fault fault;
    pk_view view;

    if (addr >= PK_FILE_TABLE) {
        pk_set_fault(&fault, PK_OK, 0, 0);
        if (image->nfiles == 0 ||
            pk_file_move(&image->files[0], addr - PK_FILE_TABLE, raw, NULL, size, addr, &fault) != size) {
            *why = PK_EEOF;
            return 0;
        }
        *out = pk_load(raw, size, big_endian);
        return 1;
    }
    if (pk_image_view(image, addr, &view) && view.seq == NULL && view.avail >= size) {
        *out = pk_load(view.data, size, big_endian);
        return 1;
    }
    if (pk_image_read(image, addr, raw, size, &fault) != size) {
        *why = fault.status;
        return 0;
    }
    *out = pk_load(raw, size, big_endian);
    return 1;
}

static int is_present(const pk_level *l, uint64_t entry)
{
    const int same = (entry & l->present_mask) == l->present_value;

    return (l->flags & PK_PRESENT_UNLESS) ? !same : same;
}

static int is_leaf(const pk_level *l, uint64_t entry)
{
    const int same = (entry & l->leaf_mask) == l->leaf_value;

    return l->leaf_mask != 0 && ((l->flags & PK_LEAF_UNLESS) ? !same : same);
}

static int is_wide(const pk_level *l, uint64_t entry)
{
    return l->wide_shift != 0 && (entry & l->wide_mask) == l->wide_value;
}

static int is_refused(const pk_level *l, uint64_t entry)
{
    return l->refuse_mask != 0 && (entry & l->refuse_mask) == l->refuse_value;
}

static uint64_t address_in(const pk_level *l, uint64_t entry, uint64_t mask)
{
    return (entry & mask) >> l->rshift << l->lshift | (entry & l->high_mask) << l->high_shift;
}

static uint64_t table_in(const pk_level *l, uint64_t entry)
{
    if (l->other_mask != 0 && (entry & l->other_mask) == l->other_value)
        return entry & l->other_table_mask;
    return address_in(l, entry, l->table_mask);
}

static int walk(const pk_mmu *mmu, const pk_image *image, uint64_t va, uint64_t *pa, uint64_t *left, pk_fault *fault)
{
    const pk_root *root = find_root(mmu, va);
    uint64_t table;

    pk_set_fault(fault, PK_EADDR, va, 0);
    if (root == NULL)
        return 0;
    table = root->table;
    if (mmu->hashed.groups != 0 && !root->linear)
        return pk_hashed_translate(&mmu->hashed, image, va, pa, left, fault);
    if (mmu->nlevels == 0 || root->linear) {
        *pa = table + (va - root->start);
        *left = root->last - va == UINT64_MAX ? UINT64_MAX : root->last - va + 1;
        return 1;
    }
    for (size_t i = 0; i < mmu->nlevels; i++) {
        const pk_level *l = &mmu->levels[i];
        const uint64_t width = l->bits == 64 ? ~(uint64_t)0 : ((uint64_t)1 << l->bits) - 1;
        const uint64_t index = (va >> l->shift) & width;
        const uint64_t at = table + index * l->entry_size;
        uint64_t entry;

        if (!pk_mmu_load(image, at, l->entry_size, mmu->big_endian, &entry, &fault->why)) {
            fault->status = PK_EPTE;
            fault->table = at;
            return 0;
        }
        if (!is_present(l, entry) || is_refused(l, entry))
            return 0;
        if (i + 1 == mmu->nlevels || is_leaf(l, entry)) {
            const int wide = is_wide(l, entry);
            const uint64_t inside = ((uint64_t)1 << (wide ? l->wide_shift : l->shift)) - 1;
            *pa = (address_in(l, entry, wide ? l->wide_page_mask : l->page_mask) & ~inside) | (va & inside);
            *left = inside - (va & inside) + 1;
            return 1;
        }
        table = table_in(l, entry);
    }
    return 0;
}

int pk_mmu_translate(const pk_mmu *mmu, const pk_image *image, uint64_t va, uint64_t *pa, uint64_t *left,
                     pk_fault *fault)
{
    if (mmu->pmeg == NULL)
        return walk(mmu, image, va, pa, left, fault);
    if (pk_pmeg_translate(mmu->pmeg, va, pa, left))
        return 1;
    pk_set_fault(fault, PK_EADDR, va, 0);
    return 0;
}
