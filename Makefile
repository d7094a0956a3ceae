# Two commands are enough for most people: `make demo` and `make test`. Both make the environment first if it is not there.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
WORKERS ?= 2
READY   = $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help env demo test test-all test-slow check lab colab-env colab-test export pictures gallery bench quality wheel release-test share-test clean
help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

env: $(READY)    ## make the environment (.venv) with the tested versions
$(READY): settings.ini setup.py constraints.txt tools/make_env.sh
	PYTHON="$(PYTHON)" sh tools/make_env.sh $(VENV)
	@touch $@

demo: $(READY)   ## the chromatin protocol, end to end, on built-in practice data
	cellprotocols demo

lab: $(READY)    ## JupyterLab on the notebooks
	jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/nbs/index.ipynb

export: $(READY) ## write cellprotocols/ and colab/ from nbs/
	nbdev-clean && python tools/fold_cells.py && nbdev-export && ruff format -q && python tools/make_colab.py

check: $(READY)  ## are the notebooks clean, the library the one they export, tests and tools formatted?
	ruff format --check -q
	python tools/check_generated.py
	python tools/fold_cells.py --check
	python tools/make_colab.py --check

test: check      ## what a contributor needs, in minutes (WORKERS=8: on eight cores)
	rm -rf nbs/work nbs/*/work
	OMP_NUM_THREADS=1 nbdev-test --n-workers $(WORKERS)
	OMP_NUM_THREADS=1 python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow and not browser and not colab"

test-slow: $(READY) ## slow tests and browser tests (slow cells of step notebooks run in the Colab editions)
	OMP_NUM_THREADS=1 python -m pytest -q -n $(WORKERS) --dist loadfile -m "slow or browser"

colab-env: $(READY) ## the environment Colab publishes; the browser tests use it, too
	python tools/colab_test.py --env-only

colab-test: $(READY) ## the Colab editions and the fast tests on the versions Colab publishes
	python tools/colab_test.py

test-all: test test-slow colab-test ## everything

pictures: $(READY) ## run the notebooks again and keep their output pictures
	python tools/run_notebooks.py
	python tools/make_strips.py

gallery: $(READY) ## docs/gallery: a page a protocol from its notebooks, and the practice reports (runs the demos: half an hour)
	python tools/make_gallery.py

bench: $(READY)  ## docs/bench.md: every benchmark that needs no data of others, in one table (half an hour on a quiet machine)
	OMP_NUM_THREADS=1 CELLPROTOCOLS_QUIET=1 python benchmarks/bench_all.py

quality: $(READY) ## the tables of docs/quality.md on real cells: make quality DATA=folder (hours)
	python benchmarks/bench_quality.py --data "$(DATA)" --out work/quality | tee work/quality.md
	python benchmarks/bench_domain.py --data "$(DATA)" --out work/domain | tee work/domain.md

wheel: $(READY)  ## build the wheel and the source package
	rm -rf build && python -m build

PYTHONS ?= python3.11 python3.12 python3.13
release-test: wheel ## the wheel in fresh environments of three Pythons (PYTHONS="..."), outside the source tree
	sh tools/release_test.sh $(PYTHONS)

share-test: $(READY) ## the exports of `share`, with the libraries of other programs in an environment of their own
	python -m uv venv --quiet --clear .venv-share
	python -m uv pip install --quiet --python .venv-share/bin/python -e ".[share,zoo]" pytest hypothesis pycocotools
	.venv-share/bin/python -m pytest -q -n 0 tests/test_share.py tests/test_stored.py

clean:           ## remove the environment, what was built and what the notebooks have made
	rm -rf $(VENV) .venv-colab .venv-share build dist *.egg-info nbs/work nbs/*/work
