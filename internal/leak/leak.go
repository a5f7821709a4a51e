// Package leak ends a package's tests only when their goroutines have ended. goleak gives stragglers half a second, which a busy machine does not
// keep; this one asks again until a deadline that only a real leak reaches. For tests.
package leak

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a goroutine may take to end. Nobody waits for it unless something leaks.
const patience = 20 * time.Second

// Main runs the tests of a package, to be called by its TestMain. It exits with 1 if a goroutine outlives them.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := find(); err != nil {
			fmt.Fprintf(os.Stderr, "leak: tests passed, and left goroutines: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// None fails the test if a goroutine that was not there when the function was called is there when what it returns is called:
//
//	defer leak.None(t)()
func None(t testing.TB) func() {
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		if err := find(before); err != nil {
			t.Error(err)
		}
	}
}

// find returns what goleak finds, once it has found the same for as long as patience.
func find(options ...goleak.Option) (err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err = goleak.Find(options...); err == nil {
			return nil
		}
	}
	return err
}
