package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/e2e/services"
	"adit/e2e/suite"

	"github.com/vishvananda/netlink"
)

// transfer downloads a big file through the tunnel; when a third has arrived it
// calls change. The file must arrive byte-exact all the same. allowed are the
// tunnel's far ends.
func (w *world) transfer(t *testing.T, allowed []netip.AddrPort, change func()) {
	t.Helper()
	suite.Need(t, "curl")
	o, err := oracle.Watch(allowed)
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.in(t, conf{}, "curl", "-sS", "-m", "80", fmt.Sprintf("http://10.9.0.1/bytes?size=%d&seed=5", big))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(cmd); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	n, err := io.CopyN(h, out, big/3)
	if err == nil {
		change()
		var rest int64
		rest, err = io.Copy(h, out)
		n += rest
	}
	if code, _ := wait(t, cmd); code != 0 || err != nil {
		t.Errorf("curl ends with status %d after %d of %d bytes (%v)", code, n, big, err)
	}
	if got, want := hex.EncodeToString(h.Sum(nil)), services.StreamHash(5, big); n == big && got != want {
		t.Errorf("the file's hash is %s, want %s", got, want)
	}
	r, err := o.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Leaks) > 0 {
		t.Errorf("packets of the host that are not the tunnel's:\n%v", r)
	}
}

// §6.5 of the whitepaper, roaming: an authenticated message from elsewhere is
// where the peer is now.
func TestPeersPortMayChangeDuringATransfer(t *testing.T) {
	w := enter(t)
	const other = 51999
	t.Cleanup(func() {
		if err := w.peer.Set(fmt.Sprintf("listen_port=%d", serverPort)); err != nil {
			t.Error(err)
		}
	})
	w.transfer(t, append(endpoints, netip.AddrPortFrom(lab.ServerV4.Addr(), other)), func() {
		if err := w.peer.Set(fmt.Sprintf("listen_port=%d", other)); err != nil {
			t.Error(err)
		}
	})
}

func TestHostsAddressMayChangeDuringATransfer(t *testing.T) {
	w := enter(t)
	to := netip.MustParsePrefix("10.77.0.99/24")
	t.Cleanup(func() {
		if err := lab.Readdress(to, lab.HostV4); err != nil {
			t.Error(err)
		}
	})
	w.transfer(t, endpoints, func() {
		if err := lab.Readdress(lab.HostV4, to); err != nil {
			t.Error(err)
		}
	})
}

// What still comes the old way, for the peer does not know yet, does not make adit
// speak from the old address again: else a better way is never taken while there is
// traffic.
func TestBetterWayIsTakenDuringATransfer(t *testing.T) {
	w := enter(t)
	suite.Need(t, "nft")
	here := netip.MustParseAddr("10.77.0.99")
	nft := func(script string) string {
		t.Helper()
		cmd := exec.Command("nft", script)
		var out []byte
		err := w.Server.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err })
		if err != nil {
			t.Fatalf("nft %s: %v: %s", script, err, out)
		}
		return string(out)
	}
	received := func() uint64 {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		return l.Attrs().Statistics.RxPackets
	}
	w.transfer(t, endpoints, func() {
		// The server does not hear where adit is now, until something has come the old way.
		nft("add table ip late; add chain ip late in { type filter hook input priority 0; }; add rule ip late in ip saddr " + here.String() + " counter drop")
		remove, err := w.LayDetour(here)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := remove(); err != nil {
				t.Error(err)
			}
		})
		told := settle(deadline, func() bool { return !strings.Contains(nft("list table ip late"), "packets 0 ") })
		if before := received(); !told || !settle(deadline, func() bool { return received() > before }) {
			t.Errorf("told of the new address: %v; and then nothing came the old way", told)
		}
		nft("delete table ip late")
	})
	got, err := w.peer.Get()
	if err != nil {
		t.Fatal(err)
	}
	if want := "endpoint=" + here.String() + ":"; !strings.Contains(got, want) {
		_, got, _ = strings.Cut(got, "endpoint=")
		got, _, _ = strings.Cut(got, "\n")
		t.Errorf("the peer takes adit to be at %s, want %v", got, here)
	}
}

// TestPeerMayRestart: the new peer knows neither session nor endpoint, and the
// tunnel comes back when the program speaks (§6.2: a handshake after data has
// been unanswered for keepaliveTimeout + rekeyTimeout, 15 s).
func TestPeerMayRestart(t *testing.T) {
	w := enter(t)
	w.watch(t)
	s := startStream(t, w.in(t, conf{}, "sh", "-c", `while "$1" get "$2"; read x; do :; done`, "sh", w.probe, pages[0]))
	s.want("10.9.0.2")
	w.killPeer(t)
	w.restartPeer(t)
	s.send("\n")
	s.want("10.9.0.2")
	s.in.Close()
	s.end()
}

// A peer that was not there at first is found as soon as it is.
func TestPeerMayComeLate(t *testing.T) {
	w := enter(t)
	w.killPeer(t)
	w.watch(t)
	s := startStream(t, w.run("-c", conf{}.write(t, w), "--wait-timeout", "60s", "--", w.probe, "get", pages[0]))
	w.untilItTries(t, s)
	w.restartPeer(t)
	s.want("10.9.0.2")
	s.wantEnd(0)
}
