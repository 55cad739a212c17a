/* dlopen(3) and dlclose(3): LIBRARY CORE KERNEL. Not linked with libkvm. */
#include <dlfcn.h>
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <kvm.h>

int main(int argc, char **argv)
{
	char errbuf[2048];

	if (argc < 4)
		errx(2, "usage: LIBRARY CORE KERNEL");
	for (int i = 0; i < 3; i++) {
		void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
		if (library == NULL)
			errx(1, "%s", dlerror());
		kvm_t *(*open)(const char *, const char *, const char *, int, char *);
		struct kvm_procinfo *(*processes)(kvm_t *, int, int, int *);
		int (*close)(kvm_t *), count;
		*(void **)&open = dlsym(library, "kvm_openfiles");
		*(void **)&processes = dlsym(library, "kvm_getprocinfo");
		*(void **)&close = dlsym(library, "kvm_close");
		kvm_t *kd = open(*argv[3] ? argv[3] : NULL, argv[2], NULL, O_RDONLY, errbuf);
		if (kd == NULL)
			errx(1, "%s", errbuf);
		if (processes(kd, KERN_PROC_KTHREAD, 0, &count) == NULL)
			errx(1, "kvm_getprocinfo");
		printf("%d %d\n", count, close(kd));
		dlclose(library);
	}
	return 0;
}
