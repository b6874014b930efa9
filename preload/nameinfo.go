package preload

import (
	"context"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Flags of getnameinfo(3), and errors of gethostbyname(3), which glibc and musl
// number alike.
const (
	niNumericHost = 0x1
	niNumericServ = 0x2
	niNameReqd    = 0x8
	niDgram       = 0x10

	hostNotFound = 1
	tryAgain     = 2
	noRecovery   = 3
	noData       = 4
)

// nameInfo is getnameinfo(3).
func (s *Server) nameInfo(ctx context.Context, q question) answer {
	flags, wantHost, wantService := q.arg[0], q.arg[1] != 0, q.arg[2] != 0
	addr, ok := parseSockaddr(q.data)
	switch {
	case !ok:
		return answer{err: eaiFamily}
	case !wantHost && !wantService:
		return answer{err: eaiNoName}
	}
	var host, service string
	if wantHost {
		name, found := "", false
		if flags&niNumericHost == 0 {
			name, found = s.nameOf(ctx, addr.Addr())
		}
		switch {
		case found:
			host = name
		case flags&niNameReqd != 0:
			return answer{err: eaiNoName}
		default:
			host = addr.Addr().String()
		}
	}
	if wantService {
		service = strconv.Itoa(int(addr.Port()))
		protocol := "tcp"
		if flags&niDgram != 0 {
			protocol = "udp"
		}
		if flags&niNumericServ == 0 {
			if name, found := readServices().name(addr.Port(), protocol); found {
				service = name
			}
		}
	}
	return answer{data: appendText(appendText(nil, host), service)}
}

// nameOf returns the name of an address: of /etc/hosts, then of ServerConfig.Answer.
func (s *Server) nameOf(ctx context.Context, addr netip.Addr) (string, bool) {
	if names := readHosts().byAddress(addr); len(names) > 0 {
		return names[0], true
	}
	if s.dns == nil || addr.Unmap().IsLoopback() {
		return "", false
	}
	return s.dns.pointer(ctx, addr)
}

// hostByName is gethostbyname2(3).
func (s *Server) hostByName(ctx context.Context, q question) answer {
	name, _, err := cutOptionalText(q.data)
	if err != nil || name == nil || q.arg[0] != unix.AF_INET && q.arg[0] != unix.AF_INET6 {
		return answer{err: noRecovery}
	}
	addrs, canonical, code := s.addresses(ctx, name, hint{family: q.arg[0]})
	switch code {
	case 0:
		return hostAnswer(addrs, canonical, readHosts().aliases(canonical))
	case eaiAgain:
		return answer{err: tryAgain}
	}
	return answer{err: hostNotFound}
}

// hostByAddress is gethostbyaddr(3).
func (s *Server) hostByAddress(ctx context.Context, q question) answer {
	addr, ok := netip.AddrFromSlice(q.data)
	if !ok || addr.Is4() != (q.arg[0] == unix.AF_INET) || addr.Is6() != (q.arg[0] == unix.AF_INET6) {
		return answer{err: noRecovery}
	}
	name, found := s.nameOf(ctx, addr)
	if !found {
		return answer{err: hostNotFound}
	}
	return hostAnswer([]netip.Addr{addr}, name, readHosts().aliases(name))
}

// hostAnswer is what makes a struct hostent.
func hostAnswer(addrs []netip.Addr, name string, aliases []string) answer {
	const most = 64 // addresses, and other names: more than programs have room for
	addrs, aliases = addrs[:min(len(addrs), most)], aliases[:min(len(aliases), most)]
	a := answer{value: int32(len(addrs))}
	for _, addr := range addrs {
		a.data = append(a.data, addr.AsSlice()...)
	}
	a.data = appendText(a.data, name)
	for _, alias := range aliases {
		if len(a.data)+len(alias) < answerMax {
			a.data = appendText(a.data, alias)
		}
	}
	return a
}
