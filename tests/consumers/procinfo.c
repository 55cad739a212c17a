/* Processes of any kernel: kvm_getprocinfo, all of it, and the arguments by its records. */
#include "consumer.h"

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	const int op = argc > 0 ? atoi(argv[0]) : KERN_PROC_KTHREAD, arg = argc > 1 ? atoi(argv[1]) : 0;
	struct kvm_procinfo *p;
	int count;

	p = kvm_getprocinfo(kd, op, arg, &count);
	if (p == NULL)
		errx(1, "%s", kvm_geterr(kd));
	for (; count > 0; count--, p++) {
		printf("%lld %lld %lld %lld %lld", (long long)p->pid, (long long)p->ppid, (long long)p->pgid,
		    (long long)p->sid, (long long)p->tpgid);
		printf(" %lld %lld %lld %lld %lld %lld", (long long)p->uid, (long long)p->ruid, (long long)p->svuid,
		    (long long)p->gid, (long long)p->rgid, (long long)p->svgid);
		printf(" %lld %lld %lld %lld %lld %lld", (long long)p->tdev, (long long)p->rssize, (long long)p->start,
		    (long long)p->utime, (long long)p->stime, (long long)p->threads);
		printf(" %lld %llx %llx %llx", (long long)p->nice, (unsigned long long)p->flags,
		    (unsigned long long)p->wchan, (unsigned long long)p->paddr);
		printf(" %c <%s> <%s> <%s>", p->stat ? p->stat : '-', p->comm, p->login, p->wmesg);
		consumer_words("", kvm_getargv(kd, p->record, 0));
		printf("\n");
	}
	consumer_close(kd);
	return 0;
}
