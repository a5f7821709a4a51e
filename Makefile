# make run    the quick start: a real small model as the pool, an external provider, Sluice in front
# make test   everything: unit tests with the race detector, then the real clients against the real model, and two minutes of composed faults
# make soak   the sixteen public faults in real time, embedded and behind a real Envoy, then ten minutes of composed faults
# make check  what a change must pass before review
# make bench  Sluice, a lean proxy and no proxy, side by side
# make build  bin/sluice, static
# make envoy  fetches an Envoy binary for the Envoy plane
# make run-envoy  the quick start behind that Envoy
# make clean  removes what was built and fetched
.DEFAULT_GOAL := help
.PHONY: help run run-envoy test soak check bench build envoy clean

STATICCHECK := go tool -modfile=tools/go.mod staticcheck

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

run:
	@python3 scripts/quickstart.py

run-envoy:
	@python3 scripts/quickstart.py --envoy

# Every suite runs even if one before it fails. The race detector needs a C compiler; without one the tests run all the same. It makes everything heavier:
# what weighs memory is left out with it and runs once more without. Chaos takes what the real parts leave of the processors while they wait; its seed is
# the commit's, so that what fails fails again.
test:
	@scripts/fetch pool embedder clients envoy redis
	@race=-race; command -v "$$(go env CC)" >/dev/null || { race=; echo "no C compiler: tests run WITHOUT the race detector"; }; \
	real=$$(grep -rl --exclude-dir=.cache --include='*_test.go' '^//go:build real$$' . | xargs -r -n1 dirname | sort -u); \
	code=0; \
	scripts/gotest 'unit tests' $$race -timeout 30m ./... || code=1; \
	[ -z "$$race" ] || scripts/gotest 'weights' -count=1 -run 'TestOpenStreams|Alloc' ./proxy ./providers/openai ./internal/jsonedit || code=1; \
	seed=$$(printf '%d' 0x$$(git rev-parse --short=12 HEAD 2>/dev/null || echo 1)); echo "chaos: from seed $$seed on"; \
	GOMAXPROCS=1 nice -n 19 scripts/gotest 'chaos' -count=1 -timeout 30m -run 'TestChaos$$' ./proxy -chaos 2m -chaos-seed $$seed & chaos=$$!; \
	scripts/gotest 'real parts' -tags real -count=1 -p 1 -timeout 30m $$real || code=1; \
	wait $$chaos || code=1; \
	exit $$code

soak:
	@scripts/fetch envoy
	go test -tags soak -count=1 -timeout 20m -run TestSoak -v ./e2e/envoyplane
	go test -count=1 -timeout 20m -run TestChaos -v ./proxy -chaos 10m

check:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt differs: $$bad"; exit 1; }
	go vet ./...
	go vet -tags real ./...
	$(STATICCHECK) -tags real ./...
	go mod tidy -diff
	go test ./...

bench:
	go test -run '^$$' -bench . -benchmem ./...
	go run ./bench

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/sluice ./cmd/sluice

envoy:
	@scripts/fetch envoy

clean:
	rm -rf bin .cache clients/node/node_modules
