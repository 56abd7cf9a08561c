# make test, make build and go run ./cmd/postmortem demo work in a fresh clone.

TOOLS ?= $(abspath $(shell go env GOCACHE)/../postmortem-tools)
FUZZTIME ?= 5s
LINT_VERSION := v2.15.0
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

export PATH := $(TOOLS):$(PATH)

.PHONY: all build test bench healthy lint generate cross fuzz tools clean

all: build

# One static binary.
build:
	CGO_ENABLED=0 go build -trimpath -o bin/postmortem ./cmd/postmortem

# Tests compare with gdb, delve, viewcore and others: what may be installed is, and what is missing is named.
tools:
	@.ci/tools "$(TOOLS)"

test: tools
	go test -timeout 30m ./...

# Measures postmortem and its peers side by side, on cores and on traces, and keeps the sections of docs/performance.md. Large cores and
# traces are made once and cached: the first run takes long and wants some gigabytes of disk. BENCH=traces or BENCH=cores is one section;
# flags measure less: BENCH="-cores 1k,100k", BENCH="traces -traces server".
BENCH_SECTIONS = $(or $(filter cores traces,$(BENCH)),$(if $(strip $(BENCH)),cores,cores traces))
BENCH_FLAGS = $(or $(filter-out cores traces,$(BENCH)),-write)
bench: tools
ifneq ($(filter cores,$(BENCH_SECTIONS)),)
	go run ./analyze/format/gocore/internal/bench $(BENCH_FLAGS)
endif
ifneq ($(filter traces,$(BENCH_SECTIONS)),)
	go run ./analyze/format/gotrace/internal/bench $(BENCH_FLAGS)
endif

# Traces tests and benchmarks of real modules, which must be silent, and keeps docs/healthy-traces.md. It fetches some hundred megabytes of
# modules and takes ten minutes. HEALTHY="-healthy.keep DIR" keeps the traces.
healthy:
	go test ./rules -run TestHealthy -timeout 40m -v -healthy $(HEALTHY)

# golangci-lint is built on first use, which takes some minutes. LINT=off leaves it out.
lint:
	go vet ./...
ifneq ($(LINT),off)
	@test -x "$(TOOLS)/golangci-lint" || GOBIN="$(TOOLS)" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	"$(TOOLS)/golangci-lint" run ./...
endif

# The registry of the rules, their pages, and other files that are made from code.
generate:
	go generate ./...

cross:
	@for p in $(PLATFORMS); do \
		echo "$$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null ./cmd/postmortem || exit 1; \
	done

fuzz:
	@.ci/fuzz $(FUZZTIME)

clean:
	rm -rf bin
