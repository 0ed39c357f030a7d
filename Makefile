# Targets are one-liners or scripts in .ci; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

LISTEN   ?= 127.0.0.1:9248
FUZZTIME ?= 10s
SOAKTIME ?= 3m
COUNT    ?= 6
BENCH    ?= .
BASE     ?= HEAD~1
LIB      := set -uo pipefail; results=$(CURDIR)/build/test; mkdir -p $$results; . .ci/lib;
TRUTH    ?= ./bpf ./rules/live ./exporter/fim

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PACKAGE  := github.com/prometheus/common/version
LDFLAGS  := -s -w -X $(PACKAGE).Version=$(VERSION) -X $(PACKAGE).Revision=$(shell git rev-parse HEAD 2>/dev/null) \
            -X $(PACKAGE).Branch=$(shell git rev-parse --abbrev-ref HEAD 2>/dev/null)
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help run build test soak generate check lint golden console fuzz bench bench-diff verify image kernels kernels-update setup

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

run: build ## build, and run with the embedded store in ./data
	@echo
	@echo "  Yagura will be at  http://$(LISTEN)/"
	@echo "  metrics            http://$(LISTEN)/metrics"
	@echo "  a query            ./yagura query 'sum by (container) (rate(yagura_syscalls_total[1m]))'"
	@echo "  what is attached   $(SUDO) ./yagura doctor"
	@echo "  Ctrl-C stops it; what it stored stays in ./data."
	@echo
	$(SUDO) ./yagura run --web.listen-address=$(LISTEN) --store.path=./data

build: ## build ./yagura, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags='$(LDFLAGS)' -o yagura .

setup: ## install the Debian packages that the tests need
	.ci/setup

test: ## install what the tests need and run everything; CI runs this
	.ci/test

check: ## what make test checks without running a test
	.ci/setup
	.ci/generate-check
	.ci/gofmt
	@$(LIB) go vet ./... "$${tools[@]}"
	go run ./.ci/arrows
	promql/console/check.sh

lint: ## golangci-lint with the same arrows; its first build takes two minutes
	go tool -modfile=.ci/tools/go.mod golangci-lint run --config .ci/golangci.yml ./...

generate: ## compile the kernel programs and write their Go
	.ci/setup
	go generate ./bpf/...

golden: ## rewrite the golden files of all tests that have some
	@$(LIB) golden

console: ## build the console anew from its sources
	promql/console/check.sh --update

fuzz: ## fuzz every target for FUZZTIME (10s)
	@$(LIB) fuzz $(FUZZTIME); go run ./.ci/testsummary $$results/fuzz-*.json

soak: ## the long rest: fuzzing for SOAKTIME per target (3m), floods, churn, slow faults
	.ci/setup
	@$(LIB) rm -f $$results/soak*.json $$results/fuzz-*.json; \
	YAGURA_SOAK=1 gotest soak -tags soak -timeout 60m -run Soak ./...; fuzz $(SOAKTIME); \
	go run ./.ci/testsummary $$results/soak.json $$(ls $$results/fuzz-*.json 2>/dev/null)

bench: ## run the benchmarks COUNT times (6) into build/bench/HEAD.txt
	.ci/bench '$(BENCH)' $(COUNT)

bench-diff: ## run them here and at BASE (HEAD~1), and compare
	.ci/bench '$(BENCH)' $(COUNT) $(BASE)

kernels: ## boot the kernels of .ci/kernels under qemu and run the truth tests
	@$(LIB) rm -f $$results/kernel-*.json; CGO_ENABLED=0 gotest bpf -p 1 $(TRUTH); \
	go run ./.ci/kernels -live $$results/bpf.json $(TRUTH); go run ./.ci/testsummary $$results/bpf.json $$results/kernel-*.json

kernels-update: ## the same, and write bpf/KERNELS.md anew
	@$(LIB) CGO_ENABLED=0 gotest bpf -p 1 $(TRUTH); go run ./.ci/kernels -update -live $$results/bpf.json $(TRUTH)

verify: ## a clean clone, built, started, scraped and stopped for real
	.ci/verify

image: ## build the container image as an OCI archive, without an engine
	.ci/image $(VERSION)
