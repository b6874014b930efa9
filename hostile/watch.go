package hostile

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A capture sees every packet of the network namespace it was opened in, on all
// interfaces, lo included, in both directions.
type capture struct {
	fd   int
	stop atomic.Bool
	done chan struct{} // closed when the last packet has been looked at
	err  error         // why it has ended before it was told to; for after done
	lost uint32
}

// openCapture begins to capture. saw is called for each packet, by one goroutine.
func openCapture(saw func(etherType uint16, pkt []byte, where string)) (*capture, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_PACKET)", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<20)
	}
	// The reader looks up from time to time whether it is to stop.
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap16(unix.ETH_P_ALL)})
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind(AF_PACKET)", err)
	}
	c := &capture{fd: fd, done: make(chan struct{})}
	go c.read(saw)
	return c, nil
}

// read ends when it was told to stop and nothing is queued any more.
func (c *capture) read(saw func(uint16, []byte, string)) {
	defer close(c.done)
	b, names := make([]byte, 1<<17), make(map[int]string)
	for {
		n, from, err := unix.Recvfrom(c.fd, b, 0)
		switch {
		case err == unix.EAGAIN && c.stop.Load():
			return
		case err == unix.EAGAIN || err == unix.EINTR || err == unix.ENETDOWN:
			continue
		case err != nil:
			c.err = os.NewSyscallError("recvfrom(AF_PACKET)", err)
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		name, known := names[ll.Ifindex]
		if !known { // the kernel is asked once: there may be many packets
			name = interfaceName(ll.Ifindex)
			names[ll.Ifindex] = name
		}
		saw(swap16(ll.Protocol), b[:n], name)
	}
}

// close ends the capture when all that came before has been looked at. It returns
// why it had ended by itself, if it had.
func (c *capture) close() error {
	c.stop.Store(true)
	<-c.done
	if stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		c.lost = stats.Drops
	}
	unix.Close(c.fd)
	return c.err
}

func interfaceName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return fmt.Sprintf("if%d", index)
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }
