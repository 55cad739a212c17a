/*
 * <nlist.h>: BSD's struct nlist, for kvm_nlist(3), with room for the addresses of any target.
 */
#ifndef _NLIST_H_
#define _NLIST_H_

#include <stdint.h>

struct nlist {
#ifdef _AOUT_INCLUDE_
	union {
		const char *n_name;
		int64_t	 n_strx;	/* only in object files */
	} n_un;
#else
	const char	*n_name;	/* the name to look for; an empty one or NULL ends a list */
#endif
	unsigned char	 n_type;
	char		 n_other;
	short		 n_desc;
	uint64_t	 n_value;
};

#define N_UNDF	0x00
#define N_EXT	0x01
#define N_ABS	0x02
#define N_TEXT	0x04
#define N_DATA	0x06
#define N_BSS	0x08
#define N_INDR	0x0a
#define N_SIZE	0x0c
#define N_COMM	0x12
#define N_FN	0x1e
#define N_TYPE	0x1e
#define N_STAB	0xe0

#endif /* !_NLIST_H_ */
