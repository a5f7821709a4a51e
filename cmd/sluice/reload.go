package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/policies"
)

const (
	holdOff    = 250 * time.Millisecond // after the last change of a burst
	longestOff = 2 * time.Second        // after the first
)

// reloader follows the policy's file. One goroutine, run, does all of it; failure may be read by any.
type reloader struct {
	path    string
	real    string // where path led when the folders were followed last
	load    func(src []byte) (*policies.Policy, error)
	apply   func(p *policies.Policy, force bool) error
	current func() *policies.Policy
	loaded  func(ok bool) // counts
	s       *server
	last    []byte // what was read last, good or bad
	asked   chan struct{}
	failure atomic.Pointer[admin.LoadError]
}

func newReloader(path string, src []byte, o policies.Options, s *server) *reloader {
	return &reloader{
		path: path, last: src, s: s, asked: make(chan struct{}, 1),
		load:    func(src []byte) (*policies.Policy, error) { return loadTested(path, src, o) },
		apply:   s.swap,
		current: func() *policies.Policy { return s.gateway.Snapshot().Policy },
		loaded:  s.sink.Reload,
	}
}

// swap puts a policy into force, or says why the old one stays.
func (s *server) swap(p *policies.Policy, force bool) error {
	old := s.gateway.Snapshot().Policy
	if s.envoy == nil {
		s.gateway.Swap(p)
	} else if err := s.envoy.replace(s.ctx, p, force); err != nil {
		return err
	}
	s.plane.Reloaded()
	for _, c := range []struct {
		what     string
		was, now any
	}{
		{"server.listen", old.Server.Listen, p.Server.Listen},
		{"server.admin", old.Server.Admin, p.Server.Admin},
		{"state.path", old.State.Path, p.State.Path},
		{"state.redis", old.State.Shared(), p.State.Shared()},
		{"server.envoy.binary", old.Server.EnvoyBinary, p.Server.EnvoyBinary},
		{"server.tls", old.Server.TLSCert + old.Server.TLSKey, p.Server.TLSCert + p.Server.TLSKey},
		{"telemetry.otlp", old.Telemetry.OTLPEndpoint, p.Telemetry.OTLPEndpoint},
		{"telemetry.access_log", old.Telemetry.AccessLog, p.Telemetry.AccessLog},
	} {
		if c.was != c.now && !(s.envoy != nil && c.what == "server.tls") {
			s.log.Warn("this takes effect at the next start only", "setting", c.what)
		}
	}
	return nil
}

// notices logs what a policy holds that this version does not act on.
func (s *server) notices(p *policies.Policy) {
	for _, n := range p.Notices {
		s.log.Warn("policy notice", "notice", n.Error())
	}
}

// ask makes run look at the file now, whether it has changed or not.
func (r *reloader) ask() {
	select {
	case r.asked <- struct{}{}:
	default: // it was asked already
	}
}

// run follows the file until ctx ends. Notices of the file system come with a hold-off, since editors write in steps; every few seconds the
// file is read all the same, since notices get lost.
func (r *reloader) run(ctx context.Context) {
	events, errs, follow, closeWatch := r.watch()
	defer closeWatch()
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	hold := time.NewTimer(time.Hour)
	hold.Stop()
	var first time.Time // of the burst under way
	r.look(false)       // what changed before anybody watched
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if !r.concerns(e.Name) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			hold.Reset(min(holdOff, max(0, longestOff-time.Since(first))))
			continue
		case err := <-errs:
			r.s.log.Warn("notices of the policy's folder were lost; it is read every few seconds", "error", err)
			continue
		case <-r.asked:
			r.look(true)
		case <-tick.C:
			r.look(false)
		case <-hold.C:
			r.look(false)
		}
		first = time.Time{}
		follow()
	}
}

