# Two commands: `make demo` builds and shows the main job; `make test` installs what the tests need and runs them.

# The clients that tests and the demo use (kubectl, Helm) are kept between checkouts.
TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/coracle/tools
export CORACLE_TOOLS := $(TOOLS)
SCENARIO ?= all

.PHONY: build demo test lint bench fuzz simulate tools

build:
	cargo build --release --locked -p coracle

demo: build tools
	scripts/demo

test: tools
	cargo test --workspace --locked

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: build
	cargo run --release --locked -p bench -- $(SCENARIO)

# With a nightly toolchain: libfuzzer on each target (or TARGETS="cel yaml") for so long.
SECONDS_EACH ?= 600
fuzz:
	scripts/fuzz $(SECONDS_EACH) $(TARGETS)

# The control plane under seeded faults, deeper than `make test` goes: thousands of seeds of each story.
SEEDS ?= 0..3000
simulate:
	CORACLE_SEEDS=$(SEEDS) cargo test --profile simulate --locked -p coracle --no-fail-fast --test simulation --test apps --test batch \
		--test lifecycle --test network_and_storage

tools:
	scripts/tools $(TOOLS)
