/* Items by name: chains in buckets, for tables whose names lie in the file. */
#include "core.h"

/* FNV-1a. Names that a file makes to collide cost a search what it cost without a hash, and building nothing. */
static uint32_t bucket(const pk_names *n, const char *name, uint64_t left)
{
    uint32_t h = 2166136261u;

    for (; left > 0 && *name != '\0'; name++, left--)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return (h ^ h >> 15) & n->mask;
}

int pk_names_open(pk_names *n, uint32_t count)
{
    uint32_t buckets = 64;

    while (buckets < count / 2 && buckets < 1u << 30)
        buckets *= 2;
    n->mask = buckets - 1;
    n->heads = calloc(buckets, sizeof(*n->heads));
    n->next = calloc(count + 1u, sizeof(*n->next));
    return n->heads != NULL && n->next != NULL;
}

void pk_names_close(pk_names *n)
{
    free(n->heads);
    free(n->next);
}

void pk_names_put(pk_names *n, uint32_t item, const char *name, uint64_t left)
{
    uint32_t *head = &n->heads[bucket(n, name, left)];

    n->next[item] = *head;
    *head = item + 1;
}

uint32_t pk_names_first(const pk_names *n, const char *name)
{
    return n->heads[bucket(n, name, UINT64_MAX)];
}
