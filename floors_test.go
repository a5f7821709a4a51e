package sluice

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/sluice-gateway/sluice"

// floors is the table of ARCHITECTURE.md: a package imports lower floors only. A prefix that ends in a slash covers what is below it.
var floors = []struct {
	pkg   string
	floor int
}{
	{"llm", 0},
	{"policies", 0},
	{"internal/", 0},
	{"internal/testkit", 3}, // for tests: it plays the parts around an exchange
	{"providers/", 1},
	{"router/pool", 1},
	{"router/regret", 1},
	{"router/signs", 1},
	{"tenants", 1},
	{"telemetry", 1},
	{"feedback", 1},
	{"ledger", 1},
	{"cache", 1},
	{"xds", 1},
	{"providers", 2},
	{"router", 2},
	{"router/train", 3},
	{"proxy", 3},
	{"proxy/", 4},
	{"admin", 4},
	{"cmd/", 5},
	{"bench", 5},
	{"bench/", 5},
	{"docs", 5}, // tests only: they hold the pages to the code
	{"clients", 5},
	{"e2e", 5},
	{"e2e/", 5}, // for tests: planes with their parts in reach
}

// kept says where a module may be imported, and why.
var kept = []struct{ module, in, why string }{
	{"github.com/tidwall/gjson", "internal/jsonedit", "gjson and other parsers disagree about duplicate keys: it reads admitted bytes only"},
	{"go.opentelemetry.io/otel/sdk", "telemetry cmd/", "phases fill a record; spans and metrics are its projections"},
	{"cel.dev/cel-go", "policies", "expressions are compiled at load"},
	{"github.com/goccy/go-yaml", "policies", "nothing else parses YAML"},
	{"github.com/redis/go-redis", "internal/redis", "no call may take longer than its timeout: only the wrapper sees to that"},
	{"github.com/maypok86/otter", "cache", "one place bounds the memory of recorded answers"},
	{"go.etcd.io/bbolt", "ledger tenants", "what is on disk has one owner each"},
	{"github.com/sony/gobreaker", "internal/breaker", "its half-open state can lock up: only the wrapper knows how"},
	{"github.com/envoyproxy/go-control-plane", "xds proxy/extproc bench/noop", "the embedded plane is built and tested without it"},
	{"google.golang.org/grpc", "xds proxy/extproc bench/noop", "the embedded plane is built and tested without it; bench/noop is the yardstick beside them, on the same gRPC"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestFloors(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if name == "" {
			continue
		}
		own, ok := floorOf(name)
		if !ok {
			t.Errorf("package %s has no floor: add it to the table and to ARCHITECTURE.md", name)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module+"/") {
				checkKept(t, name, imp)
				continue
			}
			other := strings.TrimPrefix(imp, module+"/")
			if below, ok := floorOf(other); ok && below >= own && !sibling(name, other) {
				t.Errorf("%s (floor %d) imports %s (floor %d): a package imports lower floors only", name, own, other, below)
			}
			if name == "router" && other == "providers" {
				t.Error("router imports providers: it names targets, it does not call them")
			}
		}
	}
}

// sibling lets mechanisms in internal use one another: they are one floor for the rest.
func sibling(a, b string) bool {
	return strings.HasPrefix(a, "internal/") && strings.HasPrefix(b, "internal/")
}

func checkKept(t *testing.T, name, imp string) {
	for _, k := range kept {
		if !strings.HasPrefix(imp, k.module) {
			continue
		}
		allowed := false
		for in := range strings.FieldsSeq(k.in) {
			allowed = allowed || name == in || strings.HasSuffix(in, "/") && strings.HasPrefix(name, in)
		}
		if !allowed {
			t.Errorf("%s imports %s, which is for %s only: %s", name, imp, k.in, k.why)
		}
	}
}

func floorOf(name string) (int, bool) {
	best, floor := -1, 0
	for _, f := range floors {
		if f.pkg == name || strings.HasSuffix(f.pkg, "/") && strings.HasPrefix(name, f.pkg) {
			if len(f.pkg) > best {
				best, floor = len(f.pkg), f.floor
			}
		}
	}
	return floor, best >= 0
}

func packages(t *testing.T) []listed {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
