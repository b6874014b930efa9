package broker

import (
	"encoding/binary"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// An option is one of a socket's that is a number.
type option struct{ level, name int }

// Of a kernel's options those are known that programs expect to be there. Most are
// remembered and mean nothing: what is sent through the tunnel has no traffic class,
// and its hop limit is the tunnel's.
type optionRange struct{ initial, min, max int }

const (
	defaultTTL = 64
	anyInt     = 1<<31 - 1
)

var knownOptions = map[option]optionRange{
	{unix.SOL_IP, unix.IP_TOS}:                  {0, -anyInt, anyInt},
	{unix.SOL_IP, unix.IP_TTL}:                  {defaultTTL, -1, 255},
	{unix.SOL_IP, unix.IP_MTU_DISCOVER}:         {unix.IP_PMTUDISC_WANT, 0, unix.IP_PMTUDISC_OMIT},
	{unix.SOL_IP, unix.IP_RECVERR}:              onOff,
	{unix.SOL_IP, unix.IP_RECVERR_RFC4884}:      {0, 0, 1},
	{unix.SOL_IP, unix.IP_PKTINFO}:              onOff,
	{unix.SOL_IP, unix.IP_RECVTOS}:              onOff,
	{unix.SOL_IP, unix.IP_RECVTTL}:              onOff,
	{unix.SOL_IP, unix.IP_RECVOPTS}:             onOff,
	{unix.SOL_IP, unix.IP_RETOPTS}:              onOff,
	{unix.SOL_IP, unix.IP_FREEBIND}:             onOff,
	{unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT}: onOff,
	{unix.SOL_IP, unix.IP_MULTICAST_TTL}:        {1, -1, 255},
	{unix.SOL_IP, unix.IP_MULTICAST_LOOP}:       {1, -anyInt - 1, 1},
	{unix.SOL_IP, unix.IP_MULTICAST_ALL}:        {1, 0, 1},
	{unix.SOL_IP, unix.IP_UNICAST_IF}:           {0, -anyInt, anyInt},

	// Of unix sockets the kernel refuses it (Linux 6.14).
	{unix.SOL_SOCKET, unix.SO_REUSEPORT}: onOff,

	{unix.SOL_IPV6, unix.IPV6_V6ONLY}:          onOff,
	{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS}:    {defaultTTL, -1, 255},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS}:  {1, -1, 255},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP}:  {1, 0, 1},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_IF}:    {0, 0, anyInt},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_ALL}:   {1, -anyInt - 1, 1},
	{unix.SOL_IPV6, unix.IPV6_UNICAST_IF}:      {0, -anyInt, anyInt},
	{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER}:    {unix.IPV6_PMTUDISC_WANT, 0, unix.IPV6_PMTUDISC_OMIT},
	{unix.SOL_IPV6, unix.IPV6_MTU}:             {0, 0, anyInt}, // asked for, it is another one
	{unix.SOL_IPV6, unix.IPV6_DONTFRAG}:        onOff,
	{unix.SOL_IPV6, unix.IPV6_RECVERR}:         onOff,
	{unix.SOL_IPV6, unix.IPV6_RECVERR_RFC4884}: {0, 0, 1},
	{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO}:     onOff,
	{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT}:    onOff,
	{unix.SOL_IPV6, unix.IPV6_RECVTCLASS}:      onOff,
	{unix.SOL_IPV6, unix.IPV6_RECVPATHMTU}:     onOff,
	{unix.SOL_IPV6, unix.IPV6_TCLASS}:          {0, -1, 255},
	{unix.SOL_IPV6, unix.IPV6_AUTOFLOWLABEL}:   {1, -anyInt - 1, 1},
	{unix.SOL_IPV6, unix.IPV6_FREEBIND}:        onOff,

	{unix.SOL_UDP, unix.UDP_SEGMENT}:      {0, 0, 0xffff},
	{unix.SOL_UDP, unix.UDP_GRO}:          onOff, // nothing is ever coalesced
	{unix.SOL_UDP, unix.UDP_NO_CHECK6_TX}: onOff,
	{unix.SOL_UDP, unix.UDP_NO_CHECK6_RX}: onOff,
}

// onOff is a flag: the kernel takes any number, and says 1 for what is not 0. Its least
// value is that of no other options.
var onOff = optionRange{0, -anyInt - 1, 1}

// joins and leaves are the options of group membership. No interface of the program's
// has any group.
var (
	joins = map[option]bool{
		{unix.SOL_IP, unix.IP_ADD_MEMBERSHIP}:         true,
		{unix.SOL_IP, unix.IP_ADD_SOURCE_MEMBERSHIP}:  true,
		{unix.SOL_IP, unix.MCAST_JOIN_GROUP}:          true,
		{unix.SOL_IP, unix.MCAST_JOIN_SOURCE_GROUP}:   true,
		{unix.SOL_IPV6, unix.IPV6_JOIN_GROUP}:         true,
		{unix.SOL_IPV6, unix.IPV6_JOIN_ANYCAST}:       true,
		{unix.SOL_IPV6, unix.MCAST_JOIN_GROUP}:        true,
		{unix.SOL_IPV6, unix.MCAST_JOIN_SOURCE_GROUP}: true,
	}
	leaves = map[option]bool{
		{unix.SOL_IP, unix.IP_DROP_MEMBERSHIP}:         true,
		{unix.SOL_IP, unix.IP_DROP_SOURCE_MEMBERSHIP}:  true,
		{unix.SOL_IP, unix.IP_BLOCK_SOURCE}:            true,
		{unix.SOL_IP, unix.IP_UNBLOCK_SOURCE}:          true,
		{unix.SOL_IP, unix.IP_MSFILTER}:                true,
		{unix.SOL_IP, unix.MCAST_BLOCK_SOURCE}:         true,
		{unix.SOL_IP, unix.MCAST_UNBLOCK_SOURCE}:       true,
		{unix.SOL_IP, unix.MCAST_LEAVE_GROUP}:          true,
		{unix.SOL_IP, unix.MCAST_LEAVE_SOURCE_GROUP}:   true,
		{unix.SOL_IP, unix.MCAST_MSFILTER}:             true,
		{unix.SOL_IPV6, unix.IPV6_LEAVE_GROUP}:         true,
		{unix.SOL_IPV6, unix.IPV6_LEAVE_ANYCAST}:       true,
		{unix.SOL_IPV6, unix.MCAST_BLOCK_SOURCE}:       true,
		{unix.SOL_IPV6, unix.MCAST_UNBLOCK_SOURCE}:     true,
		{unix.SOL_IPV6, unix.MCAST_LEAVE_GROUP}:        true,
		{unix.SOL_IPV6, unix.MCAST_LEAVE_SOURCE_GROUP}: true,
		{unix.SOL_IPV6, unix.MCAST_MSFILTER}:           true,
	}
)

