/* The hashed page table of 64-bit PowerPC, as FreeBSD's kernel fills it: small pages in
   segments of 256 MB, whose numbers (VSIDs) follow from the address. Power ISA 2.07B,
   book III-S, 5.7.7; FreeBSD's slb.c for the numbers. */
#include "core.h"

#define SEGMENT_SHIFT 28
#define PAGE_SHIFT 12
#define GROUP 8u                            /* entries, of two doublewords each */
#define HASH_MASK 0x7fffffffffull
#define KERNEL_SEGMENT 0x1000000000ull      /* is in all numbers of the kernel's segments */
#define VALID 1u
#define SECONDARY 2u
#define LARGE 4u
#define SIZE_MASK 0xc000000000000000ull     /* of the segment: 0 is 256 MB */
#define FRAME 0x0ffffffffffff000ull

static uint64_t segment_number(uint64_t va)
{
    const uint64_t esid = va >> SEGMENT_SHIFT;

    return (((esid << 8 | esid >> 28) * 0x13bb) & (KERNEL_SEGMENT - 1)) | KERNEL_SEGMENT;
}

int pk_hashed_translate(const pk_hashed_shape *s, const pk_image *image, uint64_t va, uint64_t *pa, uint64_t *left,
                        pk_fault *fault)
{
    const uint64_t vsid = segment_number(va);
    const uint64_t page = (va & (((uint64_t)1 << SEGMENT_SHIFT) - 1)) >> PAGE_SHIFT;
    const uint64_t hash = (vsid & HASH_MASK) ^ page;
    /* What an entry's first half must be, but for the bits that are software's. */
    const uint64_t wanted = vsid << 12 | page >> 11 << 7 | VALID;

    for (unsigned second = 0; second < 2; second++) {
        const uint64_t group = (second ? ~hash : hash) & (s->groups - 1);
        for (unsigned i = 0; i < GROUP; i++) {
            const uint64_t at = s->table + (group * GROUP + i) * 16;
            uint64_t high, low;

            if (!pk_mmu_load(image, at, 8, 1, &high, &fault->why) ||
                !pk_mmu_load(image, at + 8, 8, 1, &low, &fault->why)) {
                fault->status = PK_EPTE;
                fault->table = at;
                return 0;
            }
            if ((high & (SIZE_MASK | 0x3fffffffffffff80ull | LARGE | SECONDARY | VALID)) !=
                (wanted | (second ? SECONDARY : 0)))
                continue;
            *pa = (low & FRAME) | (va & 0xfff);
            *left = 0x1000 - (va & 0xfff);
            return 1;
        }
    }
    return 0;
}
