package main

import (
	"os/exec"
	"syscall"
)

// signalOf returns the signal that killed a process.
func signalOf(e *exec.ExitError) syscall.Signal {
	return e.Sys().(syscall.WaitStatus).Signal()
}
