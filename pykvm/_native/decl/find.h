/* Looking for what has no address. */

/* The first place from `from` on (at any alignment) at which a 32-bit word is one of
   those that have a bit in `bits`; size if there is none. */
uint64_t pk_find_words(const uint8_t *data, uint64_t size, uint64_t from, const uint8_t *bits, uint32_t nbits,
                       int big_endian);
