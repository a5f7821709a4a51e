package train

import (
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/router"
)

const dataDir = "../../cmd/sluice-train/data"

var loaded = sync.OnceValues(func() (*Data, error) { return Load(dataDir) })

// load returns the repository's data, which no test changes.
func load(t testing.TB) *Data {
	t.Helper()
	d, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The model in the binary is what `sluice-train train` makes of the data beside it.
func TestModelIsOfTheData(t *testing.T) {
	d := load(t)
	if m := router.Embedded(); m.Data != d.Sum || m.Seed != 1 || m.Prior != Prior() {
		t.Errorf("the model is of data %x, seed %d; the data are %x: go run ./cmd/sluice-train train", m.Data[:6], m.Seed, d.Sum[:6])
	}
}

func TestNaturalPrompts(t *testing.T) {
	d, c := load(t), router.NewTrained()
	var n, right int
	for i := range d.Natural {
		r := &d.Natural[i]
		if !r.Dev() {
			continue
		}
		n++
		if c.Classify(r.Read()).Name == r.Class {
			right++
		}
	}
	got := float64(right) / float64(n)
	t.Logf("%d natural prompts of the dev split, %.3f in their class", n, got)
	if n < 400 || got < .81 {
		t.Errorf("%d prompts, %.3f in their class", n, got)
	}
}
