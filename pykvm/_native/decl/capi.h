/* What libkvm.so and pykvm say to each other. libkvm.so asks for something that is Python's to answer: `op` says what,
   the other members are its arguments and, when it returns, its results. */
typedef struct pk_call {
    uint32_t op;
    int32_t status;             /* 0; -1: failed, `message` says why */
    int32_t soft;               /* the message is one that is always kept in the handle (kvm_geterr(3)) */
    int32_t interrupted;        /* by SIGINT: the program, a Python, is to be told when the call has returned */
    uint64_t handle;            /* Python's number of it */
    const char *text[3];
    int64_t number[4];
    void *data;                 /* of the program's */
    uint64_t size;
    void *(*function)(void);    /* a callback of the program's, whatever it takes */
    void *closure;
    /* Room for results, of malloc: the caller frees it. `room` is libkvm.so's own. */
    void *(*room)(struct pk_call *call, uint64_t size);
    void *result;
    uint64_t result_size;
    int64_t count;
    double loads[3];
    struct pk_space *space;     /* what memory is read through; NULL: there is none */
    uint64_t (*read)(struct pk_space *space, uint64_t va, void *buf, uint64_t n, pk_fault *fault);  /* and how: */
    int (*quick)(struct pk_space *space, uint64_t va, void *buf, uint64_t n);   /* as pk_space_quick */
    /* As pk_space_write; NULL: the dump is not open for writing, or is of packed pages. */
    uint64_t (*write)(struct pk_space *space, uint64_t va, const void *buf, uint64_t n, pk_fault *fault);
    char message[2048];
} pk_call;

/* The core's functions and Python's answers, as libkvm.so calls them. */
typedef struct pk_capi {
    uint32_t version;
    uint32_t reserved;
    void (*call)(pk_call *call);
} pk_capi;

#define PK_CAPI_VERSION 1   /* 0: Python was finalized */

/* Values of `op`. */
#define PK_CALL_OPEN 1
#define PK_CALL_CLOSE 2
#define PK_CALL_FAULT 3
#define PK_CALL_WRITE 4
#define PK_CALL_NLIST 5
#define PK_CALL_GETPROCS 7
#define PK_CALL_GETPROC2 8
#define PK_CALL_VECTOR 9
#define PK_CALL_GETFILES 10
#define PK_CALL_LOADAVG 11
#define PK_CALL_NUMBER 12
#define PK_CALL_GETPCPU 13
#define PK_CALL_ZPCPU 14
#define PK_CALL_SWAPINFO 15
#define PK_CALL_CPTIME 16
#define PK_CALL_WALK 17
#define PK_CALL_DUMP 18
#define PK_CALL_PROCINFO 19
#define PK_CALL_GETLWPS 20
#define PK_CALL_KERNELNAME 21

/* What kvm_nlist finds of a name. */
typedef struct {
    uint64_t value;
    int32_t missing;
    int32_t type, other, desc;
} pk_name;

/* The structures of <kvm.h>, member by member. */
typedef struct {
    int64_t pid, ppid, pgid, sid, tpgid;
    int64_t uid, ruid, svuid, gid, rgid, svgid;
    int64_t tdev;
    int64_t rssize;
    int64_t start, utime, stime;
    int64_t threads;
    int64_t nice;
    uint64_t flags, wchan, paddr;
    char stat;
    char comm[64], login[64], wmesg[64];
    const void *record;
} pk_procinfo;

typedef struct {
    char ksw_devname[32];
    unsigned int ksw_used, ksw_total;
    int ksw_flags;
    unsigned int ksw_reserved1, ksw_reserved2;
} pk_swap;

typedef struct {
    unsigned int kp_version;
    uint64_t kp_paddr, kp_kmap_vaddr, kp_dmap_vaddr;
    unsigned char kp_prot;
    int64_t kp_offset;
    size_t kp_len;
} pk_kvm_page;
