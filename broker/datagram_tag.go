package broker

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A tag says of a datagram in the near end's queue where it is from. It travels
// as a descriptor (SCM_RIGHTS), which a plain read(2) of the program's discards: a
// memfd that is sealed, so that whoever gets hold of it can only read it.
type tag struct {
	from  netip.AddrPort // zero: no datagram, but a marker that wakes who polls
	local netip.Addr     // that it was sent to
}

// isMarker reports whether there is no datagram: its reader is to look what else
// there is, an error or what was put back.
func (t tag) isMarker() bool { return !t.from.IsValid() }

// tagLen is the length of a tag in bytes: addresses in IPv6's form, IPv4's mapped.
// A marker is all zero.
//
//	source (16), its port (2), local address (16)
const tagLen = 34

func (t tag) append(b []byte) []byte {
	if t.isMarker() {
		return append(b, make([]byte, tagLen)...)
	}
	from := t.from.Addr().As16()
	b = append(b, from[:]...)
	b = binary.BigEndian.AppendUint16(b, t.from.Port())
	var local [16]byte
	if t.local.IsValid() {
		local = t.local.As16()
	}
	return append(b, local[:]...)
}

// parseTag reads a tag. The program's own descriptors are none, whatever they hold.
func parseTag(b []byte) (t tag, is bool) {
	if len(b) != tagLen {
		return tag{}, false
	}
	from, local := netip.AddrFrom16([16]byte(b[:16])), netip.AddrFrom16([16]byte(b[18:]))
	if from.IsUnspecified() {
		return tag{}, true
	}
	t.from = netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(b[16:]))
	if !local.IsUnspecified() {
		t.local = local.Unmap()
	}
	return t, true
}

// maxTags is how many tags are kept for the next datagram from the same source.
const maxTags = 64

// A tagCache has the descriptors of tags. One that is under way lives on when it
// is closed here.
type tagCache struct {
	mu  sync.RWMutex // held while a descriptor is used
	fds map[tag]int
}

// use calls f with the descriptor of t.
func (c *tagCache) use(t tag, f func(fd int) error) error {
	c.mu.RLock()
	if fd, has := c.fds[t]; has {
		defer c.mu.RUnlock()
		return f(fd)
	}
	c.mu.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if fd, has := c.fds[t]; has { // somebody else was faster
		return f(fd)
	}
	if len(c.fds) >= maxTags {
		c.dropOne()
	}
	fd, err := newTag(t)
	if err == unix.EMFILE && c.dropOne() {
		fd, err = newTag(t)
	}
	if err != nil {
		return err
	}
	if c.fds == nil {
		c.fds = make(map[tag]int)
	}
	c.fds[t] = fd
	return f(fd)
}

// dropOne closes any of the descriptors. c.mu must be held.
func (c *tagCache) dropOne() bool {
	for t, fd := range c.fds {
		unix.Close(fd)
		delete(c.fds, t)
		return true
	}
	return false
}

func (c *tagCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.dropOne() {
	}
}

// newTag makes the descriptor of t.
func newTag(t tag) (int, error) {
	fd, err := unix.MemfdCreate("udp", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("udp", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, err
	}
	_, err = unix.Pwrite(fd, t.append(nil), 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// readTag returns the tag that fd is the descriptor of.
func readTag(fd int) (tag, bool) {
	var b [tagLen + 1]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err != nil || n < 0 {
		return tag{}, false
	}
	return parseTag(b[:n])
}
