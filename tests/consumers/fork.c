/* fork(2): the handle is used by parent and child, and the child opens one of its own; also while a thread works. */
#include "consumer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define CHILDREN 8

static kvm_t *kd;
static atomic_int stop;

static void use(kvm_t *of, const char *who)
{
	int count;
	char bad;

	if (kvm_getprocinfo(of, KERN_PROC_KTHREAD, 0, &count) == NULL)
		errx(1, "%s: %s", who, kvm_geterr(of));
	if (kvm_read(of, 1, &bad, 1) != -1 || strcmp(kvm_geterr(of), "invalid address (1)") != 0)
		errx(1, "%s: %s", who, kvm_geterr(of));
	if (who[0] != '-')
		printf("%s %d\n", who, count);
	fflush(stdout);
}

static void *work(void *arg)
{
	while (!atomic_load(&stop)) {
		int count;

		if (kvm_getprocs(kd, KERN_PROC_KTHREAD, 0, &count) == NULL)
			errx(1, "thread: %s", kvm_geterr(kd));
	}
	return arg;
}

int main(int argc, char **argv)
{
	const int all = argc;
	char **whole = argv, errbuf[2048];
	int status, failed = 0;
	pthread_t thread;

	kd = consumer_open(&argc, &argv);
	use(kd, "before");
	pthread_create(&thread, NULL, work, NULL);
	for (int i = 0; i < CHILDREN; i++) {
		const pid_t child = fork();

		if (child == 0) {
			alarm(60);
			use(kd, "child");
			optind = 1;
			int again = all;
			char **args = whole;
			kvm_t *own = consumer_open(&again, &args);
			use(own, "child's own");
			consumer_close(own);
			_exit(kvm_close(kd) == 0 ? 0 : 1);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			failed++;
	}
	atomic_store(&stop, 1);
	pthread_join(thread, NULL);
	use(kd, "parent");
	if (kvm_openfiles(NULL, "/no/such/file", NULL, O_RDONLY, errbuf) != NULL)
		errx(1, "opened");
	printf("%d failed, %s\n", failed, errbuf);
	consumer_close(kd);
	return 0;
}
