package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"adit/e2e/lab"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Datagrams are sent as fast as they arrive: never more than a window of them
// are on their way, and the receiver says how many it has by a counter in
// shared memory, beside the tunnel. A sender that floods would measure how many
// are dropped in front of a tunnel, which costs the tunnel nothing; one of a
// fixed rate would measure the rate at which others have time to sleep. So every
// tunnel is as busy as it can be and hardly anything is lost. With windows of 128
// and 448 datagrams, and with a flood, the ratios of the processor time for a
// packet that arrived were the same within 0.05.
const (
	udpPort    = 5400
	udpHeaders = 20 + 8 // bytes, of IPv4 and UDP
	udpWindow  = 128    // datagrams: a batch of wireguard-go
	// udpStuck is how long nothing arrives before the window counts as lost.
	udpStuck = 10 * time.Millisecond
)

// A counter is shared by two processes.
type counter struct {
	n   *atomic.Uint64
	mem []byte
}

// openCounter maps the counter in a file, which it makes if need be.
func openCounter(path string) (*counter, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	f.Chmod(0o666) // the agent is another user; only the owner may, and it did
	if err := f.Truncate(4096); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &counter{(*atomic.Uint64)(unsafe.Pointer(&mem[0])), mem}, nil
}

func (c *counter) close() { unix.Munmap(c.mem) }

// A udpLoad is datagrams through the tunnel.
type udpLoad struct {
	size int  // bytes of the whole IP packet
	gso  bool // the programs have UDP_SEGMENT and UDP_GRO
	down bool
}

// segments is how many datagrams a program with GSO gives the kernel at once.
const segments = 32

// datagrams has the load carried and returns what it cost.
func (w *world) datagrams(s *session, l udpLoad) (figures, error) {
	o := order{Size: l.size - udpHeaders, Window: udpWindow, Seconds: w.seconds, Counter: w.lab.Dir + "/counter"}
	if l.gso {
		o.Segments = segments
	}
	count, err := openCounter(o.Counter)
	if err != nil {
		return nil, err
	}
	defer count.close()
	count.n.Store(0)
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	var a answer
	if l.down {
		a, err = w.datagramsDown(s, o)
	} else {
		a, err = w.datagramsUp(s, o)
	}
	if err != nil {
		return nil, err
	}
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	got := float64(count.n.Load())
	if got == 0 {
		return nil, errors.New("no datagram has arrived")
	}
	used := after.since(before)
	f := s.costs(got*float64(o.Size), a.Seconds, used)
	f["kpps"], f["us_packet"] = got/a.Seconds/1e3, used.cpu()*1e6/got
	f["lost"] = 100 * max(0, a.Sent-got) / a.Sent
	return f, nil
}

func (w *world) datagramsUp(s *session, o order) (a answer, err error) {
	var receiver *net.UDPConn
	err = w.lab.Server.Do(func() (err error) {
		receiver, err = listenDatagrams(netip.AddrPortFrom(lab.ServiceV4, udpPort), o.Segments > 1)
		return err
	})
	if err != nil {
		return a, err
	}
	defer receiver.Close()
	go receive(receiver, o)
	o.Do, o.Address = "send", netip.AddrPortFrom(lab.ServiceV4, udpPort).String()
	return s.tell(o)
}

// datagramsDown has the client say where it is first: adit lets in only what
// was asked for.
func (w *world) datagramsDown(s *session, o order) (a answer, err error) {
	var sender *net.UDPConn
	err = w.lab.Server.Do(func() (err error) {
		sender, err = listenDatagrams(netip.AddrPortFrom(lab.ServiceV4, udpPort), false)
		return err
	})
	if err != nil {
		return a, err
	}
	defer sender.Close()
	o.Do, o.Address = "receive", netip.AddrPortFrom(lab.ServiceV4, udpPort).String()
	if _, err := s.tell(o); err != nil { // it goes on behind the answer
		return a, err
	}
	sender.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, to, err := sender.ReadFromUDPAddrPort(make([]byte, 16))
	if err != nil {
		return a, err
	}
	return send(sender, to, o)
}

// listenDatagrams returns a socket with as much room as may be had.
func listenDatagrams(at netip.AddrPort, gro bool) (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	raw.Control(func(fd uintptr) {
		const room = 8 << 20
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, room)
		}
		if gro {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
	})
	return c, err
}

// doReceive counts behind the answer, as long as the agent lives.
func doReceive(o order) (answer, error) {
	to, err := netip.ParseAddrPort(o.Address)
	if err != nil {
		return answer{}, err
	}
	c, err := listenDatagrams(netip.AddrPortFrom(netip.IPv4Unspecified(), 0), o.Segments > 1)
	if err != nil {
		return answer{}, err
	}
	go receive(c, o)
	_, err = c.WriteToUDPAddrPort([]byte("here"), to)
	return answer{}, err
}

