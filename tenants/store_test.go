package tenants

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func openEmbedded(t *testing.T, dir string) *Embedded {
	t.Helper()
	e, err := OpenEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What was spent and the register are there after a restart; an account whose period is long over is not.
func TestEmbeddedSurvives(t *testing.T) {
	dir, end := t.TempDir(), time.Now().Add(time.Hour)
	e := openEmbedded(t, dir)
	spend := func(e *Embedded, key string, end time.Time, n int64) Balance {
		r, _ := e.Charge(t.Context(), &Charge{ID: "x", Settle: true, Accounts: []AccountCharge{{Key: key, Limit: 100, Spend: n, End: end}}})
		return r.Accounts[0]
	}
	spend(e, "a", end, 40)
	spend(e, "old", time.Now().Add(-2*keepEnded), 40)
	errNo := errors.New("no")
	if err := e.Amend(t.Context(), func(r *Register) error { r.Revoke("h", end); return errNo }); !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	if err := e.Amend(t.Context(), func(r *Register) error {
		r.Keys = append(r.Keys, StoredKey{Tenant: "acme", ID: "web", Hash: "h2"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenEmbedded(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEmbedded(t, dir)
	defer e.Close()
	if b := spend(e, "a", end, 2); b.Spent != 42 {
		t.Errorf("%+v", b)
	}
	if b := spend(e, "old", end, 0); b.Spent != 0 {
		t.Errorf("a period that is over: %+v", b)
	}
	r, err := e.Register(t.Context(), "")
	if err != nil || len(r.Keys) != 1 || len(r.Revoked) != 0 || len(r.Find("acme", "web")) != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if again, err := e.Register(t.Context(), r.Version); again != nil || err != nil {
		t.Errorf("known, and told again: %v %v", again, err)
	}
}

func TestRegisterSweeps(t *testing.T) {
	e, now := NewMemory(), time.Now()
	amend := func(edit func(r *Register)) *Register {
		if err := e.Amend(context.Background(), func(r *Register) error { edit(r); return nil }); err != nil {
			t.Fatal(err)
		}
		r, _ := e.Register(context.Background(), "")
		return r
	}
	first := amend(func(r *Register) {
		r.Keys = []StoredKey{{Hash: "stored"}, {Hash: "rotated"}}
		r.Revoke("policy", now.Add(-time.Hour))
		r.Revoke("stored", now.Add(-time.Hour))
		r.Revoke("rotated", now.Add(time.Hour))
		r.Revoke("rotated", now.Add(2*time.Hour)) // later than what stands
	})
	if len(first.Keys) != 1 || first.Ended("rotated", now) || !first.Ended("rotated", now.Add(time.Hour)) || !first.Ended("policy", now) {
		t.Errorf("%+v", first)
	}
	if second := amend(func(r *Register) { r.Keys[0].ID = "changed" }); first.Keys[0].ID != "" || second.Version == first.Version {
		t.Error("a register that was handed out is changed")
	}
}
