package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestUnchanged(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 fd:03 960637                             /bin/a program
Size:               1024 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 fd:03 960637                             /bin/a program
Anonymous:             4 kB
00600000-00700000 r--p 00200000 fd:03 960637                             /bin/a program
Anonymous:             0 kB
00700000-00800000 rw-p 00300000 fd:03 960637                             /bin/a program
Anonymous:             0 kB
00800000-00900000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fd:03 960638                     /lib/a program
Anonymous:             0 kB
7fff00000000-7fff00001000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
`
	got := unchanged(strings.NewReader(smaps), "/bin/a program")
	if want := []mapping{{0x400000, 0x500000}, {0x600000, 0x700000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// The kernel's own words are understood, and a program goes on without its pages.
func TestReleaseProgram(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer smaps.Close()
	if len(unchanged(smaps, program)) == 0 {
		t.Error("nothing of the program is found")
	}
	releaseProgram()
}
