package broker

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What is read of control messages is what was there: written again it is the same,
// but for the padding.
func FuzzControlRoundTrip(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(appendCmsg(appendCmsg(nil, unix.SOL_UDP, unix.UDP_SEGMENT, []byte{4, 0}), unix.SOL_IP, unix.IP_TOS, []byte{1}))
	f.Add(bytes.Repeat([]byte{255}, 40))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, errno := parseControl(b)
		if errno != ok {
			if len(list) != 0 {
				t.Errorf("got messages with %v", errno)
			}
			return
		}
		var again []byte
		for _, c := range list {
			again = appendCmsg(again, c.level, c.kind, c.data)
		}
		reread, errno := parseControl(again)
		if errno != ok || !slices.EqualFunc(list, reread, func(a, b cmsg) bool {
			return a.level == b.level && a.kind == b.kind && bytes.Equal(a.data, b.data)
		}) {
			t.Errorf("%x became %x", b, again)
		}
		if size, errno := segmentSize(b, 7); errno == ok && (size < 0 || size > 0xffff) {
			t.Errorf("segments of %d bytes", size)
		}
	})
}

// A program may call with any bytes for addresses, control messages and options: there
// is an errno for each, and the socket is one afterwards.
func FuzzCallsOfAProgram(f *testing.F) {
	b, _ := newDatagramBroker(f, nil)
	for _, sa := range addresses() {
		for i := range byte(7) {
			f.Add(i, i%2 == 0, sa, appendCmsg(nil, unix.SOL_UDP, unix.UDP_SEGMENT, []byte{1, 0}), []byte("payload"))
		}
	}
	f.Fuzz(func(t *testing.T, calls byte, is6 bool, sa, control, payload []byte) {
		family := unix.AF_INET
		if is6 {
			family = unix.AF_INET6
		}
		s := newTestSocket(t, b, family)
		for i := range 3 {
			switch (int(calls) + i) % 7 {
			case 0, 1:
				s.Connect(sa)
			case 2:
				s.Bind(s.fd, sa)
			case 3:
				n, errno := s.Send(t.Context(), Message{To: sa, Control: control, Payload: payload}, true)
				if errno != ok && n != 0 || errno == ok && n != len(payload) {
					t.Errorf("send of %d bytes: got %d, %v", len(payload), n, errno)
				}
			case 4:
				if len(control) >= 4 {
					s.SetOption(int(control[0]), int(control[1]), control[2:])
					s.GetOption(int(control[2]), int(control[3]))
				}
			case 5:
				if r, errno := s.receive(len(payload), unix.MSG_DONTWAIT|int(calls)&unix.MSG_PEEK); errno == ok {
					s.Return(r)
				}
			case 6:
				unix.Sendto(s.fd, payload, unix.MSG_DONTWAIT, nil)
			}
		}
		if name := s.LocalName(); Family(name) != family {
			t.Errorf("getsockname: %x", name)
		}
		s.PeerName()
	})
}

func FuzzTagRoundTrip(f *testing.F) {
	f.Add(tag{}.append(nil))
	f.Add(tag{at(far4, 7000), near4}.append(nil))
	f.Add(tag{at(far6, 7000), near6}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, is := parseTag(b)
		if !is {
			return
		}
		if again, is := parseTag(g.append(nil)); !is || again != g {
			t.Errorf("%v became %v", g, again)
		}
	})
}

// A tag that the program gets hold of cannot be changed: others' datagrams carry it too.
func TestTagsAreSealed(t *testing.T) {
	g := tag{at(far4, 7000), near4}
	fd, err := newTag(g)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte("x"), 0); err != unix.EPERM {
		t.Errorf("write: got %v, want EPERM", err)
	}
	if err := unix.Ftruncate(fd, 0); err != unix.EPERM {
		t.Errorf("truncate: got %v, want EPERM", err)
	}
	if got, is := readTag(fd); !is || got != g {
		t.Errorf("got %v, %v, want %v", got, is, g)
	}
}

// More sources than tags are kept for: each datagram still has its own.
func TestManySourcesAreToldApart(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s := newTestSocket(t, b, unix.AF_INET)
	source := func(i int) tag { return tag{at(far4, uint16(1000+i)), near4} }
	const n = 2 * maxTags
	for i := range n {
		s.in.push(source(i%n), binary.BigEndian.AppendUint16(nil, uint16(i)))
	}
	for i := range n {
		r, errno := s.receive(10, 0)
		if errno != ok || binary.BigEndian.Uint16(r.Payload) != uint16(i) || !bytes.Equal(r.From, s.name(source(i).from)) {
			t.Fatalf("datagram %d: got %v, %v", i, r, errno)
		}
	}
	b.udp.tags.mu.Lock()
	defer b.udp.tags.mu.Unlock()
	if kept := len(b.udp.tags.fds); kept > maxTags {
		t.Errorf("%d tags are kept, want %d", kept, maxTags)
	}
}
