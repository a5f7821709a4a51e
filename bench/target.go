package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names of what is compared.
const (
	direct = "direct" // the null upstream itself
	lean   = "lean"   // the lean proxy before it
	sluice = "sluice" // Sluice at its defaults before it
)

// target is one way to the upstream.
type target struct {
	name    string
	base    string // http://host:port
	route   string // first part of the models to ask for, where it is not the workload's
	proc    *process
	pids    []int           // processes that are charged for an answer, beside Envoy; empty = proc
	envoy   int             // process id of the Envoy in front; 0 = none
	admin   string          // host:port of Sluice's admin listener; empty = not Sluice
	carried string          // who must have carried each answer by Sluice's log; empty = nobody says
	starts  []time.Duration // cold starts, in order
	soak    soak
}

// model is what to ask the target for.
func (t *target) model(of string) string {
	if t.route == "" {
		return of
	}
	return t.route + of[strings.LastIndexByte(of, '-'):]
}

// used is the processor time of the target so far: Envoy's, and all of it.
func (t *target) used() (envoy, all time.Duration, ok bool) {
	pids := t.pids
	if t.envoy != 0 {
		if envoy, ok = cpu(t.envoy); !ok {
			return 0, 0, false
		}
		all = envoy
	} else if len(pids) == 0 {
		pids = []int{t.proc.cmd.Process.Pid}
	}
	for _, pid := range pids {
		d, ok := cpu(pid)
		if !ok {
			return 0, 0, false
		}
		all += d
	}
	return envoy, all, true
}

// bed is all processes of a run.
type bed struct {
	dir          string
	envoyVersion string     // what the binary says of itself; empty without one
	procs        []*process // in the order of their start
	targets      []*target
}

// close stops the proxies before the upstream.
func (b *bed) close() {
	for _, p := range slices.Backward(b.procs) {
		p.stop()
	}
}

// start runs one process and keeps it for close.
func (b *bed) start(ctx context.Context, name, ready string, argv ...string) (*process, error) {
	p, err := start(ctx, b.dir, name, ready, argv...)
	if err == nil {
		b.procs = append(b.procs, p)
	}
	return p, err
}

// open starts what o names. On an error everything that was started has been stopped.
func open(ctx context.Context, o options, dir string) (*bed, error) {
	b := &bed{dir: dir}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	upstream, err := b.launchNull(ctx, o, self)
	if err != nil {
		b.close()
		return nil, err
	}
	wanted := strings.Split(o.targets, ",")
	if slices.Contains(wanted, lean) {
		_, err = b.launch(ctx, o, lean, func(addr string) ([]string, string, error) {
			return []string{self, "lean", "-listen", addr, "-upstream", upstream.base}, addr, nil
		})
	}
	if err == nil && slices.Contains(wanted, sluice) {
		err = b.launchSluice(ctx, o, upstream.base)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bed) launchNull(ctx context.Context, o options, self string) (*target, error) {
	return b.launch(ctx, o, direct, func(addr string) ([]string, string, error) {
		return []string{self, "null", "-listen", addr}, addr, nil
	})
}

// launch starts a server o.starts times and keeps the last. command gets an address to listen on and says what to run and where /readyz is.
func (b *bed) launch(ctx context.Context, o options, name string, command func(addr string) (argv []string, ready string, err error)) (*target, error) {
	t := &target{name: name}
	for range o.starts {
		if t.proc != nil {
			t.proc.stop()
		}
		addr, err := freeAddress()
		if err != nil {
			return nil, err
		}
		argv, ready, err := command(addr)
		if err != nil {
			return nil, err
		}
		if t.proc, err = b.start(ctx, name, "http://"+ready+"/readyz", argv...); err != nil {
			return nil, err
		}
		t.base = "http://" + addr
		t.starts = append(t.starts, t.proc.ready)
	}
	b.targets = append(b.targets, t)
	return t, nil
}

func (b *bed) launchSluice(ctx context.Context, o options, upstream string) error {
	binary, err := sluiceBinary(ctx, o, b.dir)
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "policy.yaml")
	var admin string
	t, err := b.launch(ctx, o, sluice, func(addr string) ([]string, string, error) {
		var err error
		admin, err = freeAddress()
		if err != nil {
			return nil, "", err
		}
		argv := []string{binary, "serve", "--config", file}
		return argv, admin, os.WriteFile(file, []byte(policy(upstream, addr, admin)), 0o600)
	})
	if err == nil {
		t.admin = admin
	}
	return err
}

// sluiceBinary is the given one, or a fresh build as it is released: without cgo.
func sluiceBinary(ctx context.Context, o options, dir string) (string, error) {
	if o.sluice != "" {
		return filepath.Abs(o.sluice)
	}
	binary, err := build(ctx, dir, "cmd/sluice")
	if err != nil {
		return "", fmt.Errorf("%w(give -sluice for a binary that exists, or -targets without it)", err)
	}
	return binary, nil
}

// build makes a program of this module, given by its folder.
func build(ctx context.Context, dir, folder string) (string, error) {
	binary := filepath.Join(dir, filepath.Base(folder)+"-binary")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/sluice-gateway/sluice/"+folder)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", folder, err, out)
	}
	return binary, nil
}
