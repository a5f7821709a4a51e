package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profileTime is how long a profile is taken: at 100 samples a second a function of 1 % has a few dozens of each processor's.
const profileTime = 10 * time.Second

// profile loads every Sluice once more, after everything was measured, and has it write down meanwhile where its processor time goes.
func (r *results) profile(ctx context.Context, log io.Writer) error {
	if r.o.profiles == "" {
		return nil
	}
	d := profileTime
	if r.o.quick {
		d = time.Second
	}
	if err := os.MkdirAll(r.o.profiles, 0o750); err != nil {
		return err
	}
	for _, t := range r.bed.targets {
		for _, w := range r.kinds {
			if t.admin == "" || w.open || w.clients == 1 {
				continue // an idle processor has no profile
			}
			file := filepath.Join(r.o.profiles, fileName(t.name+" "+w.name)+".pprof")
			if err := r.profileOne(ctx, t, w, d, file); err != nil {
				return fmt.Errorf("profile of %s, %s: %w", t.name, w.name, err)
			}
			fmt.Fprintf(log, "profile: go tool pprof -top %s\n", file)
		}
	}
	return nil
}

// fileName keeps letters and digits.
func fileName(of string) string {
	parts := strings.FieldsFunc(of, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') })
	return strings.ToLower(strings.Join(parts, "-"))
}

func (r *results) profileOne(ctx context.Context, t *target, w workload, d time.Duration, file string) error {
	load := &results{o: r.o, log: r.log}
	load.o.warmup, load.o.duration = 0, d+time.Second // the load is there before the profile and after it
	loaded := make(chan error, 1)
	go func() {
		s, err := load.window(ctx, t, w)
		loaded <- errors.Join(err, s.err)
	}()
	err := fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.admin, int(d.Seconds())), file)
	return errors.Join(err, <-loaded)
}

// fetch writes what a GET brings to a file.
func fetch(ctx context.Context, url, file string) error {
	pool := newTransport(1)
	defer pool.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := pool.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	return errors.Join(err, out.Close())
}
