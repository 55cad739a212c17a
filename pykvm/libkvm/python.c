/* Finding Python, and what it can do; start.c starts it where the program has none.
 *
 * libkvm.so is not linked with libpython: a program that is a Python already must not get a second one, and a program
 * that never opens a kernel needs none. So its functions are looked for when the first handle is opened: in the program,
 * else in the libpython that this library was built with.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>

#include "libkvm.h"
#include "start.h"

#define FILE_INPUT 257	/* Py_file_input */

typedef int libkvm_gil;	/* PyGILState_STATE */

static struct {
	int		(*Py_IsInitialized)(void);
	void		(*Py_DecRef)(void *);
	libkvm_gil	(*PyGILState_Ensure)(void);
	void		(*PyGILState_Release)(libkvm_gil);
	void	       *(*PyEval_SaveThread)(void);
	void	       *(*PyImport_AddModule)(const char *);
	void	       *(*PyModule_GetDict)(void *);
	void	       *(*PyRun_String)(const char *, int, void *, void *);
	void	       *(*PyDict_GetItemString)(void *, const char *);
	const char     *(*PyUnicode_AsUTF8)(void *);
	void		(*PyErr_Clear)(void);
	void		(*PyErr_SetInterrupt)(void);
	void		(*PyOS_BeforeFork)(void);
	void		(*PyOS_AfterFork_Parent)(void);
	void		(*PyOS_AfterFork_Child)(void);
} py;

static const struct {
	const char	*name;
	void		*where;
} FUNCTIONS[] = {
#define FUNCTION(name) { #name, &py.name }
	FUNCTION(Py_IsInitialized), FUNCTION(Py_DecRef), FUNCTION(PyGILState_Ensure),
	FUNCTION(PyGILState_Release), FUNCTION(PyEval_SaveThread), FUNCTION(PyImport_AddModule),
	FUNCTION(PyModule_GetDict), FUNCTION(PyRun_String), FUNCTION(PyDict_GetItemString), FUNCTION(PyUnicode_AsUTF8),
	FUNCTION(PyErr_Clear), FUNCTION(PyErr_SetInterrupt), FUNCTION(PyOS_BeforeFork),
	FUNCTION(PyOS_AfterFork_Parent), FUNCTION(PyOS_AfterFork_Child),
#undef FUNCTION
};

/* One for the process, as Python is. While a program's Python is waited for, `starting` is not held: the thread that has
 * its lock may be waiting here, or at a fork(2). Our own has no thread that comes here with its lock.
 */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static pk_capi capi;
static atomic_int ready;	/* capi is filled in */
static int running;		/* Python runs, and its functions are found */
static int own;			/* Python was started here */
static int held;		/* at a fork: our Python's lock is */
static libkvm_gil forking;

/* No thread may be about to start Python at a fork(2), or inside of our own, which the program does not know of. */
static void before_fork(void)
{
	pthread_mutex_lock(&starting);
	held = own && py.Py_IsInitialized();	/* the program may have ended it */
	if (held) {
		forking = py.PyGILState_Ensure();
		py.PyOS_BeforeFork();
	}
}

static void after_fork_parent(void)
{
	if (held) {
		py.PyOS_AfterFork_Parent();
		py.PyGILState_Release(forking);
	}
	pthread_mutex_unlock(&starting);
}

static void after_fork_child(void)
{
	if (held) {
		py.PyOS_AfterFork_Child();
		py.PyGILState_Release(forking);
	}
	pthread_mutex_unlock(&starting);
}

static int find_functions(void *library, char *message)
{
	for (size_t i = 0; i < sizeof(FUNCTIONS) / sizeof(FUNCTIONS[0]); i++) {
		void *found = dlsym(library, FUNCTIONS[i].name);

		if (found == NULL) {
			snprintf(message, LIBKVM_ERRBUF, "libkvm: this Python has no function %s", FUNCTIONS[i].name);
			return 0;
		}
		memcpy(FUNCTIONS[i].where, &found, sizeof(found));
	}
	return 1;
}

static int start(void *library, char *message)
{
	if (!libkvm_start(library, message, LIBKVM_ERRBUF))
		return 0;
	own = 1;
	py.PyEval_SaveThread();	/* every thread that calls takes the lock for itself */
	return 1;
}

static void hexadecimal(char *out, const char *text)
{
	for (; *text != '\0'; text++, out += 2)
		snprintf(out, 3, "%02x", (unsigned char)*text);
	*out = '\0';
}

/* The package is taken from where this library is, unless the program's Python has loaded it before; what it needs
 * (cffi ...) from the program's places first. Our own Python looks into all that it knows of only if that is not beside
 * the package. Threads may come at once: whoever waits for `once` lets the others have Python.
 */
