package broker

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the kernel's tables say of a socket is what the socket itself says.
func TestNamesAreFoundWithoutADescriptor(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	for _, f := range streamFamilies {
		l := w.socket(f.family, false)
		l.wantBind(f.there+":0", ok)
		w.b.Listen(l.inode(), l.fd, 1)
		sa, _ := w.b.LocalName(l.inode(), l.fd)
		s := w.socket(f.family, false)
		if errno := s.connect(l.parse(sa).String()); errno != ok && f.name != "mapped" {
			t.Fatalf("%s: %v", f.name, errno)
		}
		for _, x := range []*testStream{l, s} {
			with, errno1 := w.b.LocalName(x.inode(), x.fd)
			without, errno2 := w.b.LocalName(x.inode(), -1)
			if string(with) != string(without) || errno1 != errno2 {
				t.Errorf("%s: getsockname: %x %v with, %x %v without", f.name, with, errno1, without, errno2)
			}
			with, errno1 = w.b.PeerName(x.inode(), x.fd)
			without, errno2 = w.b.PeerName(x.inode(), -1)
			if string(with) != string(without) || errno1 != errno2 {
				t.Errorf("%s: getpeername: %x %v with, %x %v without", f.name, with, errno1, without, errno2)
			}
		}
	}
	if _, errno := w.b.LocalName(1, -1); errno != unix.EACCES {
		t.Errorf("a socket that is not there: got %v, want EACCES", errno)
	}
}

// TestWhatHasEndedHasNoPeer: neither for who has the descriptor nor for who has not.
func TestWhatHasEndedHasNoPeer(t *testing.T) {
	w := newStreamWorld(t)
	l := w.socket(unix.AF_INET, false)
	l.wantBind(near4.String()+":0", ok)
	w.b.Listen(l.inode(), l.fd, 1)
	sa, _ := w.b.LocalName(l.inode(), l.fd)
	s := w.socket(unix.AF_INET, false)
	s.wantConnect(l.parse(sa).String(), ok)
	l.close() // nobody has accepted: a RST
	s.poll(unix.POLLIN, 10*time.Second)
	for _, fd := range []int{s.fd, -1} {
		if _, errno := w.b.PeerName(s.inode(), fd); errno != unix.ENOTCONN {
			t.Errorf("by descriptor %d: got %v, want ENOTCONN", fd, errno)
		}
	}
}

func FuzzParseProcNet(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 7 1 0 100 0 0 10 0", uint64(7))
	f.Add("   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7", uint64(7))
	f.Fuzz(func(t *testing.T, line string, ino uint64) {
		local, _, found := parseProcNet(line, ino)
		if found && !local.Addr().IsValid() {
			t.Errorf("%q: found, without an address", line)
		}
		if found && len(strings.Fields(line)) < 10 {
			t.Errorf("%q: found in a line that is too short", line)
		}
	})
}
