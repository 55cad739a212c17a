# make demo: build everything and show the main job; make test: build and pass the tests.
# Both install what they need, Debian packages included.

VENV = .venv
PY = $(VENV)/bin/python
SOURCES = setup.py pyproject.toml $(wildcard pykvm/_native/*.[ch] pykvm/_native/*.py pykvm/_native/decl/*.h)
DEMO = demo

.PHONY: all demo test test-live lint types bench sanitize valgrind wheel clean

all: $(VENV)/.built

# With a path of two links instead of setuptools' finder, which costs every start of Python half of its time again.
$(VENV)/.built: $(SOURCES)
	sh tools/bootstrap.sh $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --config-settings editable_mode=compat \
	    -e '.[test]'
	mkdir -p $(VENV)/path
	ln -sfn $(CURDIR)/pykvm $(VENV)/path/pykvm
	ln -sfn $(CURDIR)/fixtures $(VENV)/path/pykvm_fixtures
	echo $(CURDIR)/$(VENV)/path >"$$(echo $(VENV)/lib/python*/site-packages/__editable__.libkvm-*.pth)"
	touch $@

demo: all
	rm -rf $(DEMO)
	$(PY) -m pykvm_fixtures mirbsd $(DEMO)
	sh tools/demo.sh $(VENV)/bin/pykvm $(DEMO)

test: all
	$(PY) -m pytest tests

# The running kernel, and running virtual machines: in guests that QEMU boots. LIVE: for pytest, as -k of some.
test-live: all
	sh tools/live.sh
	PYKVM_LIVE_TESTS=1 $(PY) -m pytest -p no:cacheprovider tests/live $(LIVE)

$(VENV)/.dev: $(VENV)/.built
	$(PY) -m pip install -q --disable-pip-version-check mypy ruff
	touch $@

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check pykvm fixtures tests bench
	$(VENV)/bin/ruff format --check pykvm fixtures tests bench

types: $(VENV)/.dev
	$(VENV)/bin/mypy

bench: all
	$(PY) -m bench

# The C core with -Werror under ASan and UBSan, with the tests that exercise it.
sanitize: all
	sh tools/sanitize.sh $(VENV)

valgrind: all
	sh tools/valgrind.sh $(VENV)

wheel: all
	$(PY) -m pip wheel -q --disable-pip-version-check --no-deps -w dist .

clean:
	rm -rf $(VENV) build dist *.egg-info $(DEMO) pykvm/_native/_core*.so pykvm/_native/_core.c pykvm/libkvm/libkvm.so
