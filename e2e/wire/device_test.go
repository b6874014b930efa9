package wire

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

// nDevices numbers the interfaces of adit device: their sockets are all in one
// folder, whatever the namespace.
var nDevices atomic.Int32

// aditDevice starts adit device on a machine, with a configuration in the lines
// of the cross-platform interface, and brings its interface up.
func (w *world) aditDevice(t *testing.T, on *lab.Namespace, config string, addrs, routes []netip.Prefix, src ...netip.Addr) *suite.Program {
	t.Helper()
	if !lab.AsRoot() {
		suite.Skip(t, "not root: adit device makes an interface")
	}
	name := fmt.Sprintf("adit%d", nDevices.Add(1))
	p := suite.Start(t, on, w.lab.Root(), suite.Adit(), "device", "-f", name)
	setDevice(t, p, name, config)
	if err := on.Do(func() error { return lab.BringUp(name, addrs, routes, src...) }); err != nil {
		t.Fatalf("bring %s up: %v", name, err)
	}
	return p
}

// setDevice waits for the socket and configures what is behind it.
func setDevice(t *testing.T, p *suite.Program, name, config string) {
	t.Helper()
	path := "/var/run/wireguard/" + name + ".sock"
	conn, err := net.Dial("unix", path)
	for end := time.Now().Add(suite.Deadline); err != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		conn, err = net.Dial("unix", path)
	}
	if err != nil {
		t.Fatalf("adit device: %v: %s", err, p.Said())
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(suite.Deadline))
	fmt.Fprintf(conn, "set=1\n%s\n\n", strings.TrimRight(config, "\n"))
	if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil || answer != "errno=0\n" {
		t.Fatalf("adit device refuses its configuration: %q (%v)", answer, err)
	}
}

// aditDeviceServer starts adit device on the server.
func (w *world) aditDeviceServer(t *testing.T) *suite.Program {
	t.Helper()
	config := peer.Device(w.server.Private, serverPort) + peer.Remote(w.client.Public, "", "", clientV4, clientV6)
	return w.aditDevice(t, w.Server, config, nil, []netip.Prefix{lab.TunnelV4, lab.TunnelV6}, lab.ServiceV4, lab.ServiceV6)
}

// aditDeviceClient starts adit device on the client.
func (w *world) aditDeviceClient(t *testing.T, endpoint netip.AddrPort) *suite.Program {
	t.Helper()
	config, far := w.clientConfig(endpoint)
	return w.aditDevice(t, w.Client, config, []netip.Prefix{clientV4, clientV6}, far, clientV4.Addr(), clientV6.Addr())
}

// device.c: without a packet to send and without PersistentKeepalive an interface
// that comes up says nothing.
func TestDeviceWithoutTrafficIsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	ear := w.listen(t)
	w.aditDeviceClient(t, endpointV4)
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, p := range ear.Packets() {
			t.Fatalf("%v: want silence", p)
		}
	}
}
