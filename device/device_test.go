package device

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"adit/wg"
)

// A pair is two devices on loopback, each the other's peer.
type pair struct {
	t      *testing.T
	a, b   *Device
	ca, cb *client
	ka, kb wg.PublicKey
}

func hexPublic(k wg.PublicKey) string { return hexOf(k.String()) }

func (p *pair) set(c *client, lines ...string) {
	p.t.Helper()
	c.want("set=1\n"+strings.Join(lines, "\n")+"\n\n", "errno=0\n")
}

func (p *pair) port(d *Device) string {
	port, _ := d.udp.settings()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String()
}

func newTestPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, a: newTestDevice(t, true), b: newTestDevice(t, true)}
	p.ca, p.cb = dial(t, p.a), dial(t, p.b)
	a, b := wg.NewPrivateKey(), wg.NewPrivateKey()
	p.ka, p.kb = a.Public(), b.Public()
	p.set(p.ca, "private_key="+hexOf(a.Base64()))
	p.set(p.cb, "private_key="+hexOf(b.Base64()), "public_key="+hexPublic(p.ka))
	return p
}

// wantValue waits until the device says what is wanted of the first such key.
func (p *pair) wantValue(c *client, key, want string, is func(got string) bool) {
	p.t.Helper()
	var got string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		_, rest, _ := strings.Cut(c.ask("get=1\n\n"), "\n"+key+"=")
		if got, _, _ = strings.Cut(rest, "\n"); is(got) {
			return
		}
	}
	p.t.Fatalf("%s: got %q, want %s", key, got, want)
}

func (p *pair) wantEndpoint(c *client, want string) {
	p.t.Helper()
	p.wantValue(c, "endpoint", want, func(got string) bool { return got == want })
}

func (p *pair) wantHandshake(c *client) {
	p.t.Helper()
	p.wantValue(c, "last_handshake_time_sec", "a time", func(got string) bool { return got != "0" })
}

// speak makes a shake hands with b.
func (p *pair) speak() {
	p.t.Helper()
	p.set(p.ca, "public_key="+hexPublic(p.kb), "endpoint="+p.port(p.b), "persistent_keepalive_interval=0")
	p.set(p.ca, "public_key="+hexPublic(p.kb), "persistent_keepalive_interval=25")
	p.wantHandshake(p.ca)
	p.wantHandshake(p.cb)
}

func TestEndpointIsWhereThePeerWasHeardLast(t *testing.T) {
	p := newTestPair(t)
	p.speak()
	p.wantEndpoint(p.cb, p.port(p.a))
	p.set(p.ca, "listen_port=0")
	p.set(p.ca, "public_key="+hexPublic(p.kb), "persistent_keepalive_interval=0")
	p.set(p.ca, "public_key="+hexPublic(p.kb), "persistent_keepalive_interval=25") // sends one
	p.wantEndpoint(p.cb, p.port(p.a))
}

// Also when it is the same as was set before: the peer has roamed since.
func TestEndpointThatIsSetIsWhereThePeerIs(t *testing.T) {
	p := newTestPair(t)
	const told = "127.0.0.1:9"
	p.set(p.cb, "public_key="+hexPublic(p.ka), "endpoint="+told)
	p.speak()
	p.wantEndpoint(p.cb, p.port(p.a))
	p.set(p.cb, "public_key="+hexPublic(p.ka), "endpoint="+told)
	p.wantEndpoint(p.cb, told)
	p.set(p.cb, "public_key="+hexPublic(p.ka), "allowed_ip=10.0.0.0/8")
	p.wantEndpoint(p.cb, told)
}

func TestReplacedPeerHasNoHistory(t *testing.T) {
	p := newTestPair(t)
	p.speak()
	p.set(p.cb, "replace_peers=true", "public_key="+hexPublic(p.ka), "allowed_ip=::/0")
	got := p.cb.ask("get=1\n\n")
	_, got, _ = strings.Cut(got, "public_key=")
	if want := hexPublic(p.ka) + peerLines + countLines + "allowed_ip=::/0\nerrno=0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// device.c, wg_stop and wg_open.
func TestDownForgetsSessionsAndKeepsTheRest(t *testing.T) {
	p := newTestPair(t)
	p.speak()
	before := p.cb.ask("get=1\n\n")
	p.b.follow(false)
	if after := p.cb.ask("get=1\n\n"); after != before {
		t.Errorf("down it says %q, up it said %q", after, before)
	}
	if n := len(p.b.engine.Status().Peers); n != 0 {
		t.Errorf("the engine has %d peers while the interface is down", n)
	}
	p.b.follow(true)
	if s := p.b.engine.Status(); len(s.Peers) != 1 || s.Peers[0].Up {
		t.Errorf("up again: got %+v, want a peer without a session", s.Peers)
	}
	p.wantEndpoint(p.cb, p.port(p.a))
}

func TestPeersSetWhileDownAreThereWhenUp(t *testing.T) {
	d := newTestDevice(t, false)
	c := dial(t, d)
	c.want("set=1\npublic_key="+hexA+"\nendpoint=127.0.0.1:9\npersistent_keepalive_interval=25\n\n", "errno=0\n")
	if n := len(d.engine.Status().Peers); n != 0 {
		t.Errorf("the engine has %d peers while the interface is down", n)
	}
	d.follow(true)
	if s := d.engine.Status(); len(s.Peers) != 1 || s.Peers[0].PublicKey != keyA {
		t.Errorf("got peers %+v", s.Peers)
	}
}

func TestNothingIsSentBeforeThereIsAReason(t *testing.T) {
	p := newTestPair(t)
	p.set(p.ca, "public_key="+hexPublic(p.kb), "endpoint="+p.port(p.b), "allowed_ip=10.0.0.0/8")
	p.set(p.cb, "public_key="+hexPublic(p.ka), "endpoint="+p.port(p.a), "allowed_ip=10.0.0.0/8")
	for _, d := range []*Device{p.a, p.b} {
		if s := d.engine.Status().Peers[0]; s.Attempts != 0 || s.TxBytes != 0 {
			t.Errorf("got %d attempts and %d bytes, want silence", s.Attempts, s.TxBytes)
		}
	}
}
