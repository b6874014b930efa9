package preload

import (
	"bufio"
	"debug/elf"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// An UncoveredError is returned for a command that would not load the shim, or
// would go past it. The guard would leave it without a network.
type UncoveredError struct {
	Path string // of the program, for a script that of its interpreter
	Why  string
}

func (e *UncoveredError) Error() string { return e.Path + " is " + e.Why }

// maxScripts is how deep the kernel follows scripts: BINPRM_MAX_RECURSION.
const maxScripts = 4

// Covers returns an *UncoveredError if preload mode can do nothing for the command
// at path. Of what it cannot read it finds nothing to say, and of what the command
// starts later it knows nothing: the guard holds for all of that.
func Covers(path string) error {
	for range maxScripts {
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		interpreter, script := interpreterOf(f)
		if !script {
			defer f.Close()
			return coversProgram(path, f)
		}
		f.Close()
		path = interpreter
	}
	return nil // execve(2) will say ELOOP
}

// interpreterOf returns the program that runs f, if that is a script: execve(2).
func interpreterOf(f io.ReaderAt) (string, bool) {
	line, _ := bufio.NewReaderSize(io.NewSectionReader(f, 0, 256), 256).ReadString('\n')
	rest, script := strings.CutPrefix(line, "#!")
	fields := strings.Fields(rest)
	if !script || len(fields) == 0 {
		return "", false
	}
	return fields[0], true
}

// machines are the processors by elf(5) that the shim is for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV}

func coversProgram(path string, f *os.File) error {
	no := func(why string) error { return &UncoveredError{path, why} }
	if why := privileged(f); why != "" {
		return no(why)
	}
	e, err := elf.NewFile(f)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil // whoever executes it will say so
	}
	if err != nil {
		return nil
	}
	switch {
	case e.Class != elf.ELFCLASS64:
		return no("a 32-bit program")
	case e.Machine != machines[runtime.GOARCH]:
		return no("a program for another processor")
	case !hasInterpreter(e):
		return no("a static program")
	case isGo(e):
		return no("a Go program, which makes its own system calls")
	}
	return nil
}

// privileged says how a program gets more rights than who starts it. The dynamic
// loader lets nobody add to such a one.
func privileged(f *os.File) string {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return ""
	}
	_, capErr := unix.Fgetxattr(int(f.Fd()), "security.capability", nil)
	switch {
	case st.Mode&unix.S_ISUID != 0 && int(st.Uid) != os.Geteuid():
		return "a set-user-ID program"
	case st.Mode&unix.S_ISGID != 0 && st.Mode&unix.S_IXGRP != 0 && int(st.Gid) != os.Getegid():
		return "a set-group-ID program"
	case capErr == nil && os.Geteuid() != 0:
		return "a program with capabilities of its own"
	}
	return ""
}

func hasInterpreter(e *elf.File) bool {
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}

// isGo reports whether e was made by Go's linker. With cgo it may be dynamic, but
// package net goes past libc all the same.
func isGo(e *elf.File) bool {
	return e.Section(".go.buildinfo") != nil || e.Section(".note.go.buildid") != nil
}
