package main

import (
	"syscall"
	"time"
)

// wait sleeps in the kernel: the Go runtime rounds a short sleep of an idle process up to a millisecond, which is several times the
// latency that is measured here.
func wait(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // the caller sleeps again after an early wake-up
}
