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
	name   string
	base   string // http://host:port
	proc   *process
	starts []time.Duration // cold starts, in order
	soak   soak
}

// bed is all processes of a run.
type bed struct {
	dir     string
	targets []*target
}

// close stops the proxies before the upstream.
func (b *bed) close() {
	for _, t := range slices.Backward(b.targets) {
		t.proc.stop()
	}
}

// open starts what o names. On an error everything that was started has been stopped.
func open(ctx context.Context, o options, dir string) (*bed, error) {
	b := &bed{dir: dir}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	upstream, err := b.launch(ctx, o, direct, func(addr string) ([]string, string, error) {
		return []string{self, "null", "-listen", addr}, addr, nil
	})
	if err != nil {
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
		if t.proc, err = start(ctx, b.dir, name, "http://"+ready+"/readyz", argv...); err != nil {
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
	_, err = b.launch(ctx, o, sluice, func(addr string) ([]string, string, error) {
		admin, err := freeAddress()
		if err != nil {
			return nil, "", err
		}
		argv := []string{binary, "serve", "--config", file}
		return argv, admin, os.WriteFile(file, []byte(policy(upstream, addr, admin)), 0o600)
	})
	return err
}

// sluiceBinary is the given one, or a fresh build as it is released: without cgo.
func sluiceBinary(ctx context.Context, o options, dir string) (string, error) {
	if o.sluice != "" {
		return filepath.Abs(o.sluice)
	}
	binary := filepath.Join(dir, "sluice-binary")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/sluice-gateway/sluice/cmd/sluice")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sluice: %w\n%s(give -targets direct,lean to leave it out)", err, out)
	}
	return binary, nil
}
