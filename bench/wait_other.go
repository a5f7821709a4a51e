//go:build !linux

package main

import "time"

// wait sleeps as well as the runtime can.
func wait(d time.Duration) { time.Sleep(d) }
