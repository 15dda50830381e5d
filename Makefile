# Each target does all the set-up it needs on a machine with python3.11 (or newer), venv and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed

.PHONY: demo test test-fast lint bounds coverage bench fuzz timing dist sbom lock audit-deps docs vectors \
  vectors-arm64 clean

demo: $(STAMP)
	$(BIN)/contactsync demo

# Tests wait for other processes, and for clocks, half of their time: three at once for two cores.
AT_ONCE = $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) * 3 / 2 )))
test: $(STAMP)-test
	$(BIN)/python -m pytest -n $(AT_ONCE) --durations 40 --durations-min 5

# While you work: everything but what is marked slow. It says what it left out. A file stays on one core, because its
# tests share fixtures. Temporary files are in memory if a gigabyte is free: most of these tests take less time than
# a disk's fsync. Bytecode is kept whatever the environment says: without it, every run rewrites all asserts anew.
MEMORY = $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 1000000 {print "/dev/shm"}')
test-fast: $(STAMP)-test
	PYTHONDONTWRITEBYTECODE= PYTEST_DEBUG_TEMPROOT=$(MEMORY) $(BIN)/python -m pytest \
	  -n auto --dist loadfile -q -m "not slow" -o tmp_path_retention_policy=failed

lint: $(STAMP)-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Kernels compiled so that every index is checked, on all that tests of files feed them, forgeries included.
bounds: $(STAMP)-test
	NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -n auto tests/directory tests/lookup tests/phones tests/ristretto255 \
	  tests/voprf

# Numba reports the lines that it compiles, so the kernels are compiled anew; lines that tests interpret count too.
coverage: $(STAMP)-coverage
	rm -rf $(VENV)/coverage-kernels
	NUMBA_JIT_COVERAGE=1 CONTACTSYNC_CACHE_DIR=$(VENV)/coverage-kernels $(BIN)/python -m coverage run \
	  --data-file=$(VENV)/.coverage --source=contactsync/kernels,contactsync/ristretto255,contactsync/voprf \
	  -m pytest -q -m "not slow" tests/kernels tests/ristretto255 tests/voprf tests/phones tests/directory
	$(BIN)/python -m coverage report --data-file=$(VENV)/.coverage --show-missing

bench: $(STAMP)-bench
	$(BIN)/python -m bench engine --quick
	$(BIN)/python -m bench matching --quick
	$(BIN)/python -m bench directory --quick
	$(BIN)/python -m bench admin --quick
	$(BIN)/python -m bench quota --quick
	$(BIN)/python -m bench books --quick
	$(BIN)/python -m bench labels --quick
	$(BIN)/python -m bench lookup_rows --quick
	$(BIN)/python -m bench lookup --quick

# Fuzz every parser in turn, guided by coverage (tests/fuzz): crashes and how to repeat them are in build/fuzz.
MINUTES ?= 60
fuzz: $(STAMP)-fuzz
	PYTHONPATH=.:tests $(BIN)/python -m fuzz --minutes $(MINUTES)

# Whether secrets show in the time that kernels take (tests/timing). On a machine that does nothing else.
SECONDS ?= 60
timing: $(STAMP)-test
	PYTHONPATH=.:tests $(BIN)/python -m timing --seconds $(SECONDS)

# Wheel, sdist and hashes of the web client, the same octets for the same commit, by the build tools of requirements/build.txt.
dist: build/dist-tools/.installed
	build/dist-tools/bin/python release/build.py dist
	cd dist && sha256sum contactsync-* > SHA256SUMS && cat SHA256SUMS

build/dist-tools/.installed: requirements/build.txt
	rm -rf build/dist-tools
	$(PYTHON) -m venv build/dist-tools
	build/dist-tools/bin/python -m pip install --quiet --require-hashes -r requirements/build.txt
	touch $@

# What is in an installation with all extras: CycloneDX, validated, the same octets each time.
sbom: dist $(STAMP)-release
	rm -rf build/sbom
	$(PYTHON) -m venv --without-pip build/sbom
	$(BIN)/python -m pip --python build/sbom/bin/python install --quiet --require-hashes -r requirements/all.txt
	$(BIN)/python -m pip --python build/sbom/bin/python install --quiet --no-deps dist/contactsync-*.whl
	$(BIN)/python release/sbom.py build/sbom/bin/python dist/contactsync.cdx.json

# The versions and hashes of everything that is installed, from pyproject.toml.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate
lock: $(STAMP)-release
	$(COMPILE) --output-file requirements/runtime.txt pyproject.toml
	$(COMPILE) --extra cloud --extra dask --extra keyring --extra plots --extra postgres --output-file requirements/all.txt pyproject.toml
	$(COMPILE) --output-file requirements/build.txt requirements/build.in

# Known vulnerabilities of what is locked. Asks a service on the internet; one package that it does not know fails it.
audit-deps: $(STAMP)-release
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements/all.txt

docs: $(STAMP)
	$(BIN)/python -m contactsync.commands.reference docs/cli.md
	$(BIN)/python -m contactsync.commands.manual man

# By the twins in tests/, never by the package.
vectors: $(STAMP)-test
	$(BIN)/python tests/vectors/make.py

# The vectors by an AArch64 Python under qemu-user, where LLVM compiles every kernel (root; Debian's packages).
vectors-arm64: $(STAMP)
	tests/vectors/arm64.sh $(BIN)/python

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip wheel setuptools

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(STAMP)-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[test,lint]'
	touch $@ $(STAMP)

$(STAMP)-bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	touch $@ $(STAMP)

$(STAMP)-coverage: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[test,coverage]'
	touch $@ $(STAMP)

$(STAMP)-fuzz: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[test,fuzz]'
	touch $@ $(STAMP)

$(STAMP)-release: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[release]'
	touch $@ $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
