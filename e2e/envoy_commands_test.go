//go:build real

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/e2e/envoyplane"
	"github.com/sluice-gateway/sluice/internal/harness"
)

// TestEnvoyCommands has Envoy read what `sluice xds` and `sluice bootstrap` print: for every example policy, and for every way to reach a control plane.
func TestEnvoyCommands(t *testing.T) {
	t.Parallel()
	envoy, dir := envoyplane.Binary(t), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	cert, key := newPair(t, "control.example")
	write(t, in("cert.pem"), cert)
	write(t, in("key.pem"), key)
	examples, err := filepath.Glob("../examples/*/policy.yaml")
	if err != nil || len(examples) < 3 {
		t.Fatalf("examples %v: %v", examples, err)
	}
	remote := []string{"--ca", in("cert.pem"), "--cert", in("cert.pem"), "--key", in("key.pem")}
	commands := [][]string{
		{"bootstrap", "--control", in("control.sock")},
		{"bootstrap", "--control", in("control.sock"), "--admin", in("admin.sock"), "--node", "envoy-1", "--config", examples[0]},
		{"bootstrap", "--control", in("control.sock"), "--admin", "127.0.0.1:19901"},
		append([]string{"bootstrap", "--control", "control.example:9443"}, remote...),
		append([]string{"bootstrap", "--control", "10.0.0.1:9443"}, remote...),
	}
	for _, file := range examples {
		commands = append(commands, []string{"xds", "--static", file})
	}
	for _, args := range commands {
		t.Run(strings.ReplaceAll(strings.Join(args, " "), dir, "DIR"), func(t *testing.T) {
			p := harness.Start(t, nil, binary(), args...)
			if code := p.Exit(t); code != 0 {
				t.Fatalf("exit %d: %s", code, p.Err)
			}
			file := filepath.Join(t.TempDir(), "config.json")
			write(t, file, named.ReplaceAllStringFunc(p.Out.String(), func(text string) string { // the examples name files that an operator has
				switch name := named.FindStringSubmatch(text)[1]; {
				case exists(name):
					return text
				case strings.HasSuffix(name, ".key"):
					return strings.Replace(text, name, in("key.pem"), 1)
				default:
					return strings.Replace(text, name, in("cert.pem"), 1)
				}
			}))
			if out, err := exec.Command(envoy, "--mode", "validate", "-c", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "OK") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

var named = regexp.MustCompile(`"filename": "([^"]+)"`)

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