// options has the values that were set. Safe for concurrent use.
type options struct {
	mu     sync.Mutex
	values map[option]int
}

func (o *options) get(level, name int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v, set := o.values[option{level, name}]; set {
		return v
	}
	return knownOptions[option{level, name}].initial
}

func (o *options) isOn(level, name int) bool { return o.get(level, name) != 0 }

func (o *options) set(key option, v int) syscall.Errno {
	r, known := knownOptions[key]
	if !known {
		return unix.ENOPROTOOPT
	}
	if r.min == onOff.min && v != 0 {
		v = 1
	}
	if v < r.min || v > r.max || v == 0 && key == (option{unix.SOL_IP, unix.IP_TTL}) {
		return unix.EINVAL
	}
	if key == (option{unix.SOL_IP, unix.IP_TOS}) {
		v &= 0xff
	}
	if v == -1 { // of the options that have it: what it was first
		v = r.initial
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.values == nil {
		o.values = make(map[option]int)
	}
	o.values[key] = v
	return ok
}

// SetOption is setsockopt(2) of the levels SOL_IP, SOL_IPV6 and SOL_UDP, and of
// SO_REUSEPORT.
func (d *Datagram) SetOption(level, name int, value []byte) syscall.Errno {
	key := option{level, name}
	if !d.hasLevel(level) && key != (option{unix.SOL_SOCKET, unix.SO_REUSEPORT}) {
		return unix.ENOPROTOOPT
	}
	switch {
	case joins[key]:
		return unix.ENODEV
	case leaves[key]:
		return unix.EADDRNOTAVAIL
	case key == option{unix.SOL_IP, unix.IP_MULTICAST_IF}:
		return ok // struct ip_mreqn and shorter ones: nothing is sent to groups
	}
	v, errno := optionValue(level, value)
	if errno != ok {
		return errno
	}
	if key == (option{unix.SOL_IPV6, unix.IPV6_V6ONLY}) && d.isBound() {
		return unix.EINVAL
	}
	return d.opts.set(key, v)
}

// optionValue reads a number: at the level of IPv4 one of a byte is as good.
func optionValue(level int, value []byte) (int, syscall.Errno) {
	switch {
	case len(value) >= 4:
		return int(int32(binary.NativeEndian.Uint32(value))), ok
	case level == unix.SOL_IP && len(value) >= 1:
		return int(value[0]), ok
	}
	return 0, unix.EINVAL
}

// hasLevel reports whether a socket of the family has options of the level.
func (d *Datagram) hasLevel(level int) bool {
	return level == unix.SOL_IP || level == unix.SOL_UDP || level == unix.SOL_IPV6 && d.family == unix.AF_INET6
}

// isBound reports whether the socket has a port.
func (d *Datagram) isBound() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bound
}

// GetOption is getsockopt(2), of SOL_SOCKET only where the near end would tell what
// it is.
func (d *Datagram) GetOption(level, name int) ([]byte, syscall.Errno) {
	number := func(v int) ([]byte, syscall.Errno) {
		return binary.NativeEndian.AppendUint32(nil, uint32(int32(v))), ok
	}
	if level == unix.SOL_SOCKET {
		switch name {
		case unix.SO_DOMAIN:
			return number(d.family)
		case unix.SO_TYPE:
			return number(unix.SOCK_DGRAM)
		case unix.SO_PROTOCOL:
			return number(unix.IPPROTO_UDP)
		case unix.SO_ERROR:
			return number(int(d.in.take()))
		case unix.SO_REUSEPORT:
			return number(d.opts.get(level, name))
		}
		return nil, unix.ENOPROTOOPT
	}
	if !d.hasLevel(level) {
		if d.family == unix.AF_INET {
			return nil, unix.EOPNOTSUPP // so says ip_getsockopt
		}
		return nil, unix.ENOPROTOOPT
	}
	switch key := (option{level, name}); key {
	case option{unix.SOL_IP, unix.IP_MTU}, option{unix.SOL_IPV6, unix.IPV6_MTU}:
		d.mu.Lock()
		connected := d.peer.IsValid()
		d.mu.Unlock()
		if !connected {
			return nil, unix.ENOTCONN
		}
		return number(tunnelMTU)
	case option{unix.SOL_IP, unix.IP_MULTICAST_IF}:
		return number(0)
	default:
		if _, known := knownOptions[key]; !known {
			return nil, unix.ENOPROTOOPT
		}
		return number(d.opts.get(level, name))
	}
}
