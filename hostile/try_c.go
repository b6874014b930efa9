package hostile

import (
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What needs a C library, or a program that Go's runtime is no part of.
var cAttempts = category("libc", tunnel(),
	inC("libc-udp", "sendto of a C program", Everybody),
	inC("libc-tcp", "connect of a C program", Everybody),
	inC("libc-names", "getaddrinfo", Everybody),
	inC("libc-services", "getaddrinfo by each service of nsswitch.conf there may be: dns, resolve, mdns, nis, wins, …", Everybody),
	inC("libc-res", "res_query, past nsswitch.conf", Everybody),
	inC("libc-race", "two threads: one opens and closes what the other one sends by", Everybody),
	inC("libc-clone", "a process that shares descriptors and not memory (clone)", Everybody),
	inC("libc-vfork", "vfork, then exec of itself", Everybody),
)

func inC(name, does string, control Who) *Attempt {
	a := &Attempt{Name: name, Does: does, Control: control, C: true}
	a.try = func(w *World) Result {
		if w.Helper == "" {
			return missing("the C program")
		}
		args := []string{strings.TrimPrefix(name, "libc-"), w.canary(), w.question()}
		for _, t := range w.targets(false) {
			args = append(args, t.Addr().String(), strconv.Itoa(int(t.Port())))
		}
		out, err := exec.Command(w.Helper, args...).CombinedOutput()
		if err != nil {
			return Result{State: StateBroken, Step: name, Text: strings.TrimSpace(err.Error() + " " + string(out))}
		}
		if text := strings.TrimSpace(string(out)); text != "" { // an errno
			if n, err := strconv.Atoi(text); err == nil {
				return no(name, unix.Errno(n))
			}
		}
		return sent()
	}
	return a
}
