# make demo and make test are all that a newcomer needs; each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo test lint audit pages docs ci explore faults soak bench quality fuzz lock clean
help:  ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(STAMP)  ## .venv with everything in it, from the hashed lock file

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## the main job on real data, with a real Kafka of its own
	$(BIN)/sway demo

JOBS ?= 2
test: setup  ## all tests, in JOBS processes, each with a Kafka of its own
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: setup  ## style, types and import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: setup  ## secrets in tracked files; known vulnerabilities of what is locked, where a source is reachable
	$(BIN)/python -m tools.secret_scan
	$(BIN)/python -m tools.dependency_audit requirements.lock requirements-docs.lock requirements-fuzz.lock

pages: setup  ## the generated pages: docs/settings.md, docs/metrics.md, docs/cli.md
	$(BIN)/python -m tools.pages

# The site's generator lies in a folder of its own, so that it changes nothing of what the tests run with.
docs: setup build/docs/tools/.installed  ## the documentation site, into build/site; a broken link is an error
	$(BIN)/python -m tools.site build/docs/pages
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=build/docs/tools $(BIN)/python -m mkdocs build

build/docs/tools/.installed: requirements-docs.lock | $(STAMP)
	rm -rf $(@D)
	$(BIN)/uv pip install --quiet --target $(@D) --no-deps --only-binary :all: --require-hashes -r $<
	touch $@

ci: lint audit docs test  ## exactly what CI runs

EXPLORE_RUNS ?= 5
explore: setup  ## what holds for any input, on new inputs, EXPLORE_RUNS times; make test draws the same at every run
	for run in $$(seq $(EXPLORE_RUNS)); do \
		$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=default || exit 1; done

REPEAT ?= 0
COPIES ?= 1
faults: setup  ## break it in every way, and audit; ONLY="words|others", REPEAT=30 COPIES=2 BESIDE=training; build/faults.json
	$(BIN)/python -m tests.faults "$(ONLY)" --repeat $(REPEAT) --copies $(COPIES) --beside "$(BESIDE)"

SOAK_S ?= 1200
soak: setup  ## two workers under a steady load for SOAK_S seconds: memory, files, threads; build/soak.json
	SOAK_S=$(SOAK_S) $(BIN)/python -m tests.faults.soak

bench: setup  ## ratios against peers and limits, into build/bench/summary.json
	$(BIN)/python -m benchmarks

quality: setup  ## how good scores are on real data beside baselines, into build/quality/
	$(BIN)/python -m benchmarks.quality

FUZZ_S ?= 60
fuzz: setup  ## the decoders under a coverage-guided fuzzer, for FUZZ_S seconds; Linux only
	$(BIN)/uv pip install --quiet --target build/fuzz/tools --no-deps --only-binary :all: --require-hashes \
		-r requirements-fuzz.lock
	PYTHONPATH=build/fuzz/tools $(BIN)/python -m tests.fuzz build/fuzz/corpus -artifact_prefix=build/fuzz/ \
		-max_total_time=$(FUZZ_S) -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1

lock:  ## resolve the dependencies again
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras --python-version 3.11 \
		--no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --group fuzz --python-version 3.11 \
		--no-emit-index-url --no-header -o requirements-fuzz.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --group docs --python-version 3.11 \
		--no-emit-index-url --no-header -o requirements-docs.lock

clean:
	rm -rf build $(VENV)
