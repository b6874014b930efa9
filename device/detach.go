package device

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

// The environment by which wireguard-go hands an interface on, and those who
// start it themselves hand it over.
const (
	EnvTUN        = "WG_TUN_FD"             // number of the TUN's descriptor
	EnvSocket     = "WG_UAPI_FD"            // number of the socket's
	EnvForeground = "WG_PROCESS_FOREGROUND" // "1": do not go to the background
	envReady      = "ADIT_DEVICE_READY_FD"  // where the background says how it went; of our own
)

// Detach starts this program again in the background, with the same arguments,
// and hands tun and socket over to it. It returns when the device works there,
// or the error that it ended with. If quiet, the background says nothing more.
func Detach(tun *os.File, socket *Socket, quiet bool) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	listener, err := socket.l.File()
	if err != nil {
		return err
	}
	defer listener.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	files := []*os.File{null, null, null, tun, listener, w}
	if !quiet {
		files[1], files[2] = os.Stdout, os.Stderr
	}
	p, err := os.StartProcess(exe, os.Args, &os.ProcAttr{
		Dir: "/", Files: files,
		Env: handedOver(os.Environ()),
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return fmt.Errorf("start the background process: %w", err)
	}
	defer p.Release()
	word, err := io.ReadAll(r)
	switch {
	case err != nil:
		return fmt.Errorf("wait for the background process: %w", err)
	case len(word) == 0:
		return errors.New("the background process ended at once")
	case word[0] != readyWord:
		return errors.New(string(word))
	}
	return nil
}

// handedOver returns the environment of the background process. What the caller
// has set of the same names goes: of two values a program reads the first, and
// one that is told to go to the background there would start the next, for ever.
func handedOver(environ []string) []string {
	own := []string{EnvTUN + "=3", EnvSocket + "=4", envReady + "=5", EnvForeground + "=1"}
	env := slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, name+"=") })
	})
	return append(env, own...)
}

// readyWord is what the background says when all is well; anything else is what
// is not.
const readyWord = 0

// TellParent returns the function by which a process that Detach started says
// that the device works, or why not. It reports whether the parent got to know:
// only the first word counts, and only there is a parent that waits.
func TellParent() func(error) bool {
	s := os.Getenv(envReady)
	os.Unsetenv(envReady)
	f, err := inherit(s)
	if err != nil {
		return func(error) bool { return false }
	}
	syscall.CloseOnExec(int(f.Fd()))
	told := false
	return func(err error) bool {
		if told {
			return false
		}
		told = true
		defer f.Close()
		if err == nil {
			_, err = f.Write([]byte{readyWord})
		} else {
			_, err = io.WriteString(f, strings.ReplaceAll(err.Error(), "\n", " "))
		}
		return err == nil
	}
}
