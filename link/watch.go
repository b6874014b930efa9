package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// Changes come in crowds: an interface that comes up gets its addresses
	// and routes one by one. So many follow each other within settle; after
	// mostly one does not wait longer.
	settle = 300 * time.Millisecond
	mostly = time.Second

	// The first news after a calm do not wait so long: until we say where we
	// are, nobody who has something for us can reach us. An address that is
	// taken in another's place comes within quick, mostly. News that turn out to
	// be no change end the calm as well: to look is work, on a large host much.
	quick = 5 * time.Millisecond
	calm  = 5 * time.Second

	// A host with the Internet's whole table has routes coming and going all
	// the time. So many are compared, of each family.
	maxRoutes = 4096
)

// WatchNetwork calls changed after addresses, routes or rules of routing have changed,
// once for changes that follow each other closely, and not when all is as before
// at the end of it: a router advertisement that only renews lifetimes is no
// change. The calls come from one goroutine. WatchNetwork returns nil when ctx
// ends, else the reason why it cannot watch.
func WatchNetwork(ctx context.Context, changed func()) error {
	if err := watchNetwork(ctx, snapshot, changed); err != nil && ctx.Err() == nil {
		return fmt.Errorf("watch the host's network: %w", err)
	}
	return nil
}

// watchNetwork is WatchNetwork where look is what says how things are.
func watchNetwork(ctx context.Context, look func() (map[string]bool, error), changed func()) error {
	const groups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
		1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)
	f, err := subscribe(groups)
	if err != nil {
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()

	before, err := look()
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	var looked time.Time
	for {
		f.SetReadDeadline(time.Time{})
		if err := awaitNews(f, buf); err != nil {
			return err
		}
		wait := patience(time.Since(looked))
		for latest := time.Now().Add(mostly); time.Now().Before(latest); {
			f.SetReadDeadline(time.Now().Add(wait))
			err := awaitNews(f, buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
		}
		// What cannot be listed just now counts as changed: to look once more
		// than needed costs a handshake, to stop looking costs the tunnel.
		after, err := look()
		if err != nil || !maps.Equal(before, after) {
			before = after
			changed()
		}
		looked = time.Now()
	}
}

// patience returns how long it has to be quiet after news until we look what has
// changed, if we looked that long ago.
func patience(since time.Duration) time.Duration {
	if since >= calm {
		return quick
	}
	return settle
}

// subscribe returns a netlink socket that gets the news of the groups.
func subscribe(groups uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

// awaitNews waits for any message. One that was lost for lack of space is news
// just as well (netlink(7), ENOBUFS).
func awaitNews(f *os.File, buf []byte) error {
	_, err := f.Read(buf)
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// snapshot returns what counts of the host's addresses, routes and rules: where
// packets go and what they are sent from, without lifetimes.
func snapshot() (map[string]bool, error) {
	s := make(map[string]bool)
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		// An address that is tentative or deprecated is not used as source.
		usable := a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DEPRECATED|unix.IFA_F_DADFAILED) == 0
		s[fmt.Sprint("address ", a.LinkIndex, " ", a.IPNet, " ", usable)] = true
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		n := 0
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		err := netlink.RouteListFilteredIter(family, all, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if r.Flags&unix.RTM_F_CLONED == 0 { // else a cached path MTU
				s[fmt.Sprint("route ", family, " ", r.Table, " ", r.Dst, " ", r.Gw, " ", r.Via, " ", r.LinkIndex, " ",
					r.Priority, " ", r.Src, " ", r.Type, " ", r.MultiPath)] = true
			}
			n++
			return n < maxRoutes
		})
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EAFNOSUPPORT) {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		rules, err := netlink.RuleList(family)
		// Not every kernel has rules.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		for _, r := range rules {
			text, err := json.Marshal(r) // follows pointers
			if err != nil {
				return nil, fmt.Errorf("a rule: %w", err)
			}
			s[fmt.Sprint("rule ", family, " ", string(text))] = true
		}
	}
	return s, nil
}
