/* The MMU of sun4 and sun4c: a segment map whose entries name groups of page
   table entries (PMEGs), both held outside memory and saved in the dump's
   header. Rules: MirBSD sparc cpu_kcore_hdr_t. */
#include "core.h"

struct pk_pmeg {
    pk_pmeg_shape shape;
    uint16_t *seg_pmeg;
    uint8_t *seg_npte;
    uint32_t *ptes;
};

pk_pmeg *pk_pmeg_new(const pk_pmeg_shape *shape, const uint16_t *seg_pmeg, const uint8_t *seg_npte,
                     const uint32_t *ptes)
{
    size_t nptes;
    pk_pmeg *p;

    if (shape->seg_shift > 31 || shape->page_shift >= shape->seg_shift ||
        shape->ptes_per_pmeg < 1u << (shape->seg_shift - shape->page_shift))
        return NULL;
    nptes = (size_t)shape->npmegs * shape->ptes_per_pmeg;
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->shape = *shape;
    /* One byte more, for malloc(0) may be NULL. */
    p->seg_pmeg = malloc(shape->nsegs * sizeof(*seg_pmeg) + 1);
    p->seg_npte = malloc(shape->nsegs + 1u);
    p->ptes = malloc(nptes * sizeof(*ptes) + 1);
    if (p->seg_pmeg == NULL || p->seg_npte == NULL || p->ptes == NULL) {
        pk_pmeg_free(p);
        return NULL;
    }
    memcpy(p->seg_pmeg, seg_pmeg, shape->nsegs * sizeof(*seg_pmeg));
    memcpy(p->seg_npte, seg_npte, shape->nsegs);
    memcpy(p->ptes, ptes, nptes * sizeof(*ptes));
    return p;
}

void pk_pmeg_free(pk_pmeg *p)
{
    if (p == NULL)
        return;
    free(p->seg_pmeg);
    free(p->seg_npte);
    free(p->ptes);
    free(p);
}

int pk_pmeg_translate(const pk_pmeg *p, uint64_t va, uint64_t *pa, uint64_t *left)
{
    const pk_pmeg_shape *s = &p->shape;
    const uint64_t page_size = (uint64_t)1 << s->page_shift;
    uint64_t seg, page;
    uint32_t pmeg, pte;

    if (va < s->base)
        return 0;
    seg = (va - s->base) >> s->seg_shift;
    if (seg >= s->nsegs || p->seg_npte[seg] == 0)
        return 0;
    pmeg = p->seg_pmeg[seg];
    if (pmeg + 1u >= s->npmegs)
        return 0;
    page = (va & (((uint64_t)1 << s->seg_shift) - 1)) >> s->page_shift;
    pte = p->ptes[(size_t)pmeg * s->ptes_per_pmeg + page];
    if ((pte & s->valid_mask) == 0)
        return 0;
    *pa = ((uint64_t)(pte & s->pfn_mask) << s->page_shift) | (va & (page_size - 1));
    *left = page_size - (va & (page_size - 1));
    return 1;
}
