package device

import (
	"fmt"
	"os"
	"strconv"

	"adit/link"
	"github.com/vishvananda/netlink"
)

// DefaultMTU is the MTU in bytes of a new interface, as WireGuard's elsewhere:
// an Ethernet frame with the headers of an IPv6 tunnel taken off.
const DefaultMTU = 1420

// OpenTUN makes an interface and returns its descriptor and its name: a name
// with %d in it is completed by the kernel.
func OpenTUN(name string) (*os.File, string, error) {
	f, err := link.OpenTUN(name, DefaultMTU)
	if err != nil {
		return nil, "", err
	}
	name, err = link.TUNName(f)
	if err == nil {
		err = setMTU(name, DefaultMTU)
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, name, nil
}

func setMTU(name string, mtu int) error {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetMTU(l, mtu)
	}
	if err != nil {
		return fmt.Errorf("set the MTU of %s: %w", name, err)
	}
	return nil
}

// InheritTUN returns the descriptor whose number is s, of an interface that the
// parent made, and the interface's name. Its MTU stays what it is.
func InheritTUN(s string) (*os.File, string, error) {
	f, err := inherit(s)
	if err != nil {
		return nil, "", err
	}
	name, err := link.TUNName(f)
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, name, nil
}

// inherit returns the descriptor whose number is s.
func inherit(s string) (*os.File, error) {
	fd, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%q is not the number of a descriptor", s)
	}
	return os.NewFile(uintptr(fd), "descriptor "+s), nil
}
