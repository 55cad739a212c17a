/* Linked lists, followed in C. */
#include "space.h"

static int append(uint64_t **list, uint64_t *room, uint64_t len, uint64_t value)
{
    if (len == *room) {
        uint64_t more = *room == 0 ? 64 : *room * 2;
        uint64_t *p = more > SIZE_MAX / sizeof(*p) ? NULL : realloc(*list, (size_t)more * sizeof(*p));
        if (p == NULL)
            return 0;
        *list = p;
        *room = more;
    }
    (*list)[len] = value;
    return 1;
}

static int load_pointer(pk_space *space, uint64_t at, uint32_t size, uint64_t *out, pk_fault *fault)
{
    uint64_t again = 0;

    *out = size == 4 ? pk_word_u32(space, at) : pk_word_u64(space, at);
    if (*out != PK_MISS)
        return 1;
    pk_space_read(space, at, &again, size, fault);
    *out = pk_load(&again, size, space->big_endian);    /* of what runs, it may be there the second time */
    return fault->status == PK_OK;
}

uint64_t pk_space_walk(pk_space *space, uint64_t head, uint64_t next_offset, uint32_t pointer_size, int circular,
                       uint64_t limit, uint64_t **out, pk_fault *fault)
{
    uint64_t len = 0, room = 0, at = head;
    uint64_t mark = head, steps = 0, power = 1;     /* Brent's cycle detection */

    *out = NULL;
    pk_set_fault(fault, PK_OK, 0, 0);
    while (at != 0) {
        uint64_t next;

        if (len == limit) {
            pk_set_fault(fault, PK_ELIMIT, at, 0);
            break;
        }
        if (!append(out, &room, len, at)) {
            pk_set_fault(fault, PK_EMEM, at, 0);
            break;
        }
        len++;
        if (!load_pointer(space, at + next_offset, pointer_size, &next, fault))
            break;
        if (circular && next == head)
            break;
        if (next == mark) {
            pk_set_fault(fault, PK_ELOOP, at, 0);
            break;
        }
        if (++steps == power) {
            power *= 2;
            steps = 0;
            mark = next;
        }
        at = next;
    }
    return len;
}

void pk_free(void *p)
{
    free(p);
}
