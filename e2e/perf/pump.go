package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// Our own service for TCP: the first byte of a connection says what is wanted.
const (
	pumpPort = 5300

	pumpUp   = 'U' // takes until the end, then says how much: 8 bytes, big-endian
	pumpDown = 'D' // gives until the other side has enough
)

func pumpAddress(a netip.Addr) string { return netip.AddrPortFrom(a, pumpPort).String() }

// serveStreams starts the service in the caller's namespace.
func serveStreams() error {
	ln, err := net.Listen("tcp", fmt.Sprintf(":%d", pumpPort))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); servePump(c) }()
		}
	}()
	return nil
}

func servePump(c net.Conn) {
	what := make([]byte, 1)
	if _, err := io.ReadFull(c, what); err != nil {
		return
	}
	switch what[0] {
	case pumpUp:
		n := pump(c.Read)
		c.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	case pumpDown:
		pump(c.Write)
	case pumpEcho:
		c.Write(what)
	case pumpAsk:
		answerOne(c)
	}
}

// pump repeats a read or a write until it fails, and returns how many bytes it
// was.
func pump(step func([]byte) (int, error)) (total int64) {
	buf := make([]byte, 128<<10)
	for {
		n, err := step(buf)
		total += int64(n)
		if err != nil {
			return total
		}
	}
}

// held are the connections that the agent has made for the next streams.
var held []net.Conn

// doConnect makes connections: o.Flows and o.Back of them.
func doConnect(o order) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range o.Flows + o.Back {
		c, err := o.dial(ctx, "tcp", o.Address)
		if err != nil {
			return answer{}, err
		}
		held = append(held, c)
	}
	return answer{}, nil
}

// doStreams keeps the connections busy: o.Flows up and o.Back down.
func doStreams(o order) (answer, error) {
	conns := held
	held = nil
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	var mu sync.Mutex // guards total and failure
	var total int64
	var failure error
	var wg sync.WaitGroup
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	end := begin.Add(time.Duration(o.Seconds * float64(time.Second)))
	for i, c := range conns {
		run := upload
		if i >= o.Flows {
			run = download
		}
		wg.Go(func() {
			n, err := run(c, end)
			mu.Lock()
			defer mu.Unlock()
			total += n
			failure = errors.Join(failure, err)
		})
	}
	wg.Wait()
	a := answer{Bytes: float64(total), Seconds: time.Since(begin).Seconds()}
	runtime.ReadMemStats(&after)
	a.Allocs = float64(after.Mallocs - before.Mallocs)
	return a, failure
}

// upload writes until the end and asks how much has arrived.
func upload(c net.Conn, end time.Time) (int64, error) {
	if _, err := c.Write([]byte{pumpUp}); err != nil {
		return 0, err
	}
	c.SetDeadline(end)
	pump(c.Write)
	c.SetDeadline(end.Add(20 * time.Second))
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return 0, err
	}
	var n [8]byte
	_, err := io.ReadFull(c, n[:])
	return int64(binary.BigEndian.Uint64(n[:])), err
}

// download reads until the end.
func download(c net.Conn, end time.Time) (int64, error) {
	if _, err := c.Write([]byte{pumpDown}); err != nil {
		return 0, err
	}
	c.SetDeadline(end)
	n := pump(c.Read)
	if c, ok := c.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0) // whatever is still on its way is of no use
	}
	return n, nil
}
