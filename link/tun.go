package link

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"adit/packet"
	"golang.org/x/sys/unix"
)

const (
	tunOffloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	tunUSO      = unix.TUN_F_USO4 | unix.TUN_F_USO6 // Linux 6.2
)

// OpenTUN creates the TUN device name in the calling thread's network namespace
// (/dev/net/tun belongs to the namespace in which it is opened) and returns its
// descriptor, set up for super-packets as NewTUN wants it. The caller needs
// CAP_NET_ADMIN there; who uses the descriptor needs nothing. Addresses, the
// MTU and the up flag are the caller's business.
func OpenTUN(name string, mtu int) (*os.File, error) {
	if mtu < 68 || mtu > 65535 {
		return nil, fmt.Errorf("open tun %s: an MTU of %d bytes is not possible", name, mtu)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("open tun %q: %w", name, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("create tun %s: %w", name, os.NewSyscallError("TUNSETIFF", err))
	}
	offerOffloads(linux(), fd)
	// Only now: a TUN without a device polls as broken.
	return os.NewFile(uintptr(fd), name), nil
}

// offerOffloads tells the kernel which super-packets we take, and reports which
// it knows. Without any each packet comes by itself.
func offerOffloads(sys *kernel, fd int) (tso, uso bool) {
	switch {
	case sys.setOffload(fd, tunOffloads|tunUSO) == nil:
		return true, true
	case sys.setOffload(fd, tunOffloads) == nil:
		return true, false
	}
	return false, false
}

// DeviceOptions says how a TUN or a Veth is used.
type DeviceOptions struct {
	MTU    int          // of the device, in bytes
	Logger *slog.Logger // nil: discard

	// DisableOffload makes packets come and go one by one: the kernel neither
	// segments nor merges. A Veth can say so of what it writes only; what it
	// reads depends on the other end's gso_max_segs.
	DisableOffload bool
}

func (o *DeviceOptions) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// A TUN is a packet.Device over a TUN descriptor.
type TUN struct {
	file *file
	mtu  atomic.Int32
	in   extractor
	out  injector
}

// NewTUN returns the device over f, which OpenTUN made, and owns f from then on.
func NewTUN(f *os.File, o DeviceOptions) (*TUN, error) {
	t, err := newTUN(f, o, linux())
	if err != nil {
		return nil, fmt.Errorf("use %s: %w", f.Name(), err)
	}
	return t, nil
}

func newTUN(f *os.File, o DeviceOptions, sys *kernel) (*TUN, error) {
	fd, err := dup(f)
	if err != nil {
		return nil, err
	}
	err = checkTUN(fd)
	tso, uso := false, false
	switch {
	case err != nil:
	case o.DisableOffload:
		sys.setOffload(fd, 0) // who cannot set it has none
		o.logger().Info("segmentation offload of the device is switched off")
	default:
		if tso, uso = offerOffloads(sys, fd); !tso {
			o.logger().Info("the TUN device has no segmentation offload, doing without")
		}
	}
	unix.Close(fd)
	if err != nil {
		return nil, err
	}
	file, err := adoptFile(f)
	if err != nil {
		return nil, err
	}
	t := &TUN{file: file}
	t.mtu.Store(int32(o.MTU))
	t.in = extractor{file: file, sys: sys, open: openTUNFrame, buf: make([]byte, maxRead)}
	t.in.fill = t.in.readAll
	t.out.init(file, sys, o.logger())
	t.out.noTCP.Store(!tso)
	t.out.noUDP.Store(!uso)
	return t, nil
}

// checkTUN makes sure that fd is a TUN with virtio headers as this package
// reads them.
func checkTUN(fd int) error {
	req, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, req); err != nil {
		return os.NewSyscallError("TUNGETIFF", err)
	}
	const want = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	if req.Uint16()&(want|unix.IFF_TAP) != want {
		return errNoVirtio
	}
	return os.NewSyscallError("TUNSETVNETHDRSZ", unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, packet.VirtioHeaderLen))
}

// MTU returns the MTU in bytes that NewTUN was told, or what Watch has seen since.
func (t *TUN) MTU() int { return int(t.mtu.Load()) }

// TUNName returns the name of the interface that belongs to a descriptor that
// OpenTUN made, here or in another process. The error wraps EBADFD when the
// interface is gone.
func TUNName(f *os.File) (string, error) {
	fd, err := dup(f)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return tunName(fd)
}

func tunName(fd int) (string, error) {
	req, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, req); err != nil {
		return "", fmt.Errorf("not a TUN device: %w", os.NewSyscallError("TUNGETIFF", err))
	}
	return req.Name(), nil
}

// Close closes the descriptor; the device goes with it.
func (t *TUN) Close() error { return t.file.close() }

// Lost returns how many packets were given up here: malformed ones that were
// read, and those written that the kernel did not take. Safe for concurrent use.
func (t *TUN) Lost() uint64 { return t.in.malformed.Load() + t.out.lost.Load() }

// Write writes the packets of b, merged where possible. See packet.Device.
func (t *TUN) Write(b *packet.Batch) error { return t.out.write(b) }

// Read fills b with what the device has: the segments of about one super-packet,
// or as many single packets as there are. See packet.Device.
func (t *TUN) Read(b *packet.Batch) error { return t.in.read(b) }

// openTUNFrame takes the virtio header off.
func openTUNFrame(frame []byte) (h packet.VirtioHeader, pkt []byte, ok bool) {
	if len(frame) <= packet.VirtioHeaderLen {
		return h, nil, false
	}
	return packet.ParseVirtioHeader(frame), frame[packet.VirtioHeaderLen:], true
}
