package services

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// A Nameserver answers for a fixed set of names and NXDOMAIN for all others. Safe
// for concurrent use.
type Nameserver struct {
	// A and AAAA hold addresses, TXT texts; the keys end in a dot. They must
	// not change once it serves.
	Addrs map[string][]netip.Addr
	TXT   map[string][]string

	mu    sync.Mutex // guards asked
	asked []string   // "NAME TYPE", in order
}

// Asked returns what was asked since the last call of Forget, "name. TypeA".
func (s *Nameserver) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Forget makes Asked start anew.
func (s *Nameserver) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = nil
}

// ServeUDP answers datagrams until c is closed. Answers over 512 bytes are cut
// and say so: RFC 1035 §4.2.1.
func (s *Nameserver) ServeUDP(c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n], 512); answer != nil {
			c.WriteTo(answer, from)
		}
	}
}

// ServeTCP answers on connections until l is closed: RFC 1035 §4.2.2.
func (s *Nameserver) ServeTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			for s.serveOne(c) == nil {
			}
		}()
	}
}

func (s *Nameserver) serveOne(c net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, query); err != nil {
		return err
	}
	answer := s.answer(query, 1<<16-1)
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err
}

// answer returns the answer to a query, or nil if it is none.
func (s *Nameserver) answer(query []byte, limit int) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.ToLower(q.Name.String())
	s.mu.Lock()
	s.asked = append(s.asked, name+" "+q.Type.String())
	s.mu.Unlock()
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: h.ID, Response: true, Authoritative: true,
			RecursionDesired: h.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
	}
	s.fill(&m, name, q)
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	if len(b) > limit {
		m.Truncated, m.Answers = true, nil
		b, _ = m.Pack()
	}
	return b
}

// fill adds the records that q asks for.
func (s *Nameserver) fill(m *dnsmessage.Message, name string, q dnsmessage.Question) {
	addrs, hasAddr := s.Addrs[name]
	texts, hasText := s.TXT[name]
	if !hasAddr && !hasText {
		m.RCode = dnsmessage.RCodeNameError
		return
	}
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET, TTL: 1}
	add := func(b dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: b})
	}
	for _, a := range addrs {
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			add(&dnsmessage.AResource{A: a.As4()})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			add(&dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	if q.Type == dnsmessage.TypeTXT {
		for _, t := range texts {
			add(&dnsmessage.TXTResource{TXT: []string{t}})
		}
	}
}
