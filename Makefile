# make demo and make test are all there is to know; make help lists the rest.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules

PREFIX      ?= /usr/local
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME    ?= 10m
SEEDS       ?= 1000
SEED        ?= 1
SOAK        ?= 60m
# Words of 32 and of 64 bits, both byte orders.
ARCHES      ?= arm64 riscv64 386 arm s390x
# What needs no kernel of its own, so that it runs wherever 386 does.
PURE         = ./packet ./wg/... ./config ./device ./netstack
BENCH       ?= .
BENCHED      = $(shell grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n1 dirname | sort -u)
# cli's generator of man pages, which adit does not use, stays out.
TAGS        := -tags urfave_cli_no_docs
# adit_entry notes which signals the caller ignores, before Go's runtime starts.
# adit_quiet reaches into that runtime (cmd/adit/quiet.go), which is to be allowed.
QUIET       := $(TAGS),adit_quiet
LDFLAGS     := -s -w -E adit_entry -checklinkname=0 -X main.version=$(VERSION)
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The library of preload mode, named after the processor that CC is for; none
# where there is no compiler with the headers of a libc. It is linked with
# nothing, and so fits glibc and musl.
SHIMS       ?= preload/shim/lib
SHIM         = $(patsubst %,$(SHIMS)/%.so,$(shell echo '\#include <netdb.h>' | $(CC) -E - >/dev/null 2>&1 && \
	$(CC) -dumpmachine | sed -n 's/^x86_64-.*/amd64/p; s/^aarch64-.*/arm64/p; s/^riscv64-.*/riscv64/p'))
SHIMFLAGS    = -std=c11 -D_DEFAULT_SOURCE -O2 -Wall -Wextra -Wmissing-prototypes -Werror \
	-ffreestanding -fno-builtin -fno-stack-protector -U_FORTIFY_SOURCE -fPIC -fvisibility=hidden \
	-shared -nostdlib -s -Wl,--hash-style=both,-z,relro,-z,now,-z,noexecstack,-Bsymbolic-functions,--build-id=none

# Suites of end-to-end tests are those that say so; all else needs nothing. The
# one that waits in real time, and does little else, goes first and beside others;
# what looks at the clock, or at memory, goes alone.
SUITES       = $(sort $(shell grep -rl --include=main_test.go 'suite.Main' e2e | xargs -n1 dirname | sed 's,^,./,'))
E2E          = $(filter-out ./e2e ./e2e/wire,$(SUITES))
PATIENT      = ^TestRekeyInRealTime
# e2e goes in three parts at once, each in a lab of its own: the list of hostile
# attempts; that others see them, and that nothing remains of whoever is killed; all
# else. One waits while another works. What is about time has the machine to itself
# afterwards.
HOSTILE      = ^TestHostileProgram
WATCHED      = ^Test(WatchSees|WhatIsOpen|Leaktest|NothingRemains)
TIMED        = ^Test(StartIsFast|TwoHundredRuns)
UNIT         = $(shell go list $(TAGS) ./... | grep -vxE "$$(echo $(SUITES:./%=adit/%) | tr ' ' '|')")
GOTEST       = go test $(TAGS)
E2ETEST      = ADIT_E2E_BINARY=$(CURDIR)/bin/adit $(GOTEST) -v -count=1 -timeout 30m
SUMMARY      = tee bin/test.log | awk -f .ci/summary.awk

.PHONY: build preload demo test test-c check lint unit race fuzz bench perf soak simulate cover covered arches test-386 install clean help
.DEFAULT_GOAL := build

build: preload ## bin/adit, one static file
	CGO_ENABLED=0 go build -trimpath -buildvcs=false $(QUIET) -ldflags '$(LDFLAGS)' -o bin/adit ./cmd/adit

preload: $(SHIM) ## the library of preload mode, for CC's processor; build makes it where it can
	@test -n '$(SHIM)' || echo 'no C compiler for a processor that is known: adit will lack preload mode' >&2

