package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"adit/e2e/lab"

	"golang.org/x/sys/unix"
)

// pingRate is pings in a second: often enough for a p99, and seldom enough for
// everything to fall asleep in between.
const pingRate = 200

// doPing sends echo requests at o.Rate for a while, whether or not the last was
// answered, and returns the round-trip times of those that were. With a load
// another agent keeps a stream going meanwhile.
func doPing(o order) (answer, error) {
	if o.Load != "" {
		end, err := loadBeside(o)
		if err != nil {
			return answer{}, err
		}
		defer end()
	}
	to, err := netip.ParseAddr(o.Address)
	if err != nil {
		return answer{}, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return answer{}, fmt.Errorf("a socket to ping with: %w", err)
	}
	defer unix.Close(fd)
	// The receiver looks at the clock as often.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000})
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
		return answer{}, os.NewSyscallError("connect", err)
	}
	n := int(o.Seconds * float64(o.Rate))
	sent := make([]atomic.Int64, n)
	var done atomic.Bool
	heard := make(chan answer, 1)
	go func() { heard <- hearPings(fd, sent, &done) }()
	err = sendPings(fd, sent, time.Second/time.Duration(o.Rate))
	time.Sleep(300 * time.Millisecond) // the last are on their way
	done.Store(true)
	a := <-heard // also after an error: it reads from fd
	a.Sent, a.Seconds = float64(n), o.Seconds
	return a, err
}

// sendPings sends one request in each interval, and notes when.
func sendPings(fd int, sent []atomic.Int64, interval time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	next := monotonic()
	b := make([]byte, 64)
	b[0] = 8 // echo request: RFC 792
	for i := range sent {
		next += interval.Nanoseconds()
		for now := monotonic(); now < next; now = monotonic() {
			t := unix.NsecToTimespec(next - now)
			unix.Nanosleep(&t, nil)
		}
		binary.BigEndian.PutUint16(b[6:], uint16(i)) // the sequence number
		binary.BigEndian.PutUint32(b[8:], uint32(i))
		sent[i].Store(monotonic())
		if _, err := unix.Write(fd, b); err != nil && err != unix.ENOBUFS && err != unix.ECONNREFUSED {
			return fmt.Errorf("ping: %w", err)
		}
	}
	return nil
}

// hearPings returns the round-trip times, and when they were known.
func hearPings(fd int, sent []atomic.Int64, done *atomic.Bool) (a answer) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := make([]byte, 1500)
	for !done.Load() {
		n, err := unix.Read(fd, b)
		now := monotonic()
		if err != nil || n < 12 || b[0] != 0 { // echo reply
			continue
		}
		if i := int(binary.BigEndian.Uint32(b[8:])); i < len(sent) {
			a.Micros = append(a.Micros, float64(now-sent[i].Load())/1e3)
			a.At = append(a.At, now)
		}
	}
	return a
}

// loadBeside starts another agent that keeps a stream going for as long as we
// ping, and half a second before. end waits for it.
func loadBeside(o order) (end func(), err error) {
	a, err := hire(exec.Command("/proc/self/exe", agentRole), time.Minute+10*time.Duration(o.Seconds*float64(time.Second)))
	if err != nil {
		return nil, err
	}
	l := order{Do: "connect", Address: pumpAddress(lab.ServiceV4), Flows: 1, Seconds: o.Seconds + 1}
	if o.Load == "down" {
		l.Flows, l.Back = 0, 1
	}
	if _, err := a.tell(l); err != nil {
		a.dismiss()
		return nil, err
	}
	l.Do = "stream"
	ended := make(chan struct{}) // closed when the stream has ended
	go func() {
		defer close(ended)
		if _, err := a.tell(l); err != nil {
			fmt.Fprintln(os.Stderr, "perf: the load:", err)
		}
	}()
	time.Sleep(500 * time.Millisecond)
	return func() { <-ended; a.dismiss() }, nil
}

// percentile returns the value below which p of 100 lie. The values are sorted
// by it.
func percentile(values []float64, p float64) float64 {
	slices.Sort(values)
	return values[min(len(values)-1, int(float64(len(values))*p/100))]
}

// bare is no tunnel: the cable.
const bare = "bare"

// ping measures round-trip times through the tunnel, or beside it.
func (w *world) ping(side, load string) (figures, error) {
	o := order{Do: "ping", Address: lab.ServiceV4.String(), Seconds: w.seconds, Rate: pingRate, Load: load}
	var a *agent
	if side == bare {
		var err error
		if a, err = w.local(); err != nil {
			return nil, err
		}
		defer a.dismiss()
		o.Address = lab.ServerV4.Addr().String()
	} else {
		s, err := w.tunnel(side, terms{})
		if err != nil {
			return nil, err
		}
		defer s.close()
		a = s.agent
	}
	r, err := a.tell(o)
	if err != nil {
		return nil, err
	}
	if len(r.Micros) == 0 {
		return nil, errors.New("no answer to any ping")
	}
	lost := 100 * (r.Sent - float64(len(r.Micros))) / r.Sent
	return figures{"p50": percentile(r.Micros, 50), "p99": percentile(r.Micros, 99), "lost": lost}, nil
}

func pingTrials() []trial {
	sides := []string{adit, wireguardGo, tailscale}
	p99 := []gate{{side: adit, figure: "p99", against: wireguardGo, must: 1, aim: 0.5}}
	return []trial{
		{
			name: "ping-idle", about: "ping through an idle tunnel, and beside it", sides: append(slices.Clone(sides), bare), against: wireguardGo,
			measure: func(w *world, side string) (figures, error) { return w.ping(side, "") },
			gates:   []gate{{side: adit, figure: "p50", against: bare, added: true, must: 150, aim: 75}},
		},
		{
			name: "ping-up", about: "ping while a TCP stream saturates the way up", sides: sides, against: wireguardGo,
			measure: func(w *world, side string) (figures, error) { return w.ping(side, "up") }, gates: p99,
		},
		{
			name: "ping-down", about: "ping while a TCP stream saturates the way down", sides: sides, against: wireguardGo,
			measure: func(w *world, side string) (figures, error) { return w.ping(side, "down") }, gates: p99,
		},
	}
}
