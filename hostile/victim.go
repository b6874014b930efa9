package hostile

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RunVictim is the main of the victim: a process of the same user outside, which
// anybody who may could be robbed of. It has a UDP socket of the host's network,
// a secret in its memory, and gives the socket to whoever connects to its unix
// sockets. It tells what it has on standard output and ends when standard input
// does. path and abstract are where it listens.
func RunVictim(path, abstract string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	// A page of its own, which can be written to and stays where it is.
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	secret := page[:copy(page, "the secret of the victim")]
	for _, name := range []string{path, abstract} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			return err
		}
		go give(l, socket)
	}
	v := Victim{PID: os.Getpid(), Socket: socket, Secret: string(secret), Address: uintptr(unsafe.Pointer(&secret[0])), Path: path, Abstract: abstract}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	os.Stdin.Read(make([]byte, 1))
	return nil
}

// give gives the socket to everybody who comes.
func give(l *net.UnixListener, socket int) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		c.WriteMsgUnix([]byte{0}, unix.UnixRights(socket), nil)
		c.Close()
	}
}
