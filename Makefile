# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# the first Python that runs, is new enough and has venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
DEMO := demo

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer with venv found; install one, or: make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# installed once per extra, and again when pyproject.toml changes
$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	@echo "installing landscape-cli[$*] into $(VENV) (torch is about 5 GB; this takes a minute or more) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

demo: $(VENV)/.installed-demo  ## scan the shipped digits checkpoint, measure how flat it is, train it again, compare the two, and draw the path
	@mkdir -p $(DEMO)
	$(BIN)/landscape scan configs/digits.yaml -o $(DEMO)/digits.h5
	$(BIN)/landscape plot $(DEMO)/digits.h5 -o $(DEMO)/digits.png --kind surface3d --quiet
	$(BIN)/landscape plot $(DEMO)/digits.h5 -o $(DEMO)/digits.html --quiet
	$(BIN)/landscape scan configs/digits.yaml -o $(DEMO)/digits.h5 --set radius=true --set curvature=true --quiet
	$(BIN)/landscape sharpness $(DEMO)/digits.h5
	$(BIN)/landscape scan configs/digits_line.yaml -o $(DEMO)/digits_line.h5
	$(BIN)/landscape plot $(DEMO)/digits_line.h5 -o $(DEMO)/digits_line.png --quiet
	$(BIN)/python scripts/train_digits.py -o $(DEMO)/last.pt --save-every-epoch $(DEMO)/path
	$(BIN)/landscape scan configs/ci.yaml -o $(DEMO)/again.h5 --checkpoint $(DEMO)/last.pt --set radius.slices=10 --quiet
	$(BIN)/landscape compare $(DEMO)/digits.h5 $(DEMO)/again.h5 --config configs/ci.yaml || test $$? = 5
	$(BIN)/landscape scan configs/digits_path.yaml -o $(DEMO)/digits_path.h5
	$(BIN)/landscape plot $(DEMO)/digits_path.h5 -o $(DEMO)/digits_path.png --quiet
	$(BIN)/landscape report $(DEMO)/digits.h5 -o $(DEMO)/report.html --quiet
	$(BIN)/landscape show $(DEMO)/digits.h5
	@echo "look at: $(addprefix $(CURDIR)/$(DEMO)/,digits.png digits.html report.html digits_line.png digits_path.png)"

test: lint unit  ## lint, types, architecture, and the tests that take less than a second or two

test-all: test slow  ## the above, and what takes longer: kill tests, a full disk, the wheel in an empty environment

lint: $(VENV)/.installed-dev  ## ruff, mypy, import-linter, schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/write_schemas.py --check

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow" -n 2

coverage: $(VENV)/.installed-dev  ## the tests of `make test`, and which lines they run; takes twice as long
	$(BIN)/python -m pytest -m "not slow" -n 2 --cov --cov-report=term

# two at a time, but those where seconds matter; what these have measured is printed
slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow and not alone" -n 2 --dist worksteal
	$(BIN)/python -m pytest -m "slow and alone" -rP

gallery: $(VENV)/.installed-dev demo  ## the pictures of docs/pictures.md, from the files of the demo
	$(BIN)/python scripts/gallery.py

schemas: $(VENV)/.installed-dev  ## write docs/*.schema.json
	$(BIN)/python scripts/write_schemas.py

bench: $(VENV)/.installed-demo  ## points per second against the plainest loop and the classic one; OUT=FILE.json or a folder
	$(BIN)/python scripts/bench.py --quick --out $(or $(OUT),docs/benchmarks)

bench-joint: $(VENV)/.installed-demo  ## points per second of two processes that fill a file together against one; ROUNDS=1 OUT=FILE.json
	$(BIN)/python scripts/bench_joint.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(OUT),--out $(OUT))

# with PYTHON=python3 in a Python that has everything already, else in .venv
GPU_PYTHON = $(if $(filter file,$(origin PYTHON)),$(BIN)/python,$(PYTHON))
gpu-check: $(if $(filter file,$(origin PYTHON)),$(VENV)/.installed-dev)  ## tests and benchmark on a GPU in 8 minutes; OUT=DIR
	@test -n "$(OUT)" || { echo "error: say where to write: make gpu-check OUT=DIR"; exit 2; }
	@$(GPU_PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
		{ echo "error: $(GPU_PYTHON) finds no CUDA device"; exit 2; }
	@mkdir -p $(OUT)
	@status=0; \
	timeout 150 $(GPU_PYTHON) -m pytest -m "not slow" -k "cuda or gpu or device" -p no:cacheprovider \
		--junitxml=$(OUT)/gpu-tests.xml || status=1; \
	$(GPU_PYTHON) scripts/bench.py --device cuda --minutes 5 --out $(OUT) || status=1; \
	exit $$status

build: $(VENV)/.installed-dev  ## wheel and source distribution in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

clean:  ## remove what was made, but not .venv
	rm -rf $(DEMO) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

.PHONY: help demo gallery test test-all lint unit coverage slow schemas bench bench-joint gpu-check build clean
