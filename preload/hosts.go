package preload

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The two files that names are looked up in before anybody is asked. They are read
// each time, as libc does: they are small, and may change.
const (
	hostsFile    = "/etc/hosts"
	servicesFile = "/etc/services"
)

// hosts are the lines of hosts(5).
type hosts []host

type host struct {
	addr  netip.Addr
	names []string // the canonical one first
}

func readHosts() hosts { return hostsOf(hostsFile) }

func hostsOf(path string) (h hosts) {
	eachLine(path, func(fields []string) {
		addr, err := netip.ParseAddr(fields[0])
		if err == nil && len(fields) > 1 {
			h = append(h, host{addr.Unmap(), fields[1:]})
		}
	})
	return h
}

// byName returns the addresses of a name, and the canonical name of the first.
func (h hosts) byName(name string) (addrs []netip.Addr, canonical string) {
	name = strings.TrimSuffix(name, ".")
	for _, line := range h {
		if !slices.ContainsFunc(line.names, func(n string) bool { return strings.EqualFold(n, name) }) {
			continue
		}
		if canonical == "" {
			canonical = line.names[0]
		}
		if !slices.Contains(addrs, line.addr) {
			addrs = append(addrs, line.addr)
		}
	}
	return addrs, canonical
}

// aliases returns the other names of a name's first line.
func (h hosts) aliases(name string) []string {
	for _, line := range h {
		if slices.ContainsFunc(line.names, func(n string) bool { return strings.EqualFold(n, name) }) {
			return line.names[1:]
		}
	}
	return nil
}

// byAddress returns the names of an address, the canonical one first.
func (h hosts) byAddress(addr netip.Addr) []string {
	for _, line := range h {
		if line.addr == addr.Unmap().WithZone("") {
			return line.names
		}
	}
	return nil
}

// services are the lines of services(5).
type services []service

type service struct {
	names    []string // the official one first
	port     uint16
	protocol string
}

func readServices() services { return servicesOf(servicesFile) }

func servicesOf(path string) (s services) {
	eachLine(path, func(fields []string) {
		if len(fields) < 2 {
			return
		}
		number, protocol, _ := strings.Cut(fields[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err == nil {
			names := append([]string{fields[0]}, fields[2:]...)
			s = append(s, service{names, uint16(port), protocol})
		}
	})
	return s
}

func (s services) port(name, protocol string) (uint16, bool) {
	for _, line := range s {
		if line.protocol == protocol && slices.Contains(line.names, name) {
			return line.port, true
		}
	}
	return 0, false
}

func (s services) name(port uint16, protocol string) (string, bool) {
	for _, line := range s {
		if line.port == port && line.protocol == protocol {
			return line.names[0], true
		}
	}
	return "", false
}

// eachLine calls f with the words of each line of a file that has any. Comments
// begin with #. A file that cannot be read has none.
func eachLine(path string, f func(fields []string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(io.LimitReader(file, 16<<20)); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if fields := strings.Fields(text); len(fields) > 0 {
			f(fields)
		}
	}
}
