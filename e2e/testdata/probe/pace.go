package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// grace is how long an answer may take: longer than any handshake that is
// retried once (§6.4), so that what is late is told from what is lost.
const grace = 20 * time.Second

// pace ADDR EVERY FOR [IDLE FOR]… sends an echo request by UDP every so often,
// keeps still, and so on. After each stretch it waits for what is outstanding
// and prints "sent N lost N slowest D".
//
// The last word of a stretch goes to port 9, where nobody answers: so the far
// tunnel end does, with a keepalive (§6.5). After a last answer, wireguard-go of
// 2026-05-22 now and then waits for another, and begins a handshake when none
// comes: it arms its timer only once the datagram is sent, and the answer may
// have been there before (device/send.go, timersDataSent).
func pace(args []string) error {
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(args[0])
	if err != nil {
		return err
	}
	sink, err := net.Dial("udp", net.JoinHostPort(host, "9"))
	if err != nil {
		return err
	}
	defer sink.Close()
	var spans []time.Duration
	for _, a := range args[1:] {
		d, err := time.ParseDuration(a)
		if err != nil {
			return err
		}
		spans = append(spans, d)
	}
	p := &pacer{c: c, out: map[uint64]time.Time{}, back: make(chan struct{}, 1)}
	go p.receive()
	every := spans[0]
	for i, d := range spans[1:] {
		if i%2 == 1 {
			time.Sleep(d)
			continue
		}
		p.stretch(every, d)
		sink.Write([]byte("the last word"))
	}
	return nil
}

// A pacer knows which of its datagrams have not come back.
type pacer struct {
	c    net.Conn
	next uint64
	back chan struct{} // one element: something has come back

	mu      sync.Mutex // guards what follows
	out     map[uint64]time.Time
	slowest time.Duration
}

// stretch sends for d and says how that went.
func (p *pacer) stretch(every, d time.Duration) {
	sent := 0
	// Whoever was late catches up.
	for begin := time.Now(); time.Duration(sent)*every < d; sent++ {
		time.Sleep(time.Until(begin.Add(time.Duration(sent) * every)))
		p.send()
	}
	for late := time.After(grace); p.outstanding() > 0; {
		select {
		case <-p.back:
			continue
		case <-late:
		}
		break
	}
	p.mu.Lock()
	fmt.Printf("sent %d lost %d slowest %v\n", sent, len(p.out), p.slowest.Round(time.Millisecond))
	clear(p.out)
	p.slowest = 0
	p.mu.Unlock()
	os.Stdout.Sync()
}

// send sends the next datagram, of which the complement goes along: so all of them
// have one sum. Else it would come to nought in one of 65536, which wireguard-go, at
// the other end, leaves as it is (see roundTrip).
func (p *pacer) send() {
	b := make([]byte, 64)
	binary.BigEndian.PutUint64(b, p.next)
	binary.BigEndian.PutUint64(b[8:], ^p.next)
	copy(b[16:], "pace pace pace")
	p.mu.Lock()
	p.out[p.next] = time.Now()
	p.mu.Unlock()
	p.next++
	p.c.Write(b) // what is not sent does not come back
}

func (p *pacer) receive() {
	b := make([]byte, 2048)
	for {
		n, err := p.c.Read(b)
		if n < 8 {
			if err != nil {
				time.Sleep(time.Millisecond) // unreachable for now
			}
			continue
		}
		seq := binary.BigEndian.Uint64(b)
		p.mu.Lock()
		if at, ok := p.out[seq]; ok {
			p.slowest = max(p.slowest, time.Since(at))
			delete(p.out, seq)
		}
		p.mu.Unlock()
		select {
		case p.back <- struct{}{}:
		default:
		}
	}
}

func (p *pacer) outstanding() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.out)
}
