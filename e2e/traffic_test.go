package e2e

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/services"
	"adit/e2e/suite"
)

const big = 200_000_000 // bytes of a big file

// at returns "host" or "[host]" for a URL.
func at(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// serviceOf returns the server's address in a's family.
func serviceOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return lab.ServiceV4
	}
	return lab.ServiceV6
}

func TestBigDownloadIsByteExact(t *testing.T) {
	w := enter(t)
	suite.Need(t, "curl", "sha256sum")
	want := services.StreamHash(1, big)
	for _, c := range []struct {
		name    string
		outside netip.AddrPort
		inside  netip.Addr
	}{
		{"IPv4 in IPv4", endpointV4, lab.ServiceV4},
		{"IPv6 in IPv4", endpointV4, lab.ServiceV6},
		{"IPv4 in IPv6", endpointV6, lab.ServiceV4},
		{"IPv6 in IPv6", endpointV6, lab.ServiceV6},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.outside == endpointV6 {
				w.renewPeer(t)
			}
			w.watch(t)
			url := fmt.Sprintf("http://%s/bytes?size=%d&seed=1", at(c.inside), big)
			cmd := w.in(t, conf{endpoint: c.outside.String()}, "sh", "-c", `curl -sS "$1" | sha256sum`, "sh", url)
			wantStdout(t, cmd, want+"  -\n")
		})
	}
}

func TestBigUploadIsByteExact(t *testing.T) {
	w := enter(t)
	suite.Need(t, "curl")
	path := filepath.Join(w.Dir, "upload")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	if _, err := io.Copy(f, services.Stream(2, big)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	want := fmt.Sprintln(services.StreamHash(2, big), big)
	for _, a := range []netip.Addr{lab.ServiceV4, lab.ServiceV6} {
		t.Run(a.String(), func(t *testing.T) {
			w.watch(t)
			wantStdout(t, w.in(t, conf{}, "curl", "-sS", "-H", "Expect:", "-T", path, "http://"+at(a)+"/hash"), want)
		})
	}
}

func TestTwoHundredConnectionsAtOnce(t *testing.T) {
	w := enter(t)
	const size = 300_000
	want := services.StreamHash(3, size)
	for _, host := range []string{at(lab.ServiceV4), at(lab.ServiceV6)} {
		t.Run(host, func(t *testing.T) {
			w.watch(t)
			url := fmt.Sprintf("http://%s/bytes?size=%d&seed=3", host, size)
			wantStdout(t, w.in(t, conf{}, w.probe, "parallel", "200", url, want), "200\n")
		})
	}
}

func TestDatagramsOfEverySizeComeBack(t *testing.T) {
	w := enter(t)
	for _, a := range []netip.Addr{lab.ServiceV4, lab.ServiceV6} {
		for _, sizes := range [][2]string{{"1", "1400"}, {"5000", "5000"}, {"60000", "60000"}} {
			t.Run(a.String()+"/"+strings.Join(sizes[:], "-"), func(t *testing.T) {
				w.watch(t)
				to := netip.AddrPortFrom(a, 7).String()
				wantStdout(t, w.in(t, conf{}, w.probe, "udp", to, sizes[0], sizes[1]), "all back\n")
			})
		}
	}
}

// TestOneFamilyInsideIsEnough: without an address of a family the tunnel has no
// route of it, programs are told at once, and names work by the other.
func TestOneFamilyInsideIsEnough(t *testing.T) {
	w := enter(t)
	suite.Need(t, "curl")
	for i, a := range clientAddresses(someClient) {
		other := []netip.Addr{lab.ServiceV6, lab.ServiceV4}[i]
		for _, e := range endpoints {
			t.Run(fmt.Sprintf("%v by %v", a.Addr(), e.Addr()), func(t *testing.T) {
				if e == endpointV6 {
					w.renewPeer(t)
				}
				w.watch(t)
				c := conf{addresses: []netip.Prefix{a}, dns: serviceOf(a.Addr()).String(), endpoint: e.String()}
				want := a.Addr().String() + "\n"
				wantStdout(t, w.in(t, c, "curl", "-sS", "-m", "30", "http://"+at(serviceOf(a.Addr()))+"/whoami"), want)
				wantStdout(t, w.in(t, c, "curl", "-sS", "-m", "30", "http://web.test/whoami"), want)
				wantStdout(t, w.in(t, c, w.probe, "get", "http://web.test/whoami"), want)
				wantStdout(t, w.in(t, c, w.probe, "dial", "tcp", netip.AddrPortFrom(other, 80).String()), "network is unreachable\n")
			})
		}
	}
}

func TestOptionsLeaveOneFamily(t *testing.T) {
	w := enter(t)
	for i, a := range clientAddresses(someClient) {
		option := []string{"-4", "-6"}[i]
		other := []netip.Addr{lab.ServiceV6, lab.ServiceV4}[i]
		t.Run(option, func(t *testing.T) {
			w.watch(t)
			file := conf{dns: lab.ServiceV4.String() + ", " + lab.ServiceV6.String()}.write(t, w)
			wantStdout(t, w.run(option, "-c", file, "--", w.probe, "get", "http://web.test/whoami"), a.Addr().String()+"\n")
			wantStdout(t, w.run(option, "-c", file, "--", w.probe, "dial", "tcp", netip.AddrPortFrom(other, 80).String()), "network is unreachable\n")
		})
	}
}

func TestPresharedKeyIsUsed(t *testing.T) {
	w := enter(t)
	w.watch(t)
	a := clientAddresses(pskClient)[0].Addr()
	wantStdout(t, w.in(t, conf{client: pskClient}, w.probe, "get", pages[0]), a.String()+"\n")
}

func TestHostWithoutIPv6(t *testing.T) {
	w := enter(t)
	if err := lab.DisableIPv6(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.EnableIPv6(); err != nil {
			t.Fatal(err)
		}
	})
	w.watch(t)
	a := clientAddresses(someClient)
	wantStdout(t, w.in(t, conf{}, w.probe, "get", pages[0], pages[1]), fmt.Sprintf("%v\n%v\n", a[0].Addr(), a[1].Addr()))
}

func TestMTUIsWhatWasAskedFor(t *testing.T) {
	w := enter(t)
	suite.Need(t, "ip", "ping")
	w.watch(t)
	file := conf{iface: "MTU = 1300"}.write(t, w)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"the file's", nil, "mtu 1300 "},
		{"the option's", []string{"--mtu", "1290"}, "mtu 1290 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := wantOK(t, w.run(append(append([]string{"-c", file}, c.args...), "--", "ip", "-o", "link")...))
			if !strings.Contains(got, c.want) {
				t.Errorf("got links %q, want %q", got, c.want)
			}
			wantStdout(t, w.run(append(append([]string{"-c", file}, c.args...), "--", w.probe, "udp", "10.9.0.1:7", "1250", "1350")...), "all back\n")
		})
	}
}

// With IPv4 inside IPv4 the path allows 1440, but wg-quick's 1420 is the most.
func TestMTUComesFromThePath(t *testing.T) {
	w := enter(t)
	suite.Need(t, "ip")
	got := wantOK(t, w.in(t, conf{}, "ip", "-o", "link"))
	if !strings.Contains(got, "mtu 1420 ") {
		t.Errorf("got links %q, want mtu 1420 on a path of 1500", got)
	}
}
