package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// versionCmd is `sluice version`.
type versionCmd struct{}

// Run prints what runs.
func (c *versionCmd) Run(w *world) error {
	_, err := fmt.Fprintf(w.stdout, "sluice %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the module's version, or for a build from a working tree its commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v, commit, dirty := info.Main.Version, "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if v == "" || v == "(devel)" {
		v = "devel"
		if commit != "" {
			v += "-" + commit + dirty
		}
	}
	return v
}
