package http1

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// piped returns a transport whose connections lead to a server in memory, and counts those that are open.
func piped(open *atomic.Int64) *Transport {
	return &Transport{Idle: 10 * time.Second, MaxIdle: 2, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		open.Add(1)
		go func() {
			defer open.Add(-1)
			answers(plainOK)(theirs, bufio.NewReader(theirs))
		}()
		return ours, nil
	}}
}

// together sends n requests, each before the one before it has ended.
func together(t *testing.T, tr *Transport, url string, n int) (end func()) {
	var bodies []io.ReadCloser
	for range n {
		resp, err := tr.RoundTrip(post(url, "x"))
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, resp.Body)
	}
	return func() {
		for _, b := range bodies {
			_, _ = io.ReadAll(b)
			b.Close()
		}
		synctest.Wait()
	}
}

func TestReaping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		tr := piped(&open)
		want := func(n int64) {
			t.Helper()
			synctest.Wait()
			if got := open.Load(); got != n {
				t.Fatalf("%d connections are open, want %d", got, n)
			}
		}
		together(t, tr, "http://a.test", 3)()
		want(2) // MaxIdle
		together(t, tr, "http://b.test", 1)()
		want(3) // of each host
		time.Sleep(6 * time.Second)
		together(t, tr, "http://a.test", 1)() // with the one that was used last
		want(3)
		time.Sleep(5 * time.Second)
		want(1)
		end := together(t, tr, "http://a.test", 1)
		time.Sleep(time.Minute) // one in use is not idle
		want(1)
		end()
		time.Sleep(10*time.Second - 1)
		want(1)
		time.Sleep(time.Nanosecond)
		want(0)
		if len(tr.idle) > 0 || tr.timer != nil {
			t.Error("something is left in the pool")
		}
		end = together(t, tr, "http://a.test", 2) // it begins anew
		together(t, tr, "http://b.test", 1)()
		time.Sleep(4 * time.Second)
		end()
		want(3)
		time.Sleep(6 * time.Second)
		want(2)
		time.Sleep(4*time.Second - 1)
		want(2)
		time.Sleep(time.Nanosecond)
		want(0)
	})
}

func TestCloseIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		tr := piped(&open)
		together(t, tr, "http://a.test", 2)()
		end := together(t, tr, "http://a.test", 1)
		tr.CloseIdleConnections()
		synctest.Wait()
		if n := open.Load(); n != 1 {
			t.Errorf("%d connections are open, want that in use", n)
		}
		end()
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are open, want none: nobody asked meanwhile", n)
		}
		end = together(t, tr, "http://a.test", 1)
		tr.CloseIdleConnections()
		together(t, tr, "http://a.test", 1)()
		end()
		if n := open.Load(); n != 2 {
			t.Errorf("%d connections are open, want 2: there is use for them", n)
		}
		tr.CloseIdleConnections()
		tr.CloseIdleConnections()
		synctest.Wait()
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// The zero values keep nothing.
func TestNothingKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, max := range []int{0, 1} {
			var open atomic.Int64
			tr := piped(&open)
			tr.Idle, tr.MaxIdle = 0, max
			together(t, tr, "http://a.test", 1)()
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if n := open.Load(); n != 0 {
				t.Errorf("%d connections are open", n)
			}
		}
	})
}
