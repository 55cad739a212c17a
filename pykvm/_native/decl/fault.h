/* Why a read, a translation or a list walk stopped. */
typedef struct {
    int32_t status;     /* one of PK_* below */
    int32_t os_error;   /* errno, for PK_EIO */
    uint64_t addr;      /* the address that failed, in the space it failed in */
    uint64_t table;     /* for PK_EPTE: the physical address of the entry, */
    int32_t why;        /* and the status of reading it */
    int32_t reserved;
} pk_fault;

#define PK_OK      0
#define PK_EADDR   1    /* no translation for this virtual address */
#define PK_EPHYS   2    /* the image holds no such physical address */
#define PK_EEOF    3    /* the file ends before this physical address */
#define PK_EIO     4    /* the host could not read or write the file */
#define PK_ELOOP   5    /* a list came back to an element it had passed */
#define PK_ELIMIT  6    /* a list is longer than the caller allows */
#define PK_EMEM    7    /* the host is out of memory */
#define PK_ECLOSED 8    /* the handle was closed */
#define PK_EPTE    9    /* a page table lies outside the image */
#define PK_ELEFTOUT 10  /* memory that the dump leaves out */
#define PK_EDAMAGED 11  /* a page of the dump cannot be expanded */
#define PK_EREADONLY 13 /* an image that cannot be written to */
#define PK_ENOPART 12   /* memory in a part of a split dump that is not at hand */
