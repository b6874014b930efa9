package broker

// Options of a level, by number (linux/in.h, linux/in6.h), by which a socket of IP
// could send by another interface than its own, if only to tell the network of a group
// that a TCP socket has joined: source routes, the interface of datagrams, groups of
// all kinds, router alerts, extension headers, the change of the family. They do not
// reach the kernel.
var (
	UnfitIPv4 = []uint32{4, 5, 19, 32, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 50}
	UnfitIPv6 = []uint32{1, 17, 20, 21, 22, 27, 28, 42, 43, 44, 45, 46, 47, 48, 50, 54, 55, 57, 59, 76}
)
