package netstack

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
)

// maxNameservers is how many of resolv.conf's nameservers are used: MAXNS of
// resolv.conf(5).
const maxNameservers = 3

// HostNameservers returns the nameservers of this process's resolv.conf.
func HostNameservers() ([]netip.AddrPort, error) {
	f, err := os.Open("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return ParseNameservers(strings.NewReader(""))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseNameservers(f)
}

// ParseNameservers reads the nameserver lines of a resolv.conf. Without any it
// is the host itself, resolv.conf(5). An error is the reader's; what was read
// before it is returned.
func ParseNameservers(r io.Reader) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(servers) < maxNameservers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53))
		}
	}
	if len(servers) == 0 {
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return servers, lines.Err()
}
