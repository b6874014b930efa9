package launcher

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// With --dns host, and only then, the questions that the command puts to
// 127.0.0.53 are passed to the host's own nameservers, outside of the tunnel.
// The messages are passed on as they are: this is a wire, not a resolver.

// Limits of the forwarder: questions under way at once, how long one may take,
// and the size in bytes of a DNS message over TCP (RFC 1035 §4.2.2).
const (
	hostQuestions = 64
	hostPatience  = 5 * time.Second
	maxDNSMessage = 65535
)

// hostServers returns the addresses of the host's nameservers, the C library's
// default if none is named.
func hostServers() []string {
	var list []string
	b, _ := os.ReadFile("/etc/resolv.conf")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			list = append(list, net.JoinHostPort(f[1], "53"))
		}
	}
	if len(list) == 0 {
		list = []string{"127.0.0.1:53"}
	}
	return list
}

// answerUDP answers on c until it is closed.
func (t *tunnel) answerUDP(c net.PacketConn, host bool) {
	if !host {
		t.stack.ServeDNS(context.Background(), c, nil)
		return
	}
	slots := make(chan struct{}, hostQuestions)
	for {
		b := make([]byte, maxDNSMessage)
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			if reply, err := askHost("udp", b[:n]); err == nil {
				c.WriteTo(reply, from)
			}
		}()
	}
}

// answerTCP answers on the connections that l accepts until it is closed.
func (t *tunnel) answerTCP(l net.Listener, host bool) {
	if !host {
		t.stack.ServeDNS(context.Background(), nil, l)
		return
	}
	slots := make(chan struct{}, hostQuestions)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		slots <- struct{}{}
		go func() {
			defer func() { c.Close(); <-slots }()
			c.SetDeadline(time.Now().Add(2 * hostPatience))
			for {
				question, err := readMessage(c)
				if err != nil {
					return
				}
				reply, err := askHost("tcp", question)
				if err != nil || writeMessage(c, reply) != nil {
					return
				}
			}
		}()
	}
}

// askHost puts a question to each of the host's servers in turn.
func askHost(network string, question []byte) ([]byte, error) {
	err := errors.New("no nameserver")
	for _, server := range hostServers() {
		var reply []byte
		if reply, err = askOne(network, server, question); err == nil {
			return reply, nil
		}
	}
	return nil, err
}

func askOne(network, server string, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hostPatience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(hostPatience))
	if network == "tcp" {
		if err := writeMessage(c, question); err != nil {
			return nil, err
		}
		return readMessage(c)
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	b := make([]byte, maxDNSMessage)
	n, err := c.Read(b)
	return b[:n], err
}

// readMessage and writeMessage are DNS over TCP: two bytes of length before
// each message.
func readMessage(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeMessage(w io.Writer, b []byte) error {
	if len(b) > maxDNSMessage {
		return errors.New("DNS message too long")
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b))), b...))
	return err
}
