package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// marks are what an eavesdropper may look for in everything that mix sends.
const (
	markTCP = "a secret that goes by TCP "
	markUDP = "a secret that goes by UDP "
)

// classes are the traffic classes of mix's datagrams: every kind of DSCP
// (RFC 2474 and after), and each of the ECN bits (RFC 3168) but "congestion
// experienced", which no host sends.
var classes = []int{0x00, 0x20, 0x28, 0x48, 0x68, 0x88, 0xb8, 0xe0, 0x01, 0x02, 0xba}

// mix HOST NAMESERVER sends some of everything to the echo services of HOST,
// asks NAMESERVER for secret.test, and prints "mixed".
func mix(args []string) error {
	host, nameserver := args[0], args[1]
	return errors.Join(
		mixTCP(net.JoinHostPort(host, "7")),
		mixUDP(net.JoinHostPort(host, "7")),
		mixPing(host),
		mixDNS(nameserver),
		say("mixed\n"),
	)
}

func say(s string) error { _, err := fmt.Print(s); return err }

// mixTCP sends a megabyte and wants it back.
func mixTCP(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	want := bytes.Repeat([]byte(markTCP), 1<<20/len(markTCP))
	go c.Write(want)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	if !bytes.Equal(got, want) {
		return errors.New("tcp: not what was sent")
	}
	return nil
}

// mixUDP sends datagrams of many sizes and traffic classes, each of which is
// wanted back.
func mixUDP(addr string) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	back := make([]byte, 1<<16)
	for i, size := 0, 1; size <= 1372; i, size = i+1, size+13 {
		var errSet error
		raw.Control(func(fd uintptr) { errSet = setClass(int(fd), strings.Contains(addr, "["), classes[i%len(classes)]) })
		if errSet != nil {
			return fmt.Errorf("udp: traffic class: %w", errSet)
		}
		msg := bytes.Repeat([]byte(markUDP), size/len(markUDP)+1)[:size]
		if err := echo(c, msg, back); err != nil {
			return fmt.Errorf("udp: %d bytes: %w", size, err)
		}
	}
	return nil
}

// echo sends msg until it has come back, with another last byte each time (see
// roundTrip). What comes late is left out.
func echo(c net.Conn, msg, back []byte) error {
	for end := time.Now().Add(30 * time.Second); ; {
		if _, err := c.Write(msg); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		for {
			n, err := c.Read(back)
			if err == nil && bytes.Equal(back[:n], msg) {
				return nil
			}
			if err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end)) {
				return err
			}
			if err != nil {
				break
			}
		}
		msg[len(msg)-1]++
	}
}

func setClass(fd int, v6 bool, class int) error {
	if v6 {
		return syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, class)
	}
	return syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_TOS, class)
}

// mixPing pings with a DSCP, if there is a ping.
func mixPing(host string) error {
	if _, err := exec.LookPath("ping"); err != nil {
		return nil
	}
	out, err := exec.Command("ping", "-n", "-c", "3", "-i", "0.2", "-W", "20", "-Q", "0xb8", host).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ping: %w: %s", err, out)
	}
	return nil
}

func mixDNS(nameserver string) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(nameserver, "53"))
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := r.LookupNetIP(ctx, "ip", "secret.test")
	return err
}
