package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The values of options, from whoever writes them: what is taken has the
// meaning that it shows when it is written out.
func FuzzOptionValues(f *testing.F) {
	for _, s := range []string{
		"auto", "host", "10.0.0.1, fd00::1", "tcp:[fe80::1%eth0]:80", "tcp:host.example:80", "handshake", "none", "15", "2m",
		"500ms", "a.example,b", "1420", "10.0.0.0/8,::/0", "192.0.2.1/33", "vpn.example:51820", "yes",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMode(s); err == nil && m != s {
			t.Fatalf("mode %q is %q", s, m)
		}
		if w, err := ParseWait(s); err == nil {
			if again, err := ParseWait(w.String()); err != nil || again != w {
				t.Fatalf("%q is %v, and again %v, %v", s, w, again, err)
			}
		}
		if mode, addrs, err := ParseDNS(s); err == nil && (mode == DNSFile) != (len(addrs) > 0) {
			t.Fatalf("%q is mode %v with %v", s, mode, addrs)
		}
		if d, err := ParseTimeout(s); err == nil && (d <= 0 || d > 1<<62) {
			t.Fatalf("%q is a time of %v", s, d)
		} else if err == nil {
			if again, err := ParseTimeout(d.Round(time.Nanosecond).String()); err != nil || again != d {
				t.Fatalf("%q is %v, and again %v, %v", s, d, again, err)
			}
		}
		if list, err := ParseSearch(s); err == nil {
			wantSameSearch(t, list)
		}
		if list, err := ParsePrefixes(s); err == nil {
			for _, p := range list {
				if !p.IsValid() {
					t.Fatalf("%q has the prefix %v", s, p)
				}
			}
		}
		if mtu, err := ParseMTU(s); err == nil && (mtu < 68 || mtu > 65535) {
			t.Fatalf("%q is an MTU of %d", s, mtu)
		}
		if e, err := parseEndpoint(s); err == nil && (e.Host == "" || e.Port == 0) {
			t.Fatalf("%q is the endpoint %+v", s, e)
		}
		if servers, _, err := parseNameservers(s); err == nil {
			for _, a := range servers {
				if !a.IsValid() {
					t.Fatalf("%q has the server %v", s, a)
				}
			}
		}
	})
}

func wantSameSearch(t *testing.T, list []string) {
	t.Helper()
	again, err := ParseSearch(strings.Join(list, ","))
	if err != nil || strings.Join(again, " ") != strings.Join(list, " ") {
		t.Fatalf("%q, and again %q, %v", list, again, err)
	}
	for _, d := range list {
		if _, err := netip.ParseAddr(d); err == nil {
			t.Fatalf("the address %s is a search domain", d)
		}
	}
}
