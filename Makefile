# Every target explains itself: `make help` prints the text behind the two hash signs.
.DEFAULT_GOAL := help
.PHONY: help run bookshelf replicas test setup check release bench fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start the hub with the embedded log, and a worker for jobs about books, on 127.0.0.1, open to everybody on this machine
	@scripts/need-rust
	@scripts/run

bookshelf: ## build and start examples/bookshelf, a small app with live pages, on 127.0.0.1:3000. Needs Node
	@scripts/need-rust
	@scripts/bookshelf

replicas: ## two replicas, three NATS servers and nginx under load; one after the other is killed, a checker judges. MINUTES=1, CHAOS=off. Needs Node
	@scripts/need-rust
	@scripts/replicas

test: setup ## install what the tests need (it says what) and run all of them
	@scripts/test

setup: ## install what the tests need and stop there; what is there is left alone
	@scripts/need-rust
	@scripts/setup

check: ## the quick look: format, clippy, licences and sources of the dependencies
	@scripts/need-rust
	@scripts/check

release: ## build the programs as they are handed on, with the console in them: target/release/tidings, tidings-books. Needs Node
	@scripts/need-rust
	@scripts/release

bench: ## measure the hub, a bare floor and nginx with nchan in one run; bench/README.md tells how
	@scripts/need-rust
	bench/run.sh

fuzz: ## fuzz every parser for a bounded time each (FUZZ_SECONDS, default 60)
	@scripts/need-rust
	@scripts/fuzz
