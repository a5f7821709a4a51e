package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-gateway/sluice/policies"
)

func TestStoreFolder(t *testing.T) {
	root := t.TempDir()
	for _, tc := range []struct {
		name, path, listen string
		env                map[string]string
		want               string // "" = an error
	}{
		{"named", filepath.Join(root, "a", "b"), "127.0.0.1:8080", nil, filepath.Join(root, "a", "b")},
		{"by address", "", "127.0.0.1:8080", map[string]string{"XDG_STATE_HOME": root}, filepath.Join(root, "sluice", "127.0.0.1_8080")},
		{"in the home", "", "[::1]:8080", map[string]string{"HOME": root, "XDG_STATE_HOME": "relative"}, filepath.Join(root, ".local", "state", "sluice", "__1_8080")},
		{"nowhere", "", "127.0.0.1:8080", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &world{env: func(k string) (string, bool) { v, ok := tc.env[k]; return v, ok }}
			dir, temporary, err := makeStore(w, &policies.Policy{State: policies.State{Path: tc.path}, Server: policies.Server{Listen: tc.listen}})
			if dir != tc.want || temporary || (err == nil) != (tc.want != "") {
				t.Fatalf("%q %v %v, want %q", dir, temporary, err, tc.want)
			}
			if _, err := os.Stat(dir); tc.want != "" && err != nil {
				t.Error(err)
			}
		})
	}
	dir, temporary, err := makeStore(&world{}, &policies.Policy{Server: policies.Server{Listen: "127.0.0.1:0"}})
	if err != nil || !temporary {
		t.Fatalf("%q %v %v", dir, temporary, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}
