package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

// The tests of this file do not run adit. They show that the others would
// notice: programs do work without the tunnel, the oracle sees them, and the
// peer does carry what comes through a tunnel.

// seen runs f under the oracle and returns what it saw.
func seen(t *testing.T, f func()) oracle.Report {
	t.Helper()
	o, err := oracle.Watch(endpoints)
	if err != nil {
		t.Fatalf("watch the host: %v", err)
	}
	f()
	r, err := o.Stop()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOracleSeesEveryProgramThatLeaks(t *testing.T) {
	w := enter(t)
	for _, p := range matrix {
		t.Run(p.name, func(t *testing.T) {
			suite.Need(t, p.needs...)
			argv := p.argv(t, w)
			w.hostDNS.Forget()
			r := seen(t, func() {
				out := wantOK(t, w.plain(argv...))
				p.wantAs(t, out, lab.HostV4.Addr().String(), lab.HostV6.Addr().String())
			})
			if len(r.Leaks) == 0 {
				t.Error("the oracle saw nothing of a program that used the host's network")
			}
			if !p.noDNS && len(w.hostDNS.Asked()) == 0 {
				t.Error("the host's nameserver was not asked")
			}
		})
	}
}

func TestOracleIsSilentOnASilentHost(t *testing.T) {
	w := enter(t)
	// The peer may have a keepalive for whoever was its client ten seconds ago, and the
	// last segments of a program's connection may come after its end.
	w.killPeer(t)
	untilQuiet(t)
	r := seen(t, func() { wantOK(t, w.plain("true")) })
	if len(r.Leaks) > 0 || r.Tunnel > 0 {
		t.Errorf("got %d tunnel datagrams and leaks:\n%v", r.Tunnel, r)
	}
}

// A datagram to the peer's own port is not allowed to be anything but
// WireGuard, or a program could use that hole.
func TestOracleSeesOtherDatagramsToTheEndpoint(t *testing.T) {
	w := enter(t)
	untilQuiet(t) // of the test before
	for _, e := range endpoints {
		r := seen(t, func() {
			do(t, w.plain("bash", "-c", "echo -n plainly not wireguard >/dev/udp/"+e.Addr().String()+"/51820"))
		})
		if len(r.Leaks) != 1 || !strings.Contains(r.Leaks[0], e.String()) {
			t.Errorf("%v: got leaks %q, want that one datagram", e, r.Leaks)
		}
	}
}

// What the kernel says of its own groups is innocent; a group that a program
// joins is not.
func TestOracleSeesAProgramThatJoinsAGroup(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	for _, c := range []struct{ name, script, want string }{
		{"IPv4", "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('239.1.2.3') + socket.inet_aton('10.77.0.2'))", "protocol 2 "},
		{"IPv6", "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, 'ff05::1234') + socket.if_nametoindex('eth0').to_bytes(4, 'little'))", "ICMP type 143 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := oracle.Watch(endpoints)
			if err != nil {
				t.Fatal(err)
			}
			s := startStream(t, w.plain("python3", "-c", "import socket, sys\n"+c.script+"\nsys.stdin.readline()"))
			var all []string
			// The kernel takes up to ten seconds to report (RFC 2236 §8.10), and
			// may still have something to say of the group before.
			seen := settle(25*time.Second, func() bool {
				o.Wait(5 * time.Second)
				next, err := oracle.Watch(endpoints) // before the other one ends
				if err != nil {
					t.Fatal(err)
				}
				r, err := o.Stop()
				if err != nil {
					t.Fatal(err)
				}
				o, all = next, append(all, r.Leaks...)
				return strings.Contains(r.String(), c.want)
			})
			o.Stop()
			s.in.Close()
			s.wantEnd(0)
			untilQuiet(t)
			if !seen {
				t.Errorf("got %q, want a report of membership", all)
			}
		})
	}
}

// untilQuiet waits until the kernel has said all that it says, several times over
// some seconds, when a group is left: the next test would hear it.
func untilQuiet(t *testing.T) {
	t.Helper()
	for quiet := false; !quiet; {
		o, err := oracle.Watch(endpoints)
		if err != nil {
			t.Fatal(err)
		}
		quiet = !o.Wait(3 * time.Second)
		if _, err := o.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPeerCarriesATunnelOfItsOwnKind runs wireguard-go on the host as root would:
// the lab's peer and services are good, whatever adit does.
func TestPeerCarriesATunnelOfItsOwnKind(t *testing.T) {
	w := enter(t)
	suite.Need(t, "curl", "ping")
	for _, e := range endpoints {
		t.Run(e.Addr().String(), func(t *testing.T) {
			w.renewPeer(t)
			addrs := clientAddresses(someClient)
			inner := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
			c, err := peer.Start("wgclient", peer.Device(w.clients[someClient].Private, 0)+
				peer.Remote(w.serverKey.Public, "", e.String(), inner...))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Kill()
			if err := lab.BringUp("wgclient", addrs, inner); err != nil {
				t.Fatal(err)
			}
			r := seen(t, func() {
				want := addrs[0].Addr().String() + "\n" + addrs[1].Addr().String() + "\n"
				wantStdout(t, w.plain(append([]string{"curl", "-sS", "-m", "30"}, pages[:2]...)...), want)
				wantOK(t, w.plain("ping", "-c", "1", "-W", "5", lab.ServiceV4.String()))
			})
			if r.Tunnel == 0 {
				t.Error("the oracle saw no datagram of the tunnel")
			}
			for _, l := range r.Leaks {
				if !strings.HasPrefix(l, "wgclient ") {
					t.Errorf("the oracle calls this a leak: %s", l)
				}
			}
		})
	}
}

// The fake resolvers of names_test.go do hear a program that asks them.
func TestResolverSocketsHearAProgramWithoutAdit(t *testing.T) {
	w := enter(t)
	suite.Need(t, "getent", "python3")
	s := w.fakeResolvers(t)
	do(t, w.plain("getent", "hosts", "web.test"))
	if s.asked("/run/nscd/socket") == 0 {
		t.Error("glibc did not connect to nscd's socket")
	}
	wantOK(t, w.plain("python3", "-c", connectScript, resolvedSocket))
	if s.asked(resolvedSocket) == 0 {
		t.Error("a connection to systemd-resolved's socket was not counted")
	}
}

func TestLabLeavesTheMachinesFilesAlone(t *testing.T) {
	w := enter(t)
	conf, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || string(conf) != lab.ResolvConf {
		t.Errorf("/etc/resolv.conf is %q (%v), want the lab's own", conf, err)
	}
	if !lab.AsRoot() {
		return
	}
	if r := do(t, w.plain("sh", "-c", "id -u; echo >/etc/e2e")); r.code == 0 || !strings.HasPrefix(r.stdout, fmt.Sprintln(w.User.UID)) {
		t.Errorf("the ordinary user is %q and may write to /etc: %v", r.stdout, r.code == 0)
	}
}

// Whoever looks for what a run has left sees an interface of the host's.
func TestSnapshotSeesAnInterface(t *testing.T) {
	w := enter(t)
	before := w.Snapshot()
	remove, err := w.LayDetour(lab.HostV4.Addr())
	if err != nil {
		t.Fatal(err)
	}
	more := w.Snapshot().Since(before)
	if err := remove(); err != nil {
		t.Error(err)
	}
	if !slices.Contains(more, "interface eth1") {
		t.Errorf("got %q, want the interface among it", more)
	}
}
