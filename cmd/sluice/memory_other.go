//go:build !linux

package main

// releaseProgram is Linux's alone.
func releaseProgram() {}
