package preload

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestHostsAreReadAsLibcReadsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	text := "# nobody\n\n127.0.0.1\tlocalhost  # here\n::1 localhost ip6-localhost\n" +
		"192.0.2.1 Host.Test host alias\n192.0.2.2 host.test\n192.0.2.1 again\nno.address name\n192.0.2.3\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h := hostsOf(path)
	for _, tt := range []struct {
		name      string
		want      []string
		canonical string
	}{
		{"localhost", []string{"127.0.0.1", "::1"}, "localhost"},
		{"HOST.test.", []string{"192.0.2.1", "192.0.2.2"}, "Host.Test"},
		{"alias", []string{"192.0.2.1"}, "Host.Test"},
		{"again", []string{"192.0.2.1"}, "again"},
		{"name", nil, ""},
		{"here", nil, ""},
	} {
		var got []string
		addrs, canonical := h.byName(tt.name)
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if !slices.Equal(got, tt.want) || canonical != tt.canonical {
			t.Errorf("%s: got %v, %q, want %v, %q", tt.name, got, canonical, tt.want, tt.canonical)
		}
	}
	if got := h.byAddress(netip.MustParseAddr("::ffff:192.0.2.1")); !slices.Equal(got, []string{"Host.Test", "host", "alias"}) {
		t.Errorf("names of 192.0.2.1: got %v", got)
	}
	if got := hostsOf(path + ".none"); got != nil {
		t.Errorf("a file that is not there has %v", got)
	}
}

func TestServicesAreReadAsLibcReadsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services")
	text := "http 80/tcp www # web\ndomain 53/tcp\ndomain 53/udp\nbroken\nworse x/tcp\nlarge 70000/tcp\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := servicesOf(path)
	for _, tt := range []struct {
		name, protocol string
		want           uint16
	}{{"http", "tcp", 80}, {"www", "tcp", 80}, {"HTTP", "tcp", 0}, {"http", "udp", 0}, {"domain", "udp", 53}, {"large", "tcp", 0}, {"worse", "tcp", 0}} {
		if got, known := s.port(tt.name, tt.protocol); got != tt.want || known != (tt.want != 0) {
			t.Errorf("%s/%s: got %d, want %d", tt.name, tt.protocol, got, tt.want)
		}
	}
	if got, _ := s.name(80, "tcp"); got != "http" {
		t.Errorf("80/tcp: got %q, want http", got)
	}
}
