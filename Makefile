# One entry for everything. `make demo` and `make test` need nothing but Rust and, on Debian, the right to install packages.
.DEFAULT_GOAL := help
CARGO ?= cargo
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)

.PHONY: help deb deb-check deps-deb demo build built quick test fmt lint doc deny unit fuzz-smoke bench bench-smoke guided-smoke lab lab-check lab-deploy deploy-check deps-build deps-test clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## build with few features and analyse a capture we ship
	@.ci/deps.sh demo
	$(CARGO) run --quiet --no-default-features -- analyze captures/demo.pcap

build: deps-build ## release binary with all features, shaped by a profile of itself (half an hour on two cores, 12 GiB of memory)
	@.ci/guided.sh --all-features
	install -D -m 755 target/guided/cleartap target/release/cleartap

quick: fmt ## the fast loop: format, lint, unit tests and captures without live features
	$(CARGO) clippy --no-default-features --all-targets -- -D warnings
	$(CARGO) test --no-default-features

test: deps-test fmt lint doc deny unit fuzz-smoke bench-smoke guided-smoke lab-check deploy-check lab-deploy ## everything CI runs

fmt: ## formatting, detectors included (declared in a macro, so rustfmt does not find them)
	$(CARGO) fmt --check
	rustfmt --check src/detect/*.rs

lint: ## clippy, with and without live features
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features --all-targets -- -D warnings

doc: ## documentation builds without warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --document-private-items

deny: ## licences, bans, sources; advisories where there is network
	@.ci/deny.sh

unit: ## unit tests and the suite, with and without live features
	@.ci/unit.sh

fuzz-smoke: ## each fuzz target for a short time
	@tests/fuzz/smoke.sh

bench: deps-build ## ns per packet by stage, and the whole process, built as it is shipped, beside tcpdump on captures made for it
	@.ci/guided.sh --no-default-features
	$(CARGO) bench --no-default-features --bench packets --bench memory
	$(CARGO) bench --no-default-features --bench whole -- --binary $(CURDIR)/target/guided/cleartap

bench-smoke: ## benchmarks run once, so that they cannot rot, and a sensor with all features is fed as for its profile
	$(CARGO) bench --profile dev --no-default-features --bench packets --bench whole --bench memory -- --test
	@# Kept apart: cargo bench puts a sensor of few features in its place.
	@$(MAKE) --no-print-directory built
	cp target/debug/cleartap target/fed
	$(CARGO) bench --profile dev --no-default-features --bench whole -- --test --train --binary $(CURDIR)/target/fed

guided-smoke: deps-build ## the way the release binary is made, with few features and little optimisation
	@GUIDED_PROFILE=dev .ci/guided.sh --no-default-features

lab: ## remake captures/ from real servers in network namespaces (root)
	$(SUDO) tests/lab/lab.py all
	tests/lab/demo_capture.py

lab-check: ## captures against their stated truth, by an independent decoder
	tests/lab/lab.py --check

lab-deploy: deps-test built ## the whole chain in network namespaces, alarms in an emulator (root; half a minute)
	$(SUDO) timeout --kill-after=10 1200 tests/deploy/chain.py target/debug/cleartap

deploy-check: deps-test built ## templates, dashboards, units: linted, scanned, and the stack deployed into emulators
	tests/deploy/check.sh target/debug/cleartap

deb: deps-deb build ## the Debian package of the release binary, in target/debian
	$(CARGO) deb --no-build --strip

deb-check: deb ## the package in clean Debian roots: installed, started by systemd, fed with mirrored packets, upgraded, removed (root; two minutes)
	$(SUDO) timeout --kill-after=10 1800 tests/deploy/deb.py $$(ls -t target/debian/cleartap_*.deb | head -1)

# The sensor with all features, as the tests build it: `cargo build` would choose other features of what it is built from.
built:
	$(CARGO) test --quiet --all-features --no-run --test suite

deps-build:
	@.ci/deps.sh build

deps-test:
	@.ci/deps.sh test

deps-deb:
	@.ci/deps.sh deb

clean: ## remove build products
	$(CARGO) clean
