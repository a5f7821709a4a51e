package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// releaseProgram gives back the pages of the program's file: half of them were there for the start alone, for flags, tables and messages that are made ready
// once, and would be counted as ours for good. What is needed again comes back from the kernel's cache, many pages at a time. Where it cannot be
// done, nothing is lost.
func releaseProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range unchanged(bytes.NewReader(smaps), program) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// unchanged finds in proc_pid_smaps(5) the mappings of a file that cannot be written to and of which no page differs from the file's, as those with
// relocations do.
func unchanged(smaps io.Reader, file string) (found []mapping) {
	var m mapping
	readOnly := false
	for s := bufio.NewScanner(smaps); s.Scan(); {
		switch f := strings.Fields(s.Text()); {
		case len(f) >= 6 && strings.Contains(f[0], "-"): // 00400000-0048a000 r-xp 00000000 fd:03 960637 /bin/bash
			from, to, _ := strings.Cut(f[0], "-")
			a, errA := strconv.ParseUint(from, 16, 64)
			b, errB := strconv.ParseUint(to, 16, 64)
			m = mapping{uintptr(a), uintptr(b)}
			readOnly = errA == nil && errB == nil && strings.HasPrefix(f[1], "r-") && strings.HasSuffix(s.Text(), " "+file)
		case readOnly && s.Text() == "Anonymous:             0 kB":
			found = append(found, m)
		}
	}
	return found
}
