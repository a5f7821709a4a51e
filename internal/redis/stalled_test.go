package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// No call takes longer than the timeout, to the nanosecond of a virtual clock, whether the server cannot be reached, takes nothing or answers nothing; and after it the others do not
// wait at all.
func TestStalled(t *testing.T) {
	const timeout = 20 * time.Millisecond
	for _, tc := range []struct {
		name string
		dial func(context.Context) (net.Conn, error)
	}{
		{"not reached", func(ctx context.Context) (net.Conn, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(dialTimeout): // as the dialer that it stands in for
				return nil, errors.New("not reached")
			}
		}},
		{"takes nothing", func(context.Context) (net.Conn, error) {
			ours, _ := net.Pipe()
			return ours, nil
		}},
		{"answers nothing", func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, err := single(&url.URL{Scheme: "redis", Host: "stalled.test:6379"}, timeout)
				if err != nil {
					t.Fatal(err)
				}
				o.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) { return tc.dial(ctx) }
				c := newClient(goredis.NewClient(o), Options{Timeout: timeout})
				defer func() {
					_ = c.Close()
					time.Sleep(time.Minute) // what is being dialed gives up
				}()
				took := func() (time.Duration, error) {
					began := time.Now()
					err := ping(c, "limits")
					return time.Since(began), err
				}
				if d, err := took(); err == nil || d > timeout {
					t.Errorf("the first call took %s: %v", d, err)
				}
				for range 10 {
					if d, err := took(); !errors.Is(err, ErrAway) || d != 0 {
						t.Errorf("a call after it took %s: %v", d, err)
					}
				}
				time.Sleep(rest)
				if d, err := took(); err == nil || errors.Is(err, ErrAway) || d > timeout {
					t.Errorf("the call that tries again took %s: %v", d, err)
				}
			})
		})
	}
}
