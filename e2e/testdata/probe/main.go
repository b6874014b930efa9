// Probe is the static Go program of the end-to-end tests, and their tool for
// what no other program does: it is built with CGO_ENABLED=0, so neither its
// sockets nor its names go through libc.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"adit/e2e/hold"
)

func main() {
	commands := map[string]func([]string) error{
		"get": get, "hash": hash, "parallel": parallel, "udp": udp, "tcp": tcp,
		"dial": dial, "lookup": lookup, "drip": drip, "fds": fds, "signals": signals,
		"pace": pace, "mix": mix, "traffic": traffic, "hold": hold.Enter,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "probe: which command?")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

var client = &http.Client{Timeout: 90 * time.Second}

// get URL… prints the bodies.
func get(urls []string) error {
	for _, u := range urls {
		r, err := client.Get(u)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, r.Body)
		r.Body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// hash URL… prints the SHA-256 of each body.
func hash(urls []string) error {
	for _, u := range urls {
		sum, err := sumOf(u)
		if err != nil {
			return err
		}
		fmt.Println(sum)
	}
	return nil
}

func sumOf(u string) (string, error) {
	r, err := client.Get(u)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, r.Body, make([]byte, 256<<10)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// parallel N URL HASH makes N connections that are all open at once, reads the
// body on each, and prints how many had the hash.
func parallel(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var open, done sync.WaitGroup
	good := make(chan error, n)
	open.Add(n)
	for range n {
		done.Go(func() {
			var dialed sync.Once
			c := &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					var d net.Dialer
					conn, err := d.DialContext(ctx, network, addr)
					dialed.Do(open.Done)
					open.Wait() // for the others
					return conn, err
				},
			}}
			good <- func() error {
				r, err := c.Get(args[1])
				if err != nil {
					return err
				}
				defer r.Body.Close()
				h := sha256.New()
				if _, err := io.Copy(h, r.Body); err != nil {
					return err
				}
				if sum := hex.EncodeToString(h.Sum(nil)); sum != args[2] {
					return fmt.Errorf("hash %s", sum)
				}
				return nil
			}()
		})
	}
	done.Wait()
	ok := 0
	for range n {
		if err := <-good; err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
		} else {
			ok++
		}
	}
	fmt.Println(ok)
	return nil
}

// udp ADDR FROM TO sends one datagram of every size and wants each back.
func udp(args []string) error {
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	from, _ := strconv.Atoi(args[1])
	to, _ := strconv.Atoi(args[2])
	e := echoes{c: c, back: make([]byte, 1<<16), late: map[string]bool{}}
	for size := from; size <= to; size++ {
		msg := bytes.Repeat([]byte{byte(size), byte(size >> 8), 0x5a}, size/3+1)[:size]
		if err := e.roundTrip(msg); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	fmt.Println("all back")
	return nil
}

// An echoes sends datagrams to an echo server.
type echoes struct {
	c    net.Conn
	back []byte
	late map[string]bool // what was sent and has not come back when it was waited for
}

// roundTrip sends msg and wants it back. One that does not come is sent with another
// last byte, and may be late: wireguard-go, at the other end, leaves a sum that comes to
// nought as it is (tun/offload_linux.go, gsoNoneChecksum), which is none in IPv6 (RFC
// 8200 §8.1).
func (e *echoes) roundTrip(msg []byte) error {
	for try := 0; ; try++ {
		if _, err := e.c.Write(msg); err != nil {
			return err
		}
		e.c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := e.c.Read(e.back)
		for err == nil && e.late[string(e.back[:n])] {
			n, err = e.c.Read(e.back)
		}
		switch {
		case err == nil && bytes.Equal(e.back[:n], msg):
			return nil
		case err == nil:
			return fmt.Errorf("%d other bytes came back", n)
		case try == 2 || !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		e.late[string(msg)] = true
		msg[len(msg)-1]++
	}
}

// tcp ADDR sends a line to an echo server, and prints what comes back.
func tcp(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintln(c, "hello")
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
	return err
}

// dial NETWORK ADDR [SECONDS] prints "ok", "timeout" or the errno's name, and
// how long it took is up to the caller.
func dial(args []string) error {
	wait := 3 * time.Second
	if len(args) > 2 {
		s, err := strconv.ParseFloat(args[2], 64)
		if err != nil {
			return err
		}
		wait = time.Duration(s * float64(time.Second))
	}
	c, err := net.DialTimeout(args[0], args[1], wait)
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case err == nil:
		fmt.Println("ok")
		return c.Close()
	case errors.As(err, &errno):
		fmt.Println(errno)
	case errors.As(err, &timeout) && timeout.Timeout():
		fmt.Println("timeout")
	default:
		fmt.Println(err)
	}
	return nil
}

// lookup NAME prints its addresses, by Go's own resolver.
func lookup(args []string) error {
	addrs, err := net.LookupHost(args[0])
	for _, a := range addrs {
		fmt.Println(a)
	}
	return err
}

// drip URL prints the endless body as it comes; "stalled" if nothing came for
// two seconds and "closed" when the connection ended. It goes on after the
// first, until standard input ends.
func drip(args []string) error {
	r, err := (&http.Client{}).Get(args[0])
	if err != nil {
		return err
	}
	defer r.Body.Close()
	lines := make(chan string) // from the reader, closed by it
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(r.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				fmt.Println("closed")
				return nil
			}
			fmt.Println(l)
		case <-time.After(2 * time.Second):
			fmt.Println("stalled")
		}
	}
}

// fds prints the open descriptors and what they are.
func fds([]string) error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		target, err := os.Readlink("/proc/self/fd/" + n)
		if fd, _ := strconv.Atoi(n); err == nil && fd != int(dir.Fd()) {
			fmt.Println(n, target)
		}
	}
	return nil
}

// signals prints the name of every signal it gets, until TERM.
func signals([]string) error {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT)
	fmt.Println("ready")
	for s := range c {
		fmt.Println(s.(syscall.Signal))
		if s == syscall.SIGTERM {
			return nil
		}
	}
	return nil
}