// watch begins to watch the folders of the file: its own, where editors and Kubernetes put new files and links in place, and the one that it
// leads to. follow must be called when that may have changed.
func (r *reloader) watch() (events <-chan fsnotify.Event, errs <-chan error, follow, done func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		r.s.log.Warn("the policy's folder cannot be watched; it is read every few seconds", "error", err)
		return nil, nil, func() {}, func() {}
	}
	follow = func() {
		for _, dir := range r.folders() {
			if err := w.Add(dir); err != nil {
				r.s.log.Warn("a folder of the policy cannot be watched; it is read every few seconds", "folder", dir, "error", err)
			}
		}
	}
	follow()
	return w.Events, w.Errors, follow, func() { _ = w.Close() }
}

func (r *reloader) folders() []string {
	dirs := []string{filepath.Dir(r.path)}
	real, err := filepath.EvalSymlinks(r.path)
	if err != nil { // it is away: what comes in its place has its name
		real = r.path
	}
	if r.real = real; filepath.Dir(real) != dirs[0] {
		dirs = append(dirs, filepath.Dir(real))
	}
	return dirs
}

// concerns reports whether a name in a watched folder can mean that the policy has changed: the file itself, the hidden links by which
// Kubernetes swaps a volume, or anything of that name where the link leads. It looks at names only: logs and stores may be in the same folder, and
// each of their writes comes by here.
func (r *reloader) concerns(name string) bool {
	base := filepath.Base(name)
	return base == filepath.Base(r.path) || base == filepath.Base(r.real) || strings.HasPrefix(base, "..")
}

// look reads the file and puts what it holds into force if that is good and new. A good file clears the last error, also when the
// policy in force was that one all along.
func (r *reloader) look(force bool) {
	src, err := os.ReadFile(r.path)
	if err != nil {
		r.fail(fmt.Errorf("read policy: %w", err), nil, force)
		return
	}
	failing := r.failure.Load() != nil
	if !force && !failing && bytes.Equal(src, r.last) {
		return
	}
	p, err := r.load(src)
	if err != nil {
		r.fail(err, src, force)
		return
	}
	replaces := p.Version != r.current().Version
	if replaces {
		if err := r.apply(p, force); err != nil {
			r.fail(err, src, force)
			return
		}
	}
	r.last = src
	r.loaded(true)
	switch {
	case replaces:
		r.s.log.Info("the policy is replaced", "version", p.Version, "generation", r.s.gateway.Snapshot().Generation)
		r.s.notices(p)
	case failing || force:
		r.s.log.Info("the policy is good and unchanged", "version", p.Version)
	}
	r.failure.Store(nil) // last: whoever sees it also sees the rest
}

// fail keeps the policy in force and says why. The same failure is not told twice unless somebody asked.
func (r *reloader) fail(err error, src []byte, force bool) {
	le, source := loadError(err, r.path)
	old := r.failure.Load()
	again := old != nil && old.Message == le.Message && old.Line == le.Line && old.Column == le.Column && bytes.Equal(src, r.last)
	r.last = src
	if again && !force {
		return
	}
	r.loaded(false)
	args := []any{"error", err.Error()}
	if source != "" {
		args = append(args, "source", source)
	}
	r.s.log.Error("the policy is bad; the one in force stays", args...)
	r.failure.Store(le) // last: whoever sees it also sees the rest
}

// loadError is an error as /admin/status shows it, and the line of the file that it is about.
func loadError(err error, path string) (le *admin.LoadError, source string) {
	le = &admin.LoadError{Message: err.Error(), File: path, At: time.Now()}
	var ps policies.Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		return le, ""
	}
	p := ps[0]
	for _, other := range ps { // what is there and wrong says more than what is missing
		if !strings.HasSuffix(other.Message, "is missing") {
			p = other
			break
		}
	}
	le.File, le.Line, le.Column, le.Message = p.File, p.Line, p.Column, p.Message
	if p.Path != "" {
		le.Message = p.Path + ": " + p.Message
	}
	if n := len(ps) - 1; n > 0 {
		le.Message += fmt.Sprintf(" (and %d more)", n)
	}
	return le, strings.TrimSpace(p.Source)
}
