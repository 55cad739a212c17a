/* That the library leaves the process as it is: what is printed before and after its use is the same. -M core ... */
#include "consumer.h"

#include <dirent.h>
#include <locale.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

extern char **environ;

static void show(void)
{
	struct sigaction action;
	struct rlimit limit;
	sigset_t blocked;
	char cwd[4096];

	printf("locale %s\n", setlocale(LC_ALL, NULL));
	for (char **e = environ; *e != NULL; e++)
		printf("%s\n", *e);
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	for (int i = 1; i < 65; i++)
		if (sigaction(i, NULL, &action) == 0)
			printf("signal %d %p %x %d\n", i, (void *)action.sa_handler,
			    action.sa_flags & ~0x04000000 /* SA_RESTORER, which libc adds */, sigismember(&blocked, i));
	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (getrlimit(i, &limit) == 0)
			printf("limit %d %llu %llu\n", i, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	const mode_t mask = umask(0);
	umask(mask);
	printf("umask %o cwd %s\n", mask, getcwd(cwd, sizeof(cwd)));
	int files = 0;
	DIR *dir = opendir("/proc/self/fd");
	while (dir != NULL && readdir(dir) != NULL)
		files++;
	if (dir != NULL)
		closedir(dir);
	printf("descriptors %d\n", files);
}

int main(int argc, char **argv)
{
	char **words, bad;
	int count;

	if (getenv("SETLOCALE") != NULL)
		setlocale(LC_ALL, "");
	signal(SIGUSR1, SIG_IGN);
	show();
	printf("--\n");
	kvm_t *kd = consumer_open(&argc, &argv);
	struct kvm_procinfo *p = kvm_getprocinfo(kd, KERN_PROC_KTHREAD, 0, &count);
	for (int i = 0; p != NULL && i < count; i++)
		if ((words = kvm_getargv(kd, p[i].record, 0)) != NULL && words[0] == NULL)
			printf("empty\n");
	kvm_read(kd, 1, &bad, 1);
	consumer_close(kd);
	show();
	return 0;
}
