package wg

import (
	"net/netip"
	"testing"
	"time"
)

// A key that is read is the key that was written, and no other text is it.
func FuzzKeys(f *testing.F) {
	f.Add(fixedKey(1).Base64())
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParsePublicKey(s); err == nil && k.String() != s {
			t.Fatalf("%q is the public key %v", s, k)
		}
		if k, err := ParsePresharedKey(s); err == nil && k.Base64() != s {
			t.Fatalf("%q is the preshared key %s", s, k.Base64())
		}
		if k, err := ParsePrivateKey(s); err == nil {
			again, err := ParsePrivateKey(k.Base64())
			if err != nil || !again.Equal(k) {
				t.Fatalf("%q is another key the second time: %v", s, err)
			}
		}
	})
}

// §5.1: whatever the clock says, a label is later than the one before it, and
// says no more than 16 ms.
func FuzzTimestampsOnlyGoForward(f *testing.F) {
	f.Add(int64(1e9), int64(5), int64(-1e9), int64(0))
	f.Add(int64(1<<62), int64(999999999), int64(-1<<62), int64(1))
	f.Fuzz(func(t *testing.T, sec, nsec, laterSec, laterNsec int64) {
		const limit = 1 << 40 // thirty thousand years each way
		first := newTimestamp(time.Unix(sec%limit, nsec%1e9), timestamp{})
		second := newTimestamp(time.Unix(laterSec%limit, laterNsec%1e9), first)
		third := newTimestamp(time.Unix(sec%limit, nsec%1e9), second)
		if !second.later(first) || !third.later(second) {
			t.Fatalf("%x, then %x, then %x", first, second, third)
		}
	})
}

// §2: the trie agrees with a list searched from end to end, also when a peer is
// taken out of it.
func FuzzAllowedIPs(f *testing.F) {
	f.Add([]byte{1, 8, 10, 0, 0, 0, 2, 16, 10, 1, 0, 0, 3, 32, 10, 1, 2, 3, 1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 600 {
			return
		}
		peers := [4]*peer{{}, {}, {}, {}}
		var fast allowedIPs
		var slow slowIPs
		var asked []netip.Addr
		for s := (&script{b}); len(s.b) > 0; {
			to, bits, a := peers[s.byte()%4], int(s.byte()), netip.AddrFrom4([4]byte(pad(s.bytes(4), 4)))
			if bits > 64 { // the same bits, in the middle of an IPv6 address
				a4 := a.As4()
				a = netip.AddrFrom16([16]byte{0: 0xfd, 6: a4[0], 7: a4[1], 8: a4[2], 9: a4[3]})
			}
			p := netip.PrefixFrom(a, bits%(a.BitLen()+1))
			fast.insert(p, to)
			slow.insert(p, to)
			asked = append(asked, a, p.Masked().Addr())
		}
		agree := func(fast *allowedIPs, slow slowIPs) {
			for _, a := range asked {
				if fast.lookup(a) != slow.lookup(a) {
					t.Fatalf("%v goes to the wrong peer", a)
				}
			}
		}
		agree(&fast, slow)
		less := allowedIPs{v4: fast.v4.without(peers[0]), v6: fast.v6.without(peers[0])}
		var rest slowIPs
		for _, e := range slow {
			if e.peer != peers[0] {
				rest = append(rest, e)
			}
		}
		agree(&less, rest)
		agree(&fast, slow) // which is not changed
	})
}

func pad(b []byte, n int) []byte { return append(b[:len(b):len(b)], make([]byte, n-len(b))...) }
