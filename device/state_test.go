package device

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/wg"
)

// A story is a state to which set operations are done.
type story struct {
	*testing.T
	state *state
}

func newStory(t *testing.T) *story { return &story{t, newState()} }

// set applies an operation whose lines are separated by spaces. A and B stand
// for keys of peers.
func (s *story) set(text string) applied {
	s.Helper()
	text = strings.NewReplacer("=A", "="+hexA, "=B", "="+hexB).Replace(text)
	return s.state.apply(mustParse(s.T, strings.Fields(text)...))
}

// want compares the peers and their allowed IPs, in order, with a text such as
// "A 10.0.0.0/8 ::/0, B".
func (s *story) want(want string) {
	s.Helper()
	var got []string
	allowed := s.state.allowedIPs()
	for _, p := range s.state.ordered() {
		name := "A"
		if p.key == keyB {
			name = "B"
		}
		for _, a := range allowed[p] {
			name += " " + a.String()
		}
		if n := len(allowed[p]); n != p.allowed {
			s.Errorf("%s: counts %d allowed IPs and has %d", name, p.allowed, n)
		}
		got = append(got, name)
	}
	if text := strings.Join(got, ", "); text != want {
		s.Errorf("got peers %q, want %q", text, want)
	}
}

func TestPeersAndAllowedIPsKeepTheirOrder(t *testing.T) {
	s := newStory(t)
	s.set("public_key=B allowed_ip=10.3.0.0/16 allowed_ip=::/0 allowed_ip=10.1.0.0/16 public_key=A")
	s.want("B 10.3.0.0/16 ::/0 10.1.0.0/16, A")
	s.set("public_key=B allowed_ip=10.3.0.0/16 allowed_ip=10.2.0.0/16")
	s.want("B 10.3.0.0/16 ::/0 10.1.0.0/16 10.2.0.0/16, A")
}

func TestAnAllowedIPBelongsToOnePeer(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A allowed_ip=10.0.0.0/8 allowed_ip=::/0 public_key=B allowed_ip=10.0.0.0/8")
	s.want("A ::/0, B 10.0.0.0/8")
	s.set("public_key=A allowed_ip=10.9.9.9/8")
	s.want("A ::/0 10.0.0.0/8, B")
}

func TestAnAllowedIPIsRemovedFromItsPeerOnly(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A allowed_ip=10.0.0.0/8 allowed_ip=::/0 public_key=B")
	s.set("public_key=B allowed_ip=-10.0.0.0/8")
	s.want("A 10.0.0.0/8 ::/0, B")
	s.set("public_key=A allowed_ip=-10.0.0.0/8 allowed_ip=-10.0.0.0/9")
	s.want("A ::/0, B")
}

func TestReplaceAllowedIPsLeavesTheOtherPeers(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A allowed_ip=10.0.0.0/8 public_key=B allowed_ip=::/0")
	s.set("public_key=A replace_allowed_ips=true allowed_ip=192.168.0.0/16")
	s.want("A 192.168.0.0/16, B ::/0")
	s.set("public_key=A allowed_ip=::/0 replace_allowed_ips=true") // the flag goes first, wherever it stands
	s.want("A ::/0, B")
}

func TestRemovedPeerTakesItsAllowedIPsWithIt(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A allowed_ip=10.0.0.0/8 public_key=B allowed_ip=::/0")
	s.set("public_key=A remove=true allowed_ip=192.168.0.0/16")
	s.want("B ::/0")
	if n := len(s.state.owners); n != 1 {
		t.Errorf("got %d allowed IPs, want 1", n)
	}
	s.set("public_key=A remove=true") // is not there: no error
	s.want("B ::/0")
}

func TestUpdateOnlyMakesNoPeer(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A public_key=B update_only=true allowed_ip=::/0")
	s.want("A")
	s.set("public_key=A update_only=true allowed_ip=::/0")
	s.want("A ::/0")
}

func TestReplacePeersBeginsAnew(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A allowed_ip=10.0.0.0/8 endpoint=192.0.2.1:1 persistent_keepalive_interval=5")
	a := s.set("replace_peers=true public_key=B public_key=A")
	s.want("B, A")
	if p := s.state.peers[keyA]; p.endpoint.IsValid() || p.keepalive != 0 {
		t.Errorf("the peer still has %+v", *p)
	}
	if !a.renewed[keyA] || a.renewed[keyB] {
		t.Errorf("got renewed peers %v, want that of A alone", a.renewed)
	}
	if a := s.set("public_key=B remove=true public_key=B"); !a.renewed[keyB] {
		t.Error("a peer removed and added in one operation is not renewed")
	}
}

