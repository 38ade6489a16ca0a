# Needs Go, gcc (for -race), git, bash and make. Tools are built by go install
# into .tmp/bin at the versions below; nothing else is installed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

GOLANGCI_LINT_VERSION := v2.15.0

BIN  := $(CURDIR)/.tmp/bin
LINT := $(BIN)/golangci-lint
LINT_STAMP := $(BIN)/.golangci-lint-$(GOLANGCI_LINT_VERSION)

# The Consul agent that the integration tests run, built from the module that pins it.
CONSUL_VERSION := $(shell awk '$$1 == "github.com/hashicorp/consul" { print $$2 }' integration/consul-agent/go.mod)
CONSUL := $(BIN)/consul-$(CONSUL_VERSION)

FUZZTIME ?= 30s
# How many histories the models of promises run, the targets called FuzzHistory.
HISTORIES ?= 10000x
BENCH    ?= .
COUNT    ?= 6
ROW      ?=
ATTACK   ?=
FOR      ?= 1m

# Nested modules that hold Go files; a module that only pins tools has none.
NESTED = $(shell find . -mindepth 2 -name go.mod -not -path './.tmp/*' | sort | \
	while read -r mod; do d=$${mod%/go.mod}; [[ -z $$(find "$$d" -name '*.go' -print -quit) ]] || echo "$$d"; done)

# $(call step,name,command) runs a command between two lines that say so.
define step
	@SECONDS=0; echo "==> $(1)"; \
	{ $(2); } || { echo "==> $(1): FAILED after $${SECONDS}s" >&2; exit 1; }; \
	echo "==> $(1): ok, $${SECONDS}s"
endef

# How many packages are tested at once. Many tests wait, for processes, disks and
# agents, so it is more than there are processors.
PACKAGES ?= 4
# The packages whose tests take longest begin first, so that none of them is left
# to run alone at the end.
LONGEST := ./protocol/pubsub ./protocol/pipeline ./internal/transport .
# The tests of the examples build programs, without the race detector, and look at
# what these print: under the detector they would do once more what they did before.
RACED = $(LONGEST) $$(go list ./... | grep -v /examples/)
# The limit of one package. Tests wait for events and set no times of their own,
# so this is what ends one that waits for nothing, on the slowest of machines.
PATIENCE ?= 60m

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ test

.PHONY: check
check: fmt-check tidy vet ports lint ## format, go.mod, vet, lint and the short tests: before each commit
	$(call step,short tests,go test -short -shuffle=on -timeout 5m ./...)

.PHONY: test
test: fmt-check tidy vet beside ## everything CI runs
	@echo "==> all passed"

# The tests of the module compute, the other steps wait most of the time: their
# lines come mixed, and each says which package or step it is about.
.PHONY: beside
beside:
	@$(MAKE) lint integration nested quickstart & others=$$!; failed=0; \
	$(MAKE) unit race || failed=1; \
	wait $$others || failed=1; \
	exit $$failed

.PHONY: unit
unit: ## all tests of the module
	$(call step,tests,go test -vet=off -shuffle=on -p $(PACKAGES) -timeout $(PATIENCE) $(LONGEST) ./...)

# Its collector runs a quarter as often: marking costs the detector most, and the
# heaps are small. A process would wait a second when it ends, for races at the end;
# some tests start hundreds.
.PHONY: race
race: ## all tests under the race detector
	$(call step,race detector,GOGC=400 GORACE=atexit_sleep_ms=0 .ci/race -vet=off -shuffle=on -p=$(PACKAGES) -timeout=$(PATIENCE) $(RACED))

.PHONY: nested
nested: ## the tests of the nested modules, integration excepted
	@for d in $(filter-out ./integration,$(NESTED)); do $(MAKE) nested-one MODULE=$$d; done

.PHONY: nested-one
nested-one:
	$(call step,tests of $(MODULE),cd $(MODULE) && go vet ./... && go test -vet=off -timeout $(PATIENCE) ./...)

.PHONY: integration
integration: $(CONSUL) ## tests against the real Consul agent, built from its Go module
	$(call step,integration with Consul $(CONSUL_VERSION),cd integration && go vet ./... && go test -vet=off -shuffle=on -timeout $(PATIENCE) ./...)

# The version is part of the name, so another one is built when the pin changes.
$(CONSUL): integration/consul-agent/go.mod integration/consul-agent/go.sum
	$(call step,building the Consul agent $(CONSUL_VERSION) (a few minutes the first time),\
		mkdir -p $(BIN) && rm -f $(BIN)/consul-v* && \
		cd integration/consul-agent && go build -o $@ github.com/hashicorp/consul && touch $@)