$(SHIMS)/%.so: preload/wire.h $(wildcard preload/shim/*.h preload/shim/*.c)
	$(CC) $(SHIMFLAGS) -o $@ $(filter %.c,$^)

demo: build ## the main job, with nothing but this machine
	bin/adit demo

test: build ## every test; what cannot run here is skipped, and said
	mkdir -p bin
	{ failed=0; $(GOTEST) -v -coverprofile bin/cover.out $(UNIT) || failed=1; \
	  $(E2ETEST) -run '$(PATIENT)' ./e2e/wire >bin/patient.log 2>&1 & \
	  $(E2ETEST) -skip '$(PATIENT)' ./e2e/wire || failed=1; \
	  $(E2ETEST) -p 1 $(E2E) || failed=1; \
	  wait $$! || failed=1; cat bin/patient.log; \
	  $(E2ETEST) -run '$(HOSTILE)' ./e2e >bin/hostile.log 2>&1 & hostile=$$!; \
	  $(E2ETEST) -run '$(WATCHED)' ./e2e >bin/watched.log 2>&1 & watched=$$!; \
	  $(E2ETEST) -skip '$(HOSTILE)|$(WATCHED)|$(TIMED)' ./e2e || failed=1; \
	  wait $$hostile || failed=1; wait $$watched || failed=1; cat bin/hostile.log bin/watched.log; \
	  $(E2ETEST) -run '$(TIMED)' ./e2e || failed=1; \
	  exit $$failed; } 2>&1 | $(SUMMARY)

test-c: preload ## tests of the library of preload mode, parts of it under the sanitizers
	$(GOTEST) -v -count=1 ./preload

check: lint unit ## before every commit: under a minute once warm

lint: ## gofmt, vet, staticcheck
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet $(TAGS) ./...
	$(STATICCHECK) $(TAGS) ./...

unit: preload ## tests that need nothing of the machine
	$(GOTEST) $(UNIT)

# Not the tests of the source's own shape, in which nothing happens at once. Of the
# simulated weeks, in which little does, two.
race: preload ## unit tests under the race detector; wants a C compiler
	ADIT_SEEDS=$${ADIT_SEEDS:-2} CGO_ENABLED=1 $(GOTEST) -race $(filter-out adit,$(UNIT))

sockets: build ## of make test: a program's calls with and without adit, line by line
	$(E2ETEST) ./e2e/sockets

fuzz: ## every fuzz target for FUZZTIME (10m)
	grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		for target in $$(grep -hoP '^func \KFuzz\w+' $$dir/*_test.go); do \
			echo "$$dir $$target"; \
			$(GOTEST) -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$dir; \
		done; \
	done

bench: ## benchmarks that match BENCH (all), to bench/COMMIT.txt for benchstat; a minute or two
	mkdir -p bench
	$(GOTEST) -run '^$$' -bench '$(BENCH)' -benchtime 100ms -benchmem -count 6 -p 1 -timeout 20m $(BENCHED) | tee bench/$(VERSION).txt

perf: build ## the rig: speed against wireguard-go, with the targets; wants iperf3; CASE=REGEXP for some of it
	ADIT_E2E_BINARY=$(CURDIR)/bin/adit go run $(TAGS) ./e2e/perf -case '$(CASE)' $(PERF)

soak: SEEDS = 10000
soak: ## does adit grow? SOAK (60m) of everything, with the slopes; then ten thousand simulated weeks
	ADIT_SOAK=$(SOAK) $(GOTEST) -v -count=1 -timeout 0 -run TestNothingGrows ./e2e/soak
	$(MAKE) --no-print-directory simulate SEEDS=$(SEEDS)

simulate: ## weeks of the protocol in which anything may happen: SEEDS (1000) from SEED (1)
	ADIT_SEEDS=$(SEEDS) ADIT_SEED=$(SEED) $(GOTEST) -v -count=1 -timeout 0 -run '^TestAnyWeek$$' ./wg

arches: ## build and vet for ARCHES (arm64 riscv64 386 arm s390x)
	for arch in $(ARCHES); do \
		echo "$$arch"; \
		GOARCH=$$arch CGO_ENABLED=0 go build $(TAGS) ./...; \
		GOARCH=$$arch CGO_ENABLED=0 go vet $(TAGS) ./...; \
	done

test-386: ## on amd64, the pure packages' tests as 386
	if [ "$$(go env GOHOSTARCH)" = amd64 ]; then \
		ADIT_SEEDS=$${ADIT_SEEDS:-10} GOARCH=386 CGO_ENABLED=0 $(GOTEST) $(PURE); \
	fi

cover: ## coverage of the unit tests; of the engine's core at least 90 %
	mkdir -p bin
	$(GOTEST) -coverprofile bin/cover.out $(UNIT)
	$(MAKE) --no-print-directory covered
	go tool cover -html bin/cover.out -o bin/cover.html

covered: ## cover, of the tests that make test ran last
	awk -f .ci/cover.awk bin/cover.out

install: build ## to PREFIX (/usr/local), with wireguard-adit and the manual
	install -D -m 755 bin/adit $(DESTDIR)$(PREFIX)/bin/adit
	ln -sf adit $(DESTDIR)$(PREFIX)/bin/wireguard-adit
	install -D -m 644 docs/adit.1 $(DESTDIR)$(PREFIX)/share/man/man1/adit.1

clean: ## forget what was built
	rm -rf bin $(SHIMS)/*.so

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' Makefile
