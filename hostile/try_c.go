package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What needs a C library, or a program that Go's runtime is no part of. In preload
// mode the dynamically linked program is the only one that has anything: TCP and
// names, by the shim before its library.
var cAttempts = slices.Concat(
	category("libc", usual(tunnel(), tunnel(), tunnel()),
		inC("udp", "sendto of a C program", noUDP),
		inC("tcp", "connect of a C program", nil),
		inC("names", "getaddrinfo", nil),
		inC("services", "getaddrinfo by each service of nsswitch.conf there may be: dns, resolve, mdns, nis, wins, …", nil),
		inC("res", "res_query, past nsswitch.conf", nil),
		inC("race", "two threads: one opens and closes what the other one sends by", nil),
		inC("clone", "a process that shares descriptors and not memory (clone)", noUDP),
		inC("vfork", "vfork, then exec of itself", noUDP),
	),
	category("around libc", usual(own(unix.ECONNREFUSED), own(unix.ECONNREFUSED), refused(unix.EACCES)),
		inC("syscall", "a datagram by syscall(2)", inNamespace(tunnel()).seccomp(tunnel())),
		inC("syscall-connect", "connect to the host's loopback by it", inEach(own(unix.ECONNREFUSED))), // syscall(2) is the shim's, too
		inC("instruction", "a datagram by the machine's own instruction", inNamespace(tunnel()).seccomp(tunnel())),
		inC("instruction-connect", "connect to the host's loopback by that", nil),
		inC("instruction-bind", "listen on the host's 127.0.0.1 by that", onHosts),
		inC("instruction-listen", "listen there without bind", onHosts),
		inC("dlsym", "the library's connect, looked up behind who is before it", nil),
		inC("bare", "exec without an environment, and so without a library that is preloaded", inNamespace(tunnel()).seccomp(tunnel())),
		inC("loopback", "connect to the host's loopback", inEach(own(unix.ECONNREFUSED))),
		inC("fastopen", "the same by TCP fast open", inEach(own(unix.ECONNREFUSED, unix.EOPNOTSUPP))),
		inC("join", "join a group by a socket of TCP", inNamespace(tunnel(unix.ENODEV)).both(noJoin[Seccomp])),
		inC("unix", "a unix socket of the file system", inEach(open())),
		inC("received", "a UDP socket from a helper outside", inEach(open())),
		inC("resolver", "a resolver's socket", inEach(hiddenExpect)),
		inC("race-address", "the address of connect changes: beyond, and the host's loopback", inEach(own())),
		inC("race-descriptor", "its descriptor does: a unix socket, and one of TCP", inEach(own())),
	),
	category("static", usual(tunnel(), tunnel(), refused(unix.EACCES)),
		inStatic("udp", "a datagram of a statically linked program", nil),
		inStatic("tcp", "a connection of it", nil),
		inStatic("res", "a question of it", usual(tunnel(), tunnel(), own())),
		inStatic("clone", "a process that shares its descriptors", nil),
		inStatic("vfork", "vfork, then exec of itself", nil),
		inStatic("race", "two threads of it", usual(tunnel(), tunnel(), own())),
		inStatic("instruction", "a datagram by the machine's own instruction", nil),
		inStatic("loopback", "connect to the host's loopback", usual(own(unix.ECONNREFUSED), own(unix.ECONNREFUSED), refused(unix.EACCES))),
	),
)

// onHosts is for a listener that is to be on the command's own 127.0.0.1.
var onHosts = inEach(own(unix.EACCES, unix.EINVAL, unix.EADDRINUSE, unix.EPERM))

// noUDP: preload mode has none.
var noUDP = Modes{Preload: refused(unix.EACCES)}

func inC(what, does string, expect Modes) *Attempt {
	return &Attempt{Name: "libc-" + what, Does: does, Control: Everybody, C: true, Expect: expect,
		try: func(w *World) Result { return byC(w, w.Helper, what) }}
}

func inStatic(what, does string, expect Modes) *Attempt {
	return &Attempt{Name: "static-" + what, Does: does, Control: Everybody, C: true, Expect: expect,
		try: func(w *World) Result { return byC(w, w.Static, what) }}
}

// byC lets the C program make the attempt.
func byC(w *World, program, what string) Result {
	if program == "" {
		return missing("the C program")
	}
	args := []string{what, w.canary(), w.question()}
	for _, t := range w.targets(false) {
		args = append(args, t.Addr().String(), strconv.Itoa(int(t.Port())))
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), fmt.Sprint("ATTEMPT_PORT=", w.Port), "ATTEMPT_PATH="+w.Path, "ATTEMPT_VICTIM="+w.Victim.Path,
		fmt.Sprint("ATTEMPT_GROUP=", w.group4()), fmt.Sprint("ATTEMPT_LINK=", w.Link))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return Result{State: StateBroken, Step: what, Text: strings.TrimSpace(err.Error() + " " + string(out))}
	}
	text := strings.TrimSpace(string(out))
	if n, err := strconv.Atoi(text); err == nil {
		return no(what, unix.Errno(n))
	}
	switch {
	case text == "host" && isHosts(w):
		return got("listen on 127.0.0.1")
	case text == "host" || text == "own":
		return ours("listen")
	}
	return sent()
}
