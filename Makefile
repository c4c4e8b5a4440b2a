# Needs Python 3.11 or newer, git and make; everything else goes into .venv.

PIPELINE = time-to-dispatch
PORT = 8000
INSTALLED = .venv/installed
BODYWORK = .venv/bodywork
PYTHON = .venv/bin/python
LOCKS = requirements_pipe.txt requirements_cicd.txt
SBOM = sbom
COMPILE = .venv/bin/uv pip compile --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-header --quiet

# Uv trusts what the machine trusts, as pip does: some networks have certificates of their own.
export UV_SYSTEM_CERTS = true

.PHONY: help run check test infrastructure bench clients fuzz monitoring e2e lock sbom bodywork

help:  ## Explain each target in a line.
	@sed -n 's/^\([a-z0-9]*\):.*## /make \1	/p' Makefile

run: $(INSTALLED)  ## Train on generated orders and serve estimates; PORT=8001 for another port, PIPELINE=iris for irises.
	@exec $(PYTHON) -m sandbox --port $(PORT) --pipeline "$(PIPELINE)"

# Pyenv hides all but its global version; tox shall find each one that it has.
test: $(INSTALLED)  ## Run all tests, on each Python found where that matters, and the static analysis.
	@if command -v pyenv > /dev/null; then \
		versions=$$(pyenv versions --bare | grep -E '^3\.1[1-3]\.[0-9]+$$' | paste -sd : -); \
		export PYENV_VERSION=$${versions:-system}; \
	fi; \
	UV_PYTHON_DOWNLOADS=never exec $(PYTHON) -m tox run-parallel

check: $(INSTALLED)  ## Run the static analysis and all tests that need no process of their own: in a minute.
	@UV_PYTHON_DOWNLOADS=never exec $(PYTHON) -m tox run-parallel -e static,check

infrastructure: $(INSTALLED)  ## Run GitHub's workflows, and what Terraform makes on AWS, against stand-ins; 7 minutes.
	@UV_PYTHON_DOWNLOADS=never exec $(PYTHON) -m tox -e infrastructure

bench: $(INSTALLED)  ## Measure everything against its baseline, into benchmarks/results; 11 minutes.
	@UV_PYTHON_DOWNLOADS=never exec $(PYTHON) -m tox -e bench

clients: $(INSTALLED)  ## Check the OpenAPI document, and ask with a client generated in TypeScript; needs Node.js.
	@exec $(PYTHON) -m tests.clients

fuzz: $(INSTALLED)  ## Ask the service 100,000 generated requests and check each answer; takes long.
	@exec $(PYTHON) -m benchmarks.fuzz

monitoring: $(INSTALLED)  ## Break the service in each way that an alert tells of, under the real Prometheus; 5 minutes.
	@exec $(PYTHON) -m tests.monitoring.trial

e2e: $(INSTALLED)  ## Try everything on the cluster of KUBECONFIG; ARGS=--help for its options.
	@exec $(PYTHON) -m deploy.e2e $(ARGS)

lock: $(INSTALLED)  ## Remake the locks from the .in files; delete a lock first to renew its pins.
	$(COMPILE) requirements_pipe.in -o requirements_pipe.txt
	$(COMPILE) -c requirements_pipe.txt requirements_cicd.in -o requirements_cicd.txt
	$(COMPILE) -c requirements_pipe.txt -c requirements_cicd.txt \
		notebooks/requirements_nb.in -o notebooks/requirements_nb.txt
	$(COMPILE) -c requirements_cicd.txt deploy/uv.in -o deploy/uv.txt
	$(COMPILE) deploy/bodywork/build_constraints.in -o deploy/bodywork/build_constraints.txt
	$(COMPILE) --override deploy/bodywork/overrides.txt \
		--build-constraint deploy/bodywork/build_constraints.txt \
		deploy/bodywork/requirements.in -o deploy/bodywork/requirements.txt
	$(PYTHON) -m deploy.image --write

# Reproducible: the same locks give the same bytes.
sbom: $(INSTALLED)  ## List what production runs on into sbom/, in the form of CycloneDX.
	@mkdir -p $(SBOM)
	@$(PYTHON) -m cyclonedx_py requirements --output-reproducible --validate \
		-o $(SBOM)/pipeline.json requirements_pipe.txt
	@$(PYTHON) -m cyclonedx_py requirements --output-reproducible --validate \
		-o $(SBOM)/bodywork.json deploy/bodywork/requirements.txt
	@echo "Wrote $(SBOM)/pipeline.json and $(SBOM)/bodywork.json."

bodywork: $(BODYWORK)/installed  ## Install Bodywork, which releases need, into .venv/bodywork.

# Its set-up calls a usage-tracking host over HTTP; the proxy, which is none, stops that.
$(BODYWORK)/installed: deploy/bodywork/requirements.txt | $(INSTALLED)
	@.venv/bin/uv venv --quiet --clear --python $(PYTHON) $(BODYWORK)
	@http_proxy=http://127.0.0.1:9 .venv/bin/uv pip sync --python $(BODYWORK)/bin/python \
		--require-hashes --build-constraint deploy/bodywork/build_constraints.txt $<
	@touch $@

# Pip installs uv, from its one pin among the locks, and uv the rest in a tenth of the time.
$(INSTALLED): $(LOCKS) $(PYTHON)
	@echo "Installing what $(LOCKS) list into .venv ..."
	@rm -f $@
	@$(PYTHON) -m pip --version > /dev/null 2>&1 || { \
		for python in python3 python3.13 python3.12 python3.11; do \
			$$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' \
				2> /dev/null && break; \
			python=; \
		done; \
		test -n "$$python" || { \
			echo "No Python 3.11 or newer with its venv module found: install one, for example python3.12, and try again." >&2; \
			exit 1; \
		}; \
		$$python -m venv --clear .venv; \
	}
	@awk '/^[^ ]/ { wanted = /^uv==/ } wanted' requirements_cicd.txt > .venv/uv.txt
	@$(PYTHON) -m pip install --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@.venv/bin/uv pip sync --python $(PYTHON) --require-hashes $(LOCKS)
	@touch $@

$(PYTHON): ;
