package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"adit/e2e/lab"

	"golang.org/x/sys/unix"
)

// A relay stands between client and server and makes the way long and bad: it
// holds every datagram for half of the delay in each direction, in order, and
// loses some. Handshakes are not lost: one that is costs five seconds, and that
// is not what is measured. It takes and gives as many datagrams with one system
// call as the kernel lets it (UDP_GRO, UDP_SEGMENT).
type relay struct {
	address netip.AddrPort // where the client finds it
	cmd     *exec.Cmd
	in      io.Closer
}

// A road is how long and how bad the way is.
type road struct {
	delay time.Duration // there and back
	loss  float64       // of each datagram, in each direction: 0.01 is one of a hundred
}

const (
	relayRole = "perf-relay"
	relayPort = 51821
)

// relayed starts a relay in front of the far end. In one round it is the same
// for all: its dice have the round's number for a seed.
func (w *world) relayed(r road) (*relay, error) {
	cmd := exec.Command(w.self, relayRole, r.delay.String(), strconv.FormatFloat(r.loss, 'g', -1, 64), strconv.Itoa(w.round))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.lab.Server.Do(cmd.Start); err != nil {
		return nil, err
	}
	x := &relay{netip.AddrPortFrom(lab.ServerV4.Addr(), relayPort), cmd, in}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		x.close()
		return nil, fmt.Errorf("the relay: %w", err)
	}
	return x, nil
}

func (r *relay) close() {
	r.in.Close()
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// relayMain is the relay, if this process is one.
func relayMain() {
	if len(os.Args) != 5 || os.Args[1] != relayRole {
		return
	}
	if err := relayRun(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "perf: relay:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func relayRun(args []string) error {
	delay, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	loss, err1 := strconv.ParseFloat(args[1], 64)
	seed, err2 := strconv.ParseUint(args[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	front, err := relaySocket(netip.AddrPortFrom(lab.ServerV4.Addr(), relayPort))
	if err != nil {
		return err
	}
	back, err := relaySocket(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		return err
	}
	if err := unix.Connect(back, &unix.SockaddrInet4{Port: serverPort, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("connect", err)
	}
	var client atomic.Pointer[unix.SockaddrInet4] // where it was last heard
	up := &lane{from: front, to: back, delay: delay / 2, loss: loss, dice: rand.New(rand.NewPCG(seed, 1))}
	up.heard = func(a *unix.SockaddrInet4) { client.Store(a) }
	down := &lane{from: back, to: front, delay: delay / 2, loss: loss, dice: rand.New(rand.NewPCG(seed, 2))}
	down.where = client.Load
	for _, l := range []*lane{up, down} {
		l.queue = make(chan *parcel, 1<<14) // more than a delay holds at any speed
		go l.take()
		go l.give()
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) // until whoever started us is done
	return nil
}

// relaySocket returns a blocking socket with much room and GRO.
func relaySocket(at netip.AddrPort) (int, error) {
	c, err := listenDatagrams(at, true)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return ownDescriptor(c)
}

// ownDescriptor returns a blocking descriptor for c's socket.
func ownDescriptor(c *net.UDPConn) (int, error) {
	f, err := c.File()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		return 0, os.NewSyscallError("dup", err)
	}
	return fd, os.NewSyscallError("fcntl", unix.SetNonblock(fd, false))
}

// A parcel is datagrams that came at once, all but the last of one size.
type parcel struct {
	data []byte
	size int   // of one
	due  int64 // CLOCK_MONOTONIC, when it goes on
}

// A lane is one direction: one goroutine takes, one gives.
type lane struct {
	from, to int // descriptors
	delay    time.Duration
	loss     float64
	dice     *rand.Rand
	queue    chan *parcel
	heard    func(*unix.SockaddrInet4)  // nil: of no interest
	where    func() *unix.SockaddrInet4 // nil: to is connected
	pool     sync.Pool                  // of parcels of 64 KiB
}

func (l *lane) take() {
	oob := make([]byte, 64)
	for {
		p, _ := l.pool.Get().(*parcel)
		if p == nil {
			p = &parcel{data: make([]byte, 64<<10)}
		}
		p.data = p.data[:cap(p.data)]
		n, oobn, _, from, err := unix.Recvmsg(l.from, p.data, oob, 0)
		if err != nil || n == 0 {
			continue // nobody listens there yet
		}
		if a, ok := from.(*unix.SockaddrInet4); ok && l.heard != nil {
			l.heard(a)
		}
		p.data, p.size, p.due = p.data[:n], groSize(oob[:oobn], n), monotonic()+l.delay.Nanoseconds()
		l.queue <- p
	}
}

// groSize returns how long each datagram is: udp(7), UDP_GRO.
func groSize(oob []byte, n int) int {
	messages, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_UDP && m.Header.Type == unix.UDP_GRO && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return n
}

func (l *lane) give() {
	for p := range l.queue {
		for now := monotonic(); now < p.due; now = monotonic() {
			time.Sleep(time.Duration(p.due - now))
		}
		for _, run := range survivors(p, l.loss, l.dice) {
			l.send(run, p.size)
		}
		l.pool.Put(p)
	}
}

// survivors returns what is left of a parcel, in runs of datagrams that go on
// together.
func survivors(p *parcel, loss float64, dice *rand.Rand) (runs [][]byte) {
	const transport = 4 // the message type of data: §5.4.6
	var start int
	for at := 0; at < len(p.data); at += p.size {
		if p.data[at] != transport || dice.Float64() >= loss {
			continue
		}
		if at > start {
			runs = append(runs, p.data[start:at])
		}
		start = min(at+p.size, len(p.data))
	}
	if start < len(p.data) {
		runs = append(runs, p.data[start:])
	}
	return runs
}

func (l *lane) send(run []byte, size int) {
	var to unix.Sockaddr
	if l.where != nil {
		a := l.where()
		if a == nil {
			return
		}
		to = a
	}
	var oob []byte
	if len(run) > size {
		oob = segmentSize(size)
	}
	unix.SendmsgN(l.to, run, oob, to, 0)
}

// segmentSize is the control message that has the kernel cut a buffer: udp(7).
func segmentSize(size int) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(b[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(size))
	return b
}