func TestOwnKeyIsNoPeer(t *testing.T) {
	private := wg.NewPrivateKey()
	own := private.Public()
	s := newStory(t)
	s.state.apply(&change{peers: []peerChange{{publicKey: own}, {publicKey: keyA}}})
	s.state.apply(&change{privateKey: &private}) // netlink.c, wg_set_device
	s.want("A")
	s.state.apply(&change{peers: []peerChange{{publicKey: own, allowedIPs: []allowedIPChange{{prefix: netip.MustParsePrefix("::/0")}}}}})
	s.want("A")
	// Another key, and the peer may come.
	other := wg.NewPrivateKey()
	if a := s.state.apply(&change{privateKey: &other, peers: []peerChange{{publicKey: own}}}); !a.key {
		t.Error("the change of the key goes unnoticed")
	}
	if s.state.peers[own] == nil {
		t.Error("the peer that has our old key is refused")
	}
	if a := s.state.apply(&change{privateKey: &other}); a.key {
		t.Error("the same key counts as another")
	}
}

func TestWhatIsNotSaidStays(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A endpoint=192.0.2.1:1 persistent_keepalive_interval=25 allowed_ip=::/0 preshared_key=" + hexB)
	s.set("public_key=A")
	want := wg.Peer{
		PublicKey: keyA, Endpoint: wg.Endpoint{Host: "192.0.2.1", Port: 1}, Keepalive: 25 * time.Second,
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("::/0")},
	}
	got := s.state.config()[0]
	if got.PublicKey != want.PublicKey || got.Endpoint != want.Endpoint || got.Keepalive != want.Keepalive ||
		!slices.Equal(got.AllowedIPs, want.AllowedIPs) || hexOf(got.PresharedKey.Base64()) != hexB {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Down and up again: what was counted goes on, and the peer is where it was
// last heard of.
func TestReportAddsUpWhatTheEngineForgot(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A endpoint=192.0.2.1:1")
	at := time.Unix(1700000000, 5)
	roamed := netip.MustParseAddrPort("198.51.100.1:2")
	s.state.settle(wg.Status{Peers: []wg.PeerStatus{{PublicKey: keyA, RxBytes: 10, TxBytes: 20, LastHandshake: at, Endpoint: roamed, Accepted: [12]byte{7}}}})
	r := s.state.report(wg.Status{Peers: []wg.PeerStatus{{PublicKey: keyA, RxBytes: 1, TxBytes: 2}, {PublicKey: keyB}}})
	if len(r.peers) != 1 {
		t.Fatalf("got %d peers, want 1", len(r.peers))
	}
	if p := r.peers[0]; p.rx != 11 || p.tx != 22 || p.handshake != at.UnixNano() || p.endpoint != roamed {
		t.Errorf("got %+v", p)
	}
	c := s.state.config()[0]
	if c.Endpoint.Host != "198.51.100.1" || c.Endpoint.Port != 2 {
		t.Errorf("the peer is looked for at %v", c.Endpoint)
	}
	if c.Accepted != [12]byte{7} {
		t.Error("what the peer sent before can be replayed")
	}
}

// The engine says how long ago the handshake was, to a clock that goes on
// between two questions: still it is one handshake.
func TestTimeOfAHandshakeStandsStill(t *testing.T) {
	s := newStory(t)
	s.set("public_key=A")
	at := time.Unix(1700000000, 999_999_900)
	look := func(t time.Time) int64 {
		return s.state.report(wg.Status{Peers: []wg.PeerStatus{{PublicKey: keyA, LastHandshake: t}}}).peers[0].handshake
	}
	first, second, next := look(at), look(at.Add(time.Microsecond)), look(at.Add(2*time.Minute))
	if first != second || first != at.UnixNano() {
		t.Errorf("got %d then %d, want %d", first, second, at.UnixNano())
	}
	if next != at.Add(2*time.Minute).UnixNano() {
		t.Errorf("a new handshake: got %d", next)
	}
}
