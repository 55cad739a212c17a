/* A program that is a Python already: CORE KERNEL. It uses libkvm before, within and after its own use of Python. */
#include <Python.h>

#include "consumer.h"

static void use(const char *when, kvm_t *kd)
{
	int count = -1;

	if (kvm_getprocinfo(kd, KERN_PROC_KTHREAD, 0, &count) == NULL)
		printf("%s: %s\n", when, kvm_geterr(kd));
	else
		printf("%s: %d\n", when, count);
}

int main(int argc, char **argv)
{
	char errbuf[2048];
	uint64_t before = 0, after = 1;

	if (argc < 4)
		errx(2, "usage: CORE KERNEL ADDRESS");
	const uint64_t at = strtoull(argv[3], NULL, 0);
	Py_InitializeEx(0);
	if (PyRun_SimpleString("import sys; path = list(sys.path); modules = set(sys.modules)") != 0)
		errx(1, "Python");
	kvm_t *kd = kvm_openfiles(*argv[2] ? argv[2] : NULL, argv[1], NULL, O_RDONLY, errbuf);
	if (kd == NULL)
		errx(1, "%s", errbuf);
	use("with the lock", kd);
	Py_BEGIN_ALLOW_THREADS
	use("without the lock", kd);
	Py_END_ALLOW_THREADS
	if (PyErr_Occurred())
		errx(1, "an exception is left");
	if (PyRun_SimpleString("assert sys.path[:len(path)] == path, 'sys.path has changed'") != 0)
		errx(1, "Python");
	if (kvm_read2(kd, at, &before, sizeof(before)) != sizeof(before))
		errx(1, "%s", kvm_geterr(kd));
	Py_FinalizeEx();
	use("after", kd);
	if (kvm_read2(kd, at, &after, sizeof(after)) != sizeof(after) || after != before)
		errx(1, "memory is not there any more");
	printf("again: %d\n", kvm_openfiles(NULL, argv[1], NULL, O_RDONLY, errbuf) != NULL);
	printf("%s\n", errbuf);
	printf("close: %d\n", kvm_close(kd));
	return 0;
}
