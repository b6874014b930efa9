package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/e2e/services"

	"github.com/vishvananda/netlink"
)

// someMegabytes is a download that lasts long enough to be disturbed.
const someMegabytes = 30_000_000

// aDownload starts a download through the tunnel of which the probe prints the
// hash. The command begins at the first line of its input, and stays until the
// input ends: adit's sockets are open as long.
func (w *world) aDownload(t *testing.T, file string) *stream {
	t.Helper()
	url := fmt.Sprintf("http://%s/bytes?size=%d&seed=1", lab.ServiceV4, someMegabytes)
	return startStream(t, w.run("-c", file, "--", "sh", "-c", `echo up; read x; "$1" hash "$2" && { read x || :; }`, "sh", w.probe, url))
}

// watchSending lets the oracle judge what the host sends, and nothing of what it
// gets.
func watchSending(t *testing.T, endpoints ...netip.AddrPort) {
	t.Helper()
	o, err := oracle.Watch(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r, err := o.Stop()
		if err != nil {
			t.Error(err)
		}
		for _, l := range r.Leaks {
			if strings.Contains(l, " out ") {
				t.Errorf("sent outside of the tunnel: %s", l)
			}
		}
		if r.Tunnel == 0 {
			t.Error("the leak oracle has seen no packet of the tunnel")
		}
	})
}

// Garbage on the UDP socket is answered by nothing and disturbs nothing
// (whitepaper §5.1: silence is a virtue).
func TestGarbageOnTheSocketIsIgnored(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	watchSending(t, endpointV4)
	s := w.aDownload(t, file)
	s.want("up")
	ports := udpPorts(t)
	if len(ports) == 0 {
		t.Fatal("adit has no UDP socket")
	}
	var attacker net.PacketConn
	if err := w.Server.Do(func() (err error) {
		attacker, err = net.ListenPacket("udp4", lab.ServerV4.Addr().String()+":0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer attacker.Close()
	stop, stopped, sent := make(chan struct{}), make(chan struct{}), new(atomic.Int64)
	go func() {
		defer close(stopped)
		rng := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			port := ports[int(sent.Load())%len(ports)]
			if _, err := attacker.WriteTo(garbage(rng), &net.UDPAddr{IP: lab.HostV4.Addr().AsSlice(), Port: port}); err == nil {
				sent.Add(1)
			}
		}
	}()
	flown := func(n int64) {
		t.Helper()
		if !settle(deadline, func() bool { return sent.Load() >= n }) {
			t.Errorf("%d datagrams of garbage were sent, want %d", sent.Load(), n)
		}
	}
	flown(500)
	first := sent.Load()
	s.send("\n")
	s.want(services.StreamHash(1, someMegabytes))
	during := sent.Load() - first
	flown(2000)
	close(stop)
	<-stopped
	s.in.Close()
	s.wantEnd(0)
	if t.Logf("%d datagrams of garbage during the download, %d in all", during, sent.Load()); during < 500 {
		t.Errorf("only %d datagrams of garbage were sent during the download", during)
	}
	attacker.SetReadDeadline(time.Now())
	if n, _, err := attacker.ReadFrom(make([]byte, 2048)); err == nil {
		t.Errorf("garbage was answered with %d bytes", n)
	}
	if s.said() != "" {
		t.Errorf("not silent: %s", s.said())
	}
	w.wantNothingSince(t, before)
}

// garbage returns noise, or what begins like a message of WireGuard's and is cut
// short, too long, or of no session: §5.4.
func garbage(rng *rand.Rand) []byte {
	sizes := []int{0, 1, 3, 4, 15, 16, 31, 32, 64, 92, 147, 148, 149, 1024, 1452, 1500, 9000, 65507}
	b := make([]byte, sizes[rng.IntN(len(sizes))])
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	if kind := rng.IntN(6); kind > 0 && len(b) >= 4 {
		copy(b, []byte{byte(kind), 0, 0, 0}) // 5 is none
	}
	return b
}

// udpPorts returns the ports of the UDP sockets of the host: proc_net(5).
func udpPorts(t *testing.T) (ports []int) {
	t.Helper()
	for _, file := range []string{"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"} {
		b, _ := os.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 2 || f[0] == "sl" {
				continue
			}
			_, port, _ := strings.Cut(f[1], ":")
			if n, err := strconv.ParseUint(port, 16, 16); err == nil {
				ports = append(ports, int(n))
			}
		}
	}
	return ports
}

// A peer that answers from ten addresses in turn is followed from one to the
// next (§2.1, roaming), and nothing is lost of it.
func TestPeerThatAnswersFromTenAddressesIsFollowed(t *testing.T) {
	w := enter(t)
	r := startRelay(t, w)
	file := conf{endpoint: r.ends[0].String()}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	watchSending(t, r.ends...)
	s := w.aDownload(t, file)
	s.want("up")
	s.send("\n")
	s.want(services.StreamHash(1, someMegabytes))
	s.in.Close()
	s.wantEnd(0)
	used := 0
	for i := range r.heard {
		if r.heard[i].Load() > 0 {
			used++
		}
	}
	if t.Logf("adit has sent to %d of %d addresses", used, len(r.ends)); used < 8 {
		t.Errorf("adit has sent to %d addresses, want it to follow the peer to all ten", used)
	}
	w.wantNothingSince(t, before)
}

// A relay stands before the peer and passes its datagrams on from ten addresses.
type relay struct {
	ends  []netip.AddrPort
	socks []*net.UDPConn // one per end
	heard [10]atomic.Int64
	peer  *net.UDPConn // to the peer
	user  atomic.Pointer[netip.AddrPort]
	done  sync.WaitGroup
}

func startRelay(t *testing.T, w *world) *relay {
	t.Helper()
	r := new(relay)
	if err := w.Server.Do(func() error { return r.open() }); err != nil {
		t.Fatal(err)
	}
	for i, c := range r.socks {
		r.done.Go(func() { r.inwards(i, c) })
	}
	r.done.Go(r.outwards)
	t.Cleanup(func() {
		for _, c := range append(r.socks, r.peer) {
			c.Close()
		}
		r.done.Wait()
		w.Server.Do(func() error { return r.addresses(netlink.AddrDel) })
	})
	return r
}

// open opens the sockets; the caller is in the server's namespace.
func (r *relay) open() error {
	if err := r.addresses(netlink.AddrAdd); err != nil {
		return err
	}
	for i := range r.heard {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(relayAddress(i), 0)))
		if err != nil {
			return err
		}
		r.socks = append(r.socks, c)
		r.ends = append(r.ends, c.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	var err error
	r.peer, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(endpointV4))
	return err
}