.PHONY: consul
consul: $(CONSUL) ## run a Consul agent to try things with, until it is interrupted
	@echo "==> Consul on 127.0.0.1:8500, its UI there too; in another shell: CONSUL_HTTP_ADDR=127.0.0.1:8500 go run ./examples/quickstart"
	@exec $(CONSUL) agent -dev -log-level=warn

.PHONY: quickstart
quickstart: ## run the example of the README
	$(call step,examples/quickstart,go run ./examples/quickstart)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (30s), models for HISTORIES (10000x), one after the other
	@targets=$$(grep -rEo --include='*_test.go' --exclude-dir=.tmp '^func Fuzz[A-Z][A-Za-z0-9_]*' . | sort || true); \
	total=$$(wc -l <<<"$$targets"); n=0; failed=(); \
	[[ -n "$$targets" ]] || { echo "no fuzz target found" >&2; exit 1; }; \
	while IFS=: read -r file func; do \
		n=$$((n + 1)); name=$${func#func }; dir=$${file%/*}; \
		time=$(FUZZTIME); [[ $$name != FuzzHistory ]] || time=$(HISTORIES); \
		echo "==> fuzz $$n/$$total: $$dir $$name for $$time"; \
		(cd "$$dir" && go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $$time .) </dev/null || failed+=("$$dir $$name"); \
	done <<<"$$targets"; \
	[[ $${#failed[@]} -eq 0 ]] || { printf 'fuzz failed: %s\n' "$${failed[@]}" >&2; exit 1; }

##@ measure

.PHONY: bench
bench: ## benchmarks of the module, BENCH=pattern COUNT=6, also to bench/new.txt
	@go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./... | tee bench/new.txt

.PHONY: bench-peers
bench-peers: $(BIN)/benchpeers ## link against its peers; ROW='unary/64B/c64' picks rows
	@$(BIN)/benchpeers -out bench -row '$(ROW)'

.PHONY: siege
siege: ## attack a node beside honest callers; ATTACK=routes picks one, FOR=10m how long
	@cd bench && go run ./siege -attack '$(ATTACK)' -for $(FOR)

.PHONY: bench-allocs
bench-allocs: $(BIN)/benchpeers ## allocations per call against gRPC-Go
	@$(BIN)/benchpeers -allocs

.PHONY: $(BIN)/benchpeers
$(BIN)/benchpeers:
	@cd bench && go build -o $@ .

##@ code

.PHONY: metrics
metrics: ## sizes and shapes of the code, and how deep a call is when it is written
	@go run ./internal/metrics

.PHONY: fmt
fmt: $(LINT_STAMP) ## format every file (gofumpt, gci)
	@$(LINT) fmt ./...

.PHONY: fmt-check
fmt-check: $(LINT_STAMP)
	$(call step,format,$(LINT) fmt --diff ./...)

.PHONY: vet
vet:
	$(call step,vet,go vet ./...)

# Where an int has 32 bits everything is vetted; on the other ports what has files of their own.
# The first run compiles the standard library for each, later ones what has changed.
PORTS := darwin/arm64 windows/amd64 freebsd/amd64 linux/arm64 linux/arm linux/riscv64 linux/s390x

.PHONY: ports
ports: ## vet for 32 bits, and for other systems and processors
	$(call step,vet for 386,GOARCH=386 go vet ./...)
	@differs=$$(go list -f '{{if .IgnoredGoFiles}}{{.ImportPath}}{{end}}' ./...); \
	for port in $(PORTS); do \
		$(MAKE) ports-one PORT=$$port PACKAGES="$$(tr '\n' ' ' <<<"$$differs")"; \
	done

.PHONY: ports-one
ports-one:
	$(call step,vet for $(PORT),GOOS=$(word 1,$(subst /, ,$(PORT))) GOARCH=$(word 2,$(subst /, ,$(PORT))) go vet $(PACKAGES))

.PHONY: lint
lint: $(LINT_STAMP) ## golangci-lint on every module
	@for d in . $(NESTED); do $(MAKE) lint-one MODULE=$$d; done

# golangci-lint refuses to run beside another, in whatever folder that is: it waits for its turn.
.PHONY: lint-one
lint-one:
	$(call step,lint of $(MODULE),cd $(MODULE) && $(LINT) run --allow-serial-runners --config $(CURDIR)/.golangci.yml ./...)

.PHONY: tidy
tidy: ## fail when a go.mod is not tidy
	@for d in . $(NESTED); do $(MAKE) tidy-one MODULE=$$d; done

.PHONY: tidy-one
tidy-one:
	$(call step,go.mod of $(MODULE),cd $(MODULE) && go mod tidy -diff)

$(LINT_STAMP):
	$(call step,build golangci-lint $(GOLANGCI_LINT_VERSION) (minutes$(comma) once),\
		mkdir -p $(BIN) && rm -f $(BIN)/.golangci-lint-* && \
		GOFLAGS= GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION) && \
		touch $@)

comma := ,