// receive counts datagrams until c is closed. With GRO one buffer holds many,
// all but the last of o.Size bytes.
func receive(c *net.UDPConn, o order) {
	count, err := openCounter(o.Counter)
	if err != nil {
		fmt.Fprintln(os.Stderr, "perf: receive:", err)
		return
	}
	defer count.close()
	p := ipv4.NewPacketConn(c)
	messages := make([]ipv4.Message, 64)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 64<<10)}
	}
	for {
		n, err := p.ReadBatch(messages, 0)
		if err != nil {
			return
		}
		var got int
		for _, m := range messages[:n] {
			got += (m.N + o.Size - 1) / o.Size
		}
		count.n.Add(uint64(got))
	}
}

// doSend is the sender at the client's end.
func doSend(o order) (answer, error) {
	to, err := netip.ParseAddrPort(o.Address)
	if err != nil {
		return answer{}, err
	}
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	return send(c, to, o)
}

// send sends datagrams for a while, a window of them at most being on their way.
func send(c *net.UDPConn, to netip.AddrPort, o order) (answer, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	count, err := openCounter(o.Counter)
	if err != nil {
		return answer{}, err
	}
	defer count.close()
	// The sleeps are shorter than the slack of an ordinary timer.
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	fd, err := blocking(c, to, o)
	if err != nil {
		return answer{}, err
	}
	defer unix.Close(fd)
	n := max(1, o.Segments)
	buf := make([]byte, n*o.Size)
	var sent, lost uint64
	begin := time.Now()
	end := begin.Add(time.Duration(o.Seconds * float64(time.Second)))
	for seen, progress := uint64(0), begin; ; {
		now := time.Now()
		if now.After(end) {
			break
		}
		got := count.n.Load()
		if got != seen {
			seen, progress = got, now
		}
		// Below zero when what counted as lost was only late.
		if int64(sent-lost-got)+int64(n) > int64(o.Window) {
			if now.Sub(progress) > udpStuck {
				lost, progress = sent-got, now
			}
			unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil)
			continue
		}
		binary.BigEndian.PutUint64(buf, sent)
		switch _, err := unix.Write(fd, buf); err {
		case nil:
			sent += uint64(n)
		case unix.ENOBUFS, unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		default:
			return answer{}, fmt.Errorf("send: %w", err)
		}
	}
	seconds := time.Since(begin).Seconds()
	for last := count.n.Load(); ; { // the rest is on its way
		time.Sleep(20 * time.Millisecond)
		if now := count.n.Load(); now == last {
			break
		} else {
			last = now
		}
	}
	return answer{Seconds: seconds, Sent: float64(sent)}, nil
}

// blocking returns a descriptor of its own for c, connected: one system call
// sends one buffer.
func blocking(c *net.UDPConn, to netip.AddrPort, o order) (int, error) {
	fd, err := ownDescriptor(c)
	if err != nil {
		return 0, err
	}
	err = os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}))
	if err == nil && o.Segments > 1 {
		err = os.NewSyscallError("UDP_SEGMENT", unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, o.Size))
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// udpTrials are those of UDP over the bare cable.
func udpTrials() (all []trial) {
	for _, c := range []struct {
		name, about string
		load        udpLoad
		must, aim   float64 // of the processor time for a packet; 0: none
	}{
		{"udp-gso1400", "UDP, packets of 1400 B, the programs have GSO and GRO", udpLoad{size: 1400, gso: true}, 0, 0},
		{"udp1400", "UDP, packets of 1400 B, one system call each", udpLoad{size: 1400}, 0.80, 0.60},
		{"udp100", "UDP, packets of 100 B, one system call each", udpLoad{size: 100}, 0.85, 0.60},
	} {
		for _, down := range []bool{false, true} {
			l, way := c.load, "up"
			if l.down = down; down {
				way = "down"
			}
			x := trial{name: c.name + "-" + way, about: c.about + ", " + way + "load", sides: contenders, against: wireguardGo}
			x.measure = func(w *world, side string) (figures, error) {
				s, err := w.tunnel(side, terms{})
				if err != nil {
					return nil, err
				}
				defer s.close()
				return w.datagrams(s, l)
			}
			if c.must > 0 {
				x.gates = []gate{{side: adit, figure: "us_packet", against: wireguardGo, must: c.must, aim: c.aim}}
			}
			all = append(all, x)
		}
	}
	return all
}
