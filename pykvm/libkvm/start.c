/* Starting a Python of our own, for a program that has none: it must not change the program's surroundings, nor be changed
 * by what is meant for other Pythons (PYTHONHOME, PYTHONPATH, what PATH finds).
 *
 * This is the only file that needs Python's headers: how to start in isolation is written down in structures, which are
 * those of one Python (3.x) only.
 */
#include <Python.h>

#include <dlfcn.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "start.h"

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
#define THIS_PYTHON TEXT(PY_MAJOR_VERSION) "." TEXT(PY_MINOR_VERSION) "."
#define FIND(name) ((name##_ = (__typeof__(&name))find(library, #name)) != NULL)

typedef void function(void);

static function *find(void *library, const char *name)
{
	void *found = dlsym(library, name);
	function *as;

	memcpy(&as, &found, sizeof(as));
	return as;
}

/* Of the Python that libkvm.so was built with: 1; 0: another; -1: it cannot be started. */
static int start_isolated(void *library, char *message, size_t size)
{
	__typeof__(&Py_GetVersion) Py_GetVersion_;
	__typeof__(&PyPreConfig_InitIsolatedConfig) PyPreConfig_InitIsolatedConfig_;
	__typeof__(&Py_PreInitialize) Py_PreInitialize_;
	__typeof__(&PyConfig_InitIsolatedConfig) PyConfig_InitIsolatedConfig_;
	__typeof__(&PyConfig_SetBytesString) PyConfig_SetBytesString_;
	__typeof__(&Py_InitializeFromConfig) Py_InitializeFromConfig_;
	__typeof__(&PyConfig_Clear) PyConfig_Clear_;
	__typeof__(&PyStatus_Exception) PyStatus_Exception_;
	PyPreConfig before;
	PyConfig config;
	PyStatus status;

	if (!FIND(Py_GetVersion) || strncmp(Py_GetVersion_(), THIS_PYTHON, strlen(THIS_PYTHON)) != 0 ||
	    !FIND(PyPreConfig_InitIsolatedConfig) || !FIND(Py_PreInitialize) || !FIND(PyConfig_InitIsolatedConfig) ||
	    !FIND(PyConfig_SetBytesString) || !FIND(Py_InitializeFromConfig) || !FIND(PyConfig_Clear) ||
	    !FIND(PyStatus_Exception))
		return 0;
	PyPreConfig_InitIsolatedConfig_(&before);	/* leaves the locale alone */
	before.utf8_mode = 1;				/* names of files are UTF-8 in every locale */
	status = Py_PreInitialize_(&before);
	if (!PyStatus_Exception_(status)) {
		PyConfig_InitIsolatedConfig_(&config);	/* no signal handlers, no variables of the environment */
		config.user_site_directory = 1;
		config.site_import = 0;			/* which takes time, and is seldom needed: see attach() */
		if (access(LIBKVM_STDLIB "/os.py", R_OK) == 0)
			status = PyConfig_SetBytesString_(&config, &config.home, LIBKVM_HOME);
		if (!PyStatus_Exception_(status))
			status = Py_InitializeFromConfig_(&config);
		PyConfig_Clear_(&config);
	}
	if (!PyStatus_Exception_(status))
		return 1;
	snprintf(message, size, "libkvm: Python cannot be started: %s", status.err_msg ? status.err_msg : "?");
	return -1;
}

/* Of any other: the program was linked with it. */
static int start_plain(void *library, char *message, size_t size)
{
	void (*initialize)(int) = (void (*)(int))find(library, "Py_InitializeEx");
	char *locale = setlocale(LC_CTYPE, NULL);

	if (locale != NULL)
		locale = strdup(locale);
	if (initialize != NULL)
		initialize(0);
	if (locale != NULL)
		setlocale(LC_CTYPE, locale);
	free(locale);
	if (initialize == NULL)
		snprintf(message, size, "libkvm: this Python has no function Py_InitializeEx");
	return initialize != NULL;
}

int libkvm_start(void *library, char *message, size_t size)
{
	int (*run)(const char *, PyCompilerFlags *) =
	    (int (*)(const char *, PyCompilerFlags *))find(library, "PyRun_SimpleStringFlags");
	struct sigaction interrupt;
	const int kept = sigaction(SIGINT, NULL, &interrupt);
	int started = start_isolated(library, message, size);

	if (started == 0)
		started = start_plain(library, message, size);
	if (started != 1)
		return 0;
	/* Python's module for signals takes over SIGINT when it is first imported, by whatever: it is now. */
	if (run != NULL)
		run("import signal", NULL);
	if (kept == 0)
		sigaction(SIGINT, &interrupt, NULL);
	return 1;
}
