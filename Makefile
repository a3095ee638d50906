# make dev | demo | replica | up | check | test | slow | faults | chaos | lock
# One virtual environment, .venv, built from constraints.txt.

PYTHON ?= python3
DATA ?= digits
SEED ?= 0
SEEDS ?= 1
MINUTES ?= 10
JOBS ?= 200
# Files of tests run side by side, on as many cores as there are, four at most.
SIDE_BY_SIDE ?= -n logical --maxprocesses 4 --dist loadfile
BIN := .venv/bin
STAMP := .venv/.built

.PHONY: dev demo replica up check test slow faults chaos lock

dev: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make dev PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt --no-deps timm  # its networks alone: they need no torchvision
	$(BIN)/python -c 'import yapf.yapflib.yapf_api'  # writes its cache, which two at once would spoil
	touch $@

# Teacher, distilled student and its undistilled twins on a real service, in minutes.
demo: $(STAMP)
	$(BIN)/pgd demo --data $(DATA) --seed $(SEED)

# The paper in miniature, in about an hour on two cores; SEEDS is of FCOS's students.
replica: $(STAMP)
	$(BIN)/pgd replica --seeds $(SEEDS)

# The whole service on this machine, until Ctrl-C.
up: $(STAMP)
	$(BIN)/pgd up

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(SIDE_BY_SIDE)

test: $(STAMP)
	$(BIN)/pytest $(SIDE_BY_SIDE)

# What takes minutes each: processes killed, several GPUs' worth of processes, full disks.
slow: $(STAMP)
	$(BIN)/pytest -m 'slow and not gpu' $(SIDE_BY_SIDE)

# Servers and processes killed and frozen at exact moments.
faults: $(STAMP)
	$(BIN)/pytest -m slow tests/end_to_end/faults

# The service under random faults; its report goes to docs/reliability.md.
chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --jobs $(JOBS) --seed $(SEED)

# Renew constraints.txt from what pyproject.toml asks for; torch and the detectors stay pinned.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	grep -E '^(torch|mmdet|mmengine|mmcv-lite)==' constraints.txt > .venv-lock/pins.txt
	.venv-lock/bin/pip install --quiet -c .venv-lock/pins.txt -e '.[dev]'
	.venv-lock/bin/pip install --quiet --no-deps timm
	{ echo '# The exact versions that the checks ran with. `make lock` renews this file.'; \
	  .venv-lock/bin/pip freeze --exclude pgd | sed 's/+cpu$$//'; } > .venv-lock/constraints.txt
	mv .venv-lock/constraints.txt constraints.txt
	rm -rf .venv-lock
