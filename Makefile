# `make demo` shows what Grapnel does, `make test` checks all of it. Both install what is missing first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: bench faults help setup build image demo up test test-kubernetes lint screenshots deny compose

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

setup: ## Install and start what is missing: Docker, git, PostgreSQL, Chromium, Node.js, Python, cargo-nextest.
	@scripts/setup.sh

build: ## Build everything, for development.
	cargo build --locked --workspace

image: setup ## Make the builder image, unless it is there.
	images/builder/build.sh

demo: build image ## Build a real site from a hook's URL, twice, and show what happened.
	scripts/demo.sh

up: build image ## Run Grapnel here until it is stopped.
	scripts/up.sh

lint: ## Formatting, clippy, the contracts.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/buf.sh lint

test: setup ## Run everything.
	scripts/test.sh

test-kubernetes: setup ## Run what needs a Kubernetes, on one of two nodes that is made for it (as root; compiles it once, 4 minutes).
	tests/kubernetes/test.sh

bench: image ## Measure, beside what one would do instead; writes bench/results. FORM=--quick takes three minutes.
	bench/run $(FORM)

faults: build image ## Kill every part under load, TIMES times each (50), and say what was lost, doubled, left over.
	target/debug/faults $${TIMES:-50}

screenshots: setup build image ## Take the pictures of docs/screenshots anew, on a walk through the dashboard.
	scripts/screenshots.sh

deny: ## Licences, bans and advisories of dependencies (needs cargo-deny).
	cargo deny check licenses bans sources

compose: ## Check docker-compose.yml.
	scripts/compose-check.sh
