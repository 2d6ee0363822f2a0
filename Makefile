# Beffroi. `make help` lists the targets; `make run` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
GO    ?= go
BIN   := bin
PKGS  := ./...
SEEDS ?= 2000
VERSION ?= 0.1.0

.PHONY: help deps build disk image image-lock check test vm-test lab run race sim mutate fuzz lint arch bench cover clean

help:   ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

deps:   ## install what a fresh Debian 12 lacks (QEMU, fio, libnbd, chromium, ...); asks for root and says why
	@tools/deps.sh

build:  ## build all programs into bin/
	@mkdir -p $(BIN)
	$(GO) build -o $(BIN)/ ./cmd/... ./tools/...

check: build lint arch ## build, lint, import law and short tests: under 3 minutes, at every commit
	$(GO) test -short $(PKGS)

# The boot of the pair comes last and alone: two emulated servers need all there is.
test: deps build lint arch disk ## everything: all tests, 2,000 seeds of the cluster, foreign clients, a real browser, a boot of the pair
	BEFFROI_REQUIRE_TOOLS=1 BEFFROI_SEEDS=$(SEEDS) $(GO) test -timeout 35m $$($(GO) list $(PKGS) | grep -v /tools/vmtest$$)
	BEFFROI_REQUIRE_TOOLS=1 $(GO) test -count=1 -v -timeout 20m ./tools/vmtest

vm-test: deps build disk ## the long tests of the real image: faults, kills, Secure Boot, two builds; over an hour
	BEFFROI_REQUIRE_TOOLS=1 BEFFROI_VM_TESTS=1 $(GO) test -count=1 -v -timeout 80m -skip TestThePairInService ./tools/vmtest
	BEFFROI_REQUIRE_TOOLS=1 BEFFROI_VM_TESTS=1 $(GO) test -count=1 -v -timeout 60m -run TestThePairInService ./tools/vmtest
	BEFFROI_IMAGE_TESTS=1 $(GO) test -count=1 -v -timeout 20m -run TestTwoBuilds ./image/build

# Only a node that runs can tell what it takes of its memory: mkimage prints what was last
# measured, and the first image of a clone is booted for it.
image: build disk ## the appliance's disk image from locked Debian packages, without root: out/image/beffroi.img
	@test -s out/image/measured.json || $(BIN)/bench -only image

disk:
	@mkdir -p $(BIN) && $(GO) build -trimpath -buildvcs=false -o $(BIN)/mkimage ./cmd/mkimage
	@$(BIN)/mkimage build -version $(VERSION)

image-lock: ## resolve the image's Debian packages anew (image/packages/lock.json)
	@mkdir -p $(BIN) && $(GO) build -trimpath -buildvcs=false -o $(BIN)/mkimage ./cmd/mkimage
	@$(BIN)/mkimage lock

lab: deps build ## the pair and the witness as processes on this machine
	@mkdir -p out && $(BIN)/counterguest -o out/counter.img
	@$(BIN)/lab up --mode process

run: deps build disk ## the pair as two servers that boot the real image, and what to open and try
	@mkdir -p out && $(BIN)/counterguest -o out/counter.img
	@$(BIN)/lab up --mode vm --dir out/vm --store 512

race:   ## the tests of what has goroutines, under the race detector
	$(GO) test -race -short ./pkg/... ./appliance/...

sim:    ## a long run of the cluster simulation (SEEDS=n)
	$(GO) run ./tools/simulate -seeds $(SEEDS)

mutate: ## each known wrong rule must be caught by the general checkers
	$(GO) run ./tools/mutate

fuzz:   ## each fuzz target for a while (FUZZTIME=30s)
	@tools/fuzz.sh $(FUZZTIME)

lint:   ## gofmt, vet and staticcheck
	@out=$$(gofmt -l appliance board cmd image pkg tools); test -z "$$out" || { echo "not formatted: $$out"; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) tool staticcheck $(PKGS)

arch:   ## the import law
	$(GO) run ./tools/archcheck

bench: build disk ## the performance table: ours beside what exists, in one interleaved run; the image's memory and time
	$(BIN)/bench

cover:  ## statement coverage, by package
	$(GO) test -short -cover ./pkg/... ./appliance/... | sort -k5 -n

clean:  ## stop a lab and remove what was built
	-@test -x $(BIN)/lab && $(BIN)/lab down 2>/dev/null
	rm -rf $(BIN) out
