# Deveno's commands. `make` lists them.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true

.DEFAULT_GOAL := help
.PHONY: help setup run test check prove rebuild-all nightly-power sync lock clean resume chaos overhead full-disk removable prove-again prove-port prove-corpus fairseq-release fairseq-shapes port-stream port-layers bench-corpus bench-rates bench-rule-truth esperanto-files parallel-truth label-rounds table-qa bench-corpus-scale vocabulary-search bench-languages bench-warm-starts bench-decoding bench-translate fuzz hostile bench-sources

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(STAMP)  ## make the environment in .venv, exactly as locked

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what requirements.lock names into $(VENV): some minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@# Where the index serves torch built for GPUs, that build needs libraries the lock cannot name.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@mkdir -p data/external
	@# An empty folder of own files is what git says it is: else `dvc status` calls it lost.
	@test -n "$$(ls -A data/external)" || $(BIN)/dvc commit -q -f data/external.dvc
	@# Links save copies; not for root, who would write through them into the cache.
	@test "$$(id -u)" = 0 -o -e .dvc/config.local \
	  || $(BIN)/dvc config --local cache.type reflink,hardlink,copy
	@touch $(STAMP)

run: setup  ## run the pipeline in force and name its report
	@$(BIN)/deveno run --compare

test: setup  ## run every test, two processes at a time
	@# A file stays in one process and files keep their order: some tests go on from those above.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup  ## lint, types, import contracts, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/house -m "not tools"

prove: setup  ## run every line of benchmarks/line.json in a fresh clone
	$(BIN)/python benchmarks/prove.py

prove-again: setup  ## run every line of benchmarks/made-again.json (hours; --recorded takes long ones as tracked)
	$(BIN)/python benchmarks/prove_again.py

prove-corpus: setup  ## run every line of benchmarks/corpus.json (rows of bench-corpus as tracked)
	$(BIN)/python -m benchmarks.prove_corpus

prove-port: setup  ## run every line of benchmarks/port.json (--recorded takes long ones as tracked)
	$(BIN)/python -m benchmarks.prove_port

nightly-power: setup  ## how often a night cries wolf, and whether it sees 5 % (12 minutes)
	$(BIN)/python benchmarks/nightly_power.py

rebuild-all: setup  ## make every recipe in a fresh clone, and all of it again from raw in another
	$(BIN)/python benchmarks/rebuild_all.py

fairseq-release: setup  ## the recipe of a real fairseq release held against fairseq: same texts, same BLEU (6 minutes)
	$(BIN)/python benchmarks/fairseq_release.py

resume: setup  ## kill trainings at 20 random points and compare every byte
	$(BIN)/python benchmarks/resume.py

full-disk: setup  ## fill the disk during every stage, and see a clear error and a clean retry
	$(BIN)/python benchmarks/full_disk.py

chaos: setup  ## kill everything a run consists of, 100 times, and compare bytes
	$(BIN)/python -m benchmarks.chaos

removable: setup  ## let MLflow die in five ways in the middle of a run, and count what comes afterwards
	$(BIN)/python -m benchmarks.removable

port-stream: setup  ## port a checkpoint as a stream against loading it whole: time and memory (10 minutes)
	$(BIN)/python benchmarks/port_stream.py

port-layers: setup  ## port and prove three families layer by layer, within the memory bound (4 minutes)
	$(BIN)/python -m benchmarks.port_layers

overhead: setup  ## what truth costs: nothing to do, registering 2 GB, a logged metric (20 minutes; needs a fresh workspace)
	$(BIN)/python benchmarks/truth.py

bench-corpus: setup  ## the corpus path beside its peers, row by row (DEVENO_PEERS_PYTHON: their interpreter)
	$(BIN)/python -m benchmarks.corpus

parallel-truth: setup  ## rules of parallel text on real pairs with planted faults (DEVENO_TEST_DATA; 1 minute)
	$(BIN)/python -m benchmarks.parallel_truth

bench-corpus-scale: setup  ## generated text through the line: memory, disk and CPU per GB, killed twice (SIZES=0.1,0.3,1,10)
	$(BIN)/python -m benchmarks.corpus_scale --sizes $(or $(SIZES),"0.1,0.3,1,10") --kill 2

bench-sources: setup  ## containers through acquire: killed twice, the same bytes; memory, and what it costs (3 minutes)
	$(BIN)/python -m benchmarks.sources

fuzz: setup  ## readers and kernels on drawn input: SECONDS of CPU (300), SEED, TARGETS, REPLAY=a failing example
	$(BIN)/python -m benchmarks.fuzz --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED)) \
	  $(if $(TARGETS),--targets $(TARGETS)) $(if $(REPLAY),--replay $(REPLAY))

hostile: setup  ## every hostile document and file, bombs and lines of 100 MB among them, through the whole line
	$(BIN)/python -m benchmarks.hostile

vocabulary-search: setup  ## the recipe `vocabulary` on shared Esperanto: size, compression, loss, the best marked (2 CPU minutes)
	$(BIN)/python -m benchmarks.vocabulary

bench-languages: setup  ## what vocabularies cost each language of the shared parallel text (1 CPU minute)
	$(BIN)/python -m benchmarks.languages

label-rounds: setup  ## learning curves of labelling rounds, random against doubt, three seeds (DEVENO_TEST_DATA; 10 CPU minutes)
	$(BIN)/python -m benchmarks.labelling

table-qa: setup  ## a small model learns to execute queries over tables it never saw (10 CPU minutes)
	$(BIN)/python -m benchmarks.table_qa

bench-warm-starts: setup  ## a table of warm starts on translation and summarisation (25 CPU minutes)
	$(BIN)/python benchmarks/warm_starts.py

bench-decoding: setup  ## what ways of decoding cost and give (15 minutes; needs models/ported/en-eo and DEVENO_TEST_DATA)
	$(BIN)/python -m benchmarks.decoding
bench-translate: setup  ## tokens per second of every export of a translator beside generate, CTranslate2 and fairseq
	$(BIN)/python -m benchmarks.translate

esperanto-files: setup  ## the recipe on real text before and after all rules: benchmarks/esperanto_files.json (2 minutes)
	$(BIN)/python -m benchmarks.esperanto_files

bench-rates: setup  ## what a gigabyte costs each data stage, for `deveno forecast` (3 minutes)
	$(BIN)/python -m benchmarks.rates

bench-rule-truth: setup  ## precision and recall of every rule on the generator's planted truth (1 minute)
	$(BIN)/python -m benchmarks.rule_truth

sync: setup  ## render dvc.yaml, environment.yaml and the README tables
	$(BIN)/deveno sync

lock: setup  ## write requirements.lock from what is installed
	@( echo '# Exact versions for Python 3.11, written by `make lock`.'; \
	  $(BIN)/python -m pip freeze --all --exclude-editable | grep -vE '^(pip|wheel)==' \
	  | sed -E 's/\+[a-z0-9.]+$$//' | sort -f ) > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## remove the environment and everything runs leave behind
	rm -rf $(VENV) .deveno scratch *.egg-info

fairseq-shapes: setup  ## port what benchmarks/fairseq_oracle.py made with real fairseq (SHAPES=its folder)
	$(BIN)/python benchmarks/fairseq_shapes.py $(SHAPES)