func relayAddress(i int) netip.Addr {
	a := lab.ServerV4.Addr().As4()
	a[3] = byte(100 + i)
	return netip.AddrFrom4(a)
}

// addresses adds or removes the relay's addresses.
func (r *relay) addresses(change func(netlink.Link, *netlink.Addr) error) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	for i := range r.heard {
		a, err := netlink.ParseAddr(relayAddress(i).String() + "/24")
		if err == nil {
			err = change(link, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inwards passes on what comes to end i.
func (r *relay) inwards(i int, c *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		r.heard[i].Add(1)
		r.user.Store(&from)
		r.peer.Write(b[:n])
	}
}

// outwards passes on what the peer sends, from the next address every time.
func (r *relay) outwards() {
	b := make([]byte, 1<<16)
	for i := 0; ; i++ {
		n, err := r.peer.Read(b)
		if err != nil {
			return
		}
		if to := r.user.Load(); to != nil {
			r.socks[i%len(r.socks)].WriteToUDPAddrPort(b[:n], *to)
		}
	}
}

// A clock that is set back between two runs makes the peer, which has seen the
// later time, deaf to a client that does not remember it (§5.1).
func TestClockSetBackBetweenRuns(t *testing.T) {
	w := enter(t)
	t.Cleanup(func() { w.renewPeer(t) })
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	stamp := w.stampFile(t)
	// As if the clock had been an hour ahead when the first of these ran.
	w.writeStamp(t, stamp, time.Now().Add(time.Hour))
	for range 3 {
		if r := do(t, w.run("-c", file, "--", "echo", "started")); r.stdout != "started\n" || r.took > deadline/9 {
			t.Fatalf("got status %d, stdout %q after %v\n%s", r.code, r.stdout, r.took, r.stderr)
		}
	}
	// The same without a memory: the control.
	if err := os.Remove(stamp); err != nil {
		t.Fatal(err)
	}
	if r := do(t, w.run("-c", file, "--wait-timeout", "1s", "--", "true")); r.code != 124 {
		t.Errorf("without a memory of the time the peer is not deaf: status %d", r.code)
	}
}

// stampFile returns where adit keeps the time stamp of the usual client's last
// initiation: launcher/lock.go.
func (w *world) stampFile(t *testing.T) string {
	t.Helper()
	public, err := base64.StdEncoding.DecodeString(w.clients[someClient].Public)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append([]byte("adit key lock "), public...))
	path := w.User.Runtime + "/adit/key-" + hex.EncodeToString(sum[:8])
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeStamp writes a time stamp as TAI64N (§5.1) with adit's code.
func (w *world) writeStamp(t *testing.T, path string, at time.Time) {
	t.Helper()
	code := func(key, text []byte) []byte {
		m := hmac.New(sha256.New, key)
		m.Write(text)
		return m.Sum(nil)
	}
	stamp := binary.BigEndian.AppendUint64(nil, 1<<62+10+uint64(at.Unix()))
	stamp = binary.BigEndian.AppendUint32(stamp, 0)
	seal := code([]byte(w.clients[someClient].Private), []byte("adit time stamp"))
	if err := os.WriteFile(path, append(stamp, code(seal, stamp)...), 0o600); err != nil {
		t.Fatal(err)
	}
}
