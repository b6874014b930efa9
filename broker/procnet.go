package broker

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// procTables are the tables of TCP sockets, proc(5).
var procTables = []struct {
	file   string
	family int
}{{"/proc/self/net/tcp", unix.AF_INET}, {"/proc/self/net/tcp6", unix.AF_INET6}}

// listens reports whether a socket listens at an address of the kernel's.
func listens(native netip.AddrPort) bool {
	all, _ := listeners()
	return all[native]
}

// listeners returns the addresses of the kernel's at which sockets listen, and whether
// those are all.
func listeners() (at map[netip.AddrPort]bool, whole bool) {
	const listen = "0A" // TCP_LISTEN
	at, whole = make(map[netip.AddrPort]bool), true
	for _, table := range procTables {
		text, err := os.ReadFile(table.file)
		if err != nil {
			whole = whole && errors.Is(err, fs.ErrNotExist) // there may be no IPv6
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != listen {
				continue
			}
			if a, is := parseHexAddr(f[1]); is {
				at[a] = true
			}
		}
	}
	return at, whole
}

// procNames returns what the kernel calls the TCP socket with the inode, from the
// tables of proc(5): for a socket that cannot be had. EACCES: there is none.
func procNames(ino uint64) (n names, errno syscall.Errno) {
	for _, table := range procTables {
		text, err := os.ReadFile(table.file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if local, remote, found := parseProcNet(line, ino); found {
				return names{table.family, local, remote}, ok
			}
		}
	}
	return n, unix.EACCES
}

// parseProcNet reads a line of those tables, if it is of the inode. The remote
// address of a socket that is not connected, or not yet, is left out.
func parseProcNet(line string, ino uint64) (local, remote netip.AddrPort, found bool) {
	// sl local remote st tx:rx tr:when retransmits uid timeout inode …
	f := strings.Fields(line)
	if len(f) < 10 || f[9] != strconv.FormatUint(ino, 10) {
		return local, remote, false
	}
	local, found = parseHexAddr(f[1])
	const synSent = "02" // TCP_SYN_SENT
	if far, is := parseHexAddr(f[2]); is && far.Port() != 0 && f[3] != synSent {
		remote = far
	}
	return local, remote, found
}

// parseHexAddr reads ADDRESS:PORT, the address in words of the machine's order.
func parseHexAddr(s string) (netip.AddrPort, bool) {
	address, port, found := strings.Cut(s, ":")
	b, err := hex.DecodeString(address)
	if !found || err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, is := netip.AddrFromSlice(b)
	p, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), is && err == nil
}
