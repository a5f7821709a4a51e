# make run    the quick start: a real small model as the pool, an external provider, Sluice in front
# make test   everything: unit tests with the race detector, then the real clients against the real model
# make check  what a change must pass before review; works offline
.DEFAULT_GOAL := help
.PHONY: help run test check bench build envoy clean

STATICCHECK := go tool -modfile=tools/go.mod staticcheck

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

run:
	@python3 scripts/quickstart.py

test:
	@scripts/fetch pool clients
	@scripts/gotest 'unit' -race ./...
	@scripts/gotest 'real parts' -tags real -timeout 20m ./clients/...

check:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt differs: $$bad"; exit 1; }
	go vet ./...
	go vet -tags real ./clients/...
	$(STATICCHECK) ./...
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
