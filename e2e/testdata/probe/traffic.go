package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// A traffics is what was done so far. Its fields are counted by several
// goroutines.
type traffics struct {
	bytes, connections, echoes, lost, names, pings, failed, wrong atomic.Int64

	turn atomic.Int64 // of the ports
}

func (c *traffics) String() string {
	return fmt.Sprintf("bytes %d connections %d echoes %d lost %d names %d pings %d failed %d wrong %d",
		c.bytes.Load(), c.connections.Load(), c.echoes.Load(), c.lost.Load(), c.names.Load(), c.pings.Load(), c.failed.Load(), c.wrong.Load())
}

// once is how long any one thing may take before it counts as failed: longer
// than it takes to notice that a peer has forgotten us (§6.5).
const once = 40 * time.Second

// traffic HOST NAMESERVER PAUSE does some of everything with the echo services
// of HOST and a nameserver, over and over with a pause between, until standard
// input ends. Every few seconds and at the end it prints what was done.
func traffic(args []string) error {
	pause, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var c traffics
	echo := net.JoinHostPort(args[0], "7")
	done := make(chan struct{}) // closed when the last of them has ended
	go func() {
		defer close(done)
		ended := make(chan struct{}) // one for each
		jobs := []func(context.Context) error{
			func(ctx context.Context) error { return c.bulk(ctx, echo, 2<<20) },
			func(ctx context.Context) error { return c.many(ctx, echo, 20) },
			func(ctx context.Context) error { return c.datagrams(ctx, echo) },
			func(ctx context.Context) error { return c.name(ctx, net.JoinHostPort(args[1], "53")) },
			func(ctx context.Context) error { return c.ping(ctx, args[0]) },
		}
		for i, job := range jobs {
			go func() {
				c.again(ctx, pause*time.Duration(1+i), job)
				ended <- struct{}{}
			}()
		}
		for range jobs {
			<-ended
		}
	}()
	tick := time.NewTicker(3 * time.Second)
	for {
		fmt.Println(&c)
		select {
		case <-tick.C:
		case <-done:
			fmt.Println(&c)
			return nil
		}
	}
}

// again does one job until ctx ends.
func (c *traffics) again(ctx context.Context, pause time.Duration, job func(context.Context) error) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, once)
		if err := job(one); err != nil && ctx.Err() == nil {
			c.failed.Add(1)
			fmt.Fprintln(os.Stderr, "probe:", err)
		}
		cancel()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// bulk sends n bytes at random and wants them back, on one connection.
func (c *traffics) bulk(ctx context.Context, addr string, n int) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	want := make([]byte, n)
	rand.Read(want)
	go conn.Write(want)
	got := make([]byte, n)
	read, err := io.ReadFull(conn, got)
	c.bytes.Add(2 * int64(read))
	if err != nil {
		return fmt.Errorf("tcp: after %d bytes: %w", read, err)
	}
	if !bytes.Equal(got, want) {
		c.wrong.Add(1)
	}
	c.connections.Add(1)
	return nil
}

// many makes n small connections, one after the other.
func (c *traffics) many(ctx context.Context, addr string, n int) error {
	for range n {
		if err := c.bulk(ctx, addr, 100); err != nil {
			return err
		}
	}
	return nil
}

// datagrams sends some of many sizes, from each of a few ports in turn, and waits
// for each a moment: lost is no failure. A gateway keeps a flow for minutes: with
// always new ports it would have more and more of them, rightly.
func (c *traffics) datagrams(ctx context.Context, addr string) error {
	const firstPort, nPorts = 20_000, 20
	d := net.Dialer{LocalAddr: &net.UDPAddr{Port: firstPort + int(c.turn.Add(1)%nPorts)}}
	conn, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	back := make([]byte, 1<<16)
	for size := 1; size < 6000 && ctx.Err() == nil; size += 397 {
		want := make([]byte, size)
		rand.Read(want)
		if _, err := conn.Write(want); err != nil {
			c.lost.Add(1)
			continue
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(back)
		switch {
		case err != nil:
			c.lost.Add(1)
		case n == size && !bytes.Equal(back[:n], want):
			c.wrong.Add(1)
		default: // or one that was late
			c.echoes.Add(1)
		}
	}
	return nil
}

func (c *traffics) name(ctx context.Context, nameserver string) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, nameserver)
	}}
	if _, err := r.LookupNetIP(ctx, "ip", "secret.test"); err != nil {
		return err
	}
	c.names.Add(1)
	return nil
}

func (c *traffics) ping(ctx context.Context, host string) error {
	if _, err := exec.LookPath("ping"); err != nil {
		return nil
	}
	err := exec.CommandContext(ctx, "ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "2", host).Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		c.lost.Add(1)
	case err != nil:
		return err
	default:
		c.pings.Add(1)
	}
	return nil
}