static const char ATTACH[] =
    "import sys, os, _thread\n"
    "def attach(directory, *places):\n"
    "    sys.path += [p for p in dict.fromkeys((directory, *places)) if p and p not in sys.path]\n"
    "    if sys.flags.no_site:\n"
    "        from importlib.machinery import PathFinder\n"
    "        if not all(map(PathFinder.find_spec, ('_cffi_backend', 'elftools', 'zstandard'))):\n"
    "            import site\n"
    "            site.main()\n"
    "    init = os.path.join(directory, 'pykvm', '__init__.py')\n"
    "    if directory and 'pykvm' not in sys.modules and os.path.exists(init):\n"
    "        from importlib import util\n"
    "        spec = util.spec_from_file_location('pykvm', init)\n"
    "        sys.modules['pykvm'] = util.module_from_spec(spec)\n"
    "        try:\n"
    "            spec.loader.exec_module(sys.modules['pykvm'])\n"
    "        except BaseException:\n"
    "            del sys.modules['pykvm']\n"
    "            raise\n"
    "    from pykvm import capi\n"
    "    capi.attach(%llu)\n"
    "why = ''\n"
    "once = globals().setdefault('once', _thread.RLock())\n"
    "try:\n"
    "    with once:\n"
    "        if 'attached' not in globals():\n"
    "            attach(*[os.fsdecode(bytes.fromhex(p)) for p in ('%s', '%s', '%s')])\n"
    "            attached = True\n"
    "except BaseException as e:\n"
    "    why = f'{type(e).__name__}: {e}'\n";

static char *script_of(void)
{
	const char *const places[] = { libkvm_directory(), LIBKVM_PURELIB, LIBKVM_PLATLIB };
	char *spelled[3];	/* in hexadecimal: paths may have any characters */
	char *script = NULL;

	for (int i = 0; i < 3; i++) {
		spelled[i] = malloc(2 * strlen(places[i]) + 1);
		if (spelled[i] != NULL)
			hexadecimal(spelled[i], places[i]);
	}
	if (spelled[0] != NULL && spelled[1] != NULL && spelled[2] != NULL &&
	    asprintf(&script, ATTACH, (unsigned long long)(uintptr_t)&capi, spelled[0], spelled[1], spelled[2]) < 0)
		script = NULL;
	for (int i = 0; i < 3; i++)
		free(spelled[i]);
	return script;
}

/* Let Python fill in capi. */
static void attach(char *message)
{
	char *script = script_of();
	libkvm_gil state = py.PyGILState_Ensure();
	void *module = py.PyImport_AddModule("_libkvm_start");
	void *names = module == NULL ? NULL : py.PyModule_GetDict(module);
	void *done = NULL;

	if (names != NULL && script != NULL)
		done = py.PyRun_String(script, FILE_INPUT, names, names);
	free(script);
	if (done == NULL) {
		py.PyErr_Clear();
		snprintf(message, LIBKVM_ERRBUF, "libkvm: Python does not run");
	} else {
		void *why = py.PyDict_GetItemString(names, "why");
		const char *text = why == NULL ? NULL : py.PyUnicode_AsUTF8(why);

		if (text == NULL)
			py.PyErr_Clear();
		if (text == NULL || *text != '\0')
			snprintf(message, LIBKVM_ERRBUF, "libkvm: pykvm cannot be loaded: %s", text == NULL ? "?" : text);
		py.Py_DecRef(done);
	}
	atomic_store(&ready, capi.version == PK_CAPI_VERSION);
	py.PyGILState_Release(state);
}

static int begin(char *message)
{
	static int watching;
	void *library = RTLD_DEFAULT;

	if (!watching)
		watching = pthread_atfork(before_fork, after_fork_parent, after_fork_child) == 0;
	if (dlsym(RTLD_DEFAULT, "Py_IsInitialized") == NULL) {
		/* Globally: extensions need its names. */
		library = dlopen(LIBKVM_PYTHON, RTLD_NOW | RTLD_GLOBAL);
		if (library == NULL)
			library = dlopen(LIBKVM_PYTHON_NAME, RTLD_NOW | RTLD_GLOBAL);
		if (library == NULL) {
			snprintf(message, LIBKVM_ERRBUF, "libkvm: needs Python: %s", dlerror());
			return 0;
		}
	}
	if (!find_functions(library, message))
		return 0;
	return py.Py_IsInitialized() || start(library, message);
}

const pk_capi *libkvm_capi(char message[LIBKVM_ERRBUF])
{
	message[0] = '\0';
	if (!atomic_load(&ready)) {
		pthread_mutex_lock(&starting);
		if (!running)
			running = begin(message);
		const int runs = running, ours = own;
		if (!ours)
			pthread_mutex_unlock(&starting);
		if (runs && !atomic_load(&ready))
			attach(message);
		if (ours)
			pthread_mutex_unlock(&starting);
		if (!atomic_load(&ready))
			return NULL;
	}
	if (capi.version != PK_CAPI_VERSION) {
		snprintf(message, LIBKVM_ERRBUF, "libkvm: the program has finalized its Python");
		return NULL;
	}
	return &capi;
}

void libkvm_interrupt(void)
{
	py.PyErr_SetInterrupt();
}
