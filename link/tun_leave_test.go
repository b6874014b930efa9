package link

import (
	"errors"
	"io/fs"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// exists reports whether the namespace has the interface, and whether anything is
// at its other end.
func (s *space) exists(name string) (there, carrier bool) {
	s.t.Helper()
	s.do("look for "+name, func() error {
		l, err := netlink.LinkByName(name)
		var gone netlink.LinkNotFoundError
		if errors.As(err, &gone) {
			return nil
		}
		if err == nil {
			there, carrier = true, l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
		}
		return err
	})
	return there, carrier
}

func TestDeviceGoesWithItsDescriptor(t *testing.T) {
	s := newSpace(t)
	dev := s.tun(linux(), 1420, "10.1.1.1/32")
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if there, _ := s.exists("tun0"); there {
		t.Error("the device is still there")
	}
}

func TestDeviceThatIsLeftLosesEverything(t *testing.T) {
	s := newSpace(t)
	dev := s.tun(linux(), 1420, "10.1.1.1/24")
	if there, carrier := s.exists("tun0"); !there || !carrier {
		t.Fatalf("before: there %v, with a carrier %v", there, carrier)
	}
	if err := dev.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if there, carrier := s.exists("tun0"); !there || carrier {
		t.Errorf("there %v, with a carrier %v, want a device without", there, carrier)
	}
	if err := dev.Leave(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
