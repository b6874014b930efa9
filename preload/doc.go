// Package preload is the last resort among the modes: the program's calls to libc
// are caught by a library that its dynamic loader loads first (LD_PRELOAD), the
// shim. It decides nothing. Each call that it catches is one question to a Server
// in adit, which does what is asked with package broker, as seccomp mode does.
//
//	shim ── question, socket ──► Server ──► broker.Broker, names ──► ServerConfig.Lookup
//	     ◄─ answer, descriptor ─
//
// The shim is no guard: a program may go past libc. The guard is a seccomp filter
// that needs no notification, and under which the only inet sockets are those that
// adit has handed out. Since nobody can look into a call there, they are TCP only:
// see package broker for why a datagram socket could not be held.
//
//	doc.go
//	protocol.go   the messages; wire.h says the same to the shim
//	server.go     the Server: who asks; request.go: a question on its way
//	calls.go      the system calls
//	addrinfo.go   getaddrinfo, of which order.go sorts the results, numeric.go reads
//	              and makes addresses, hosts.go reads /etc/hosts and /etc/services
//	nameinfo.go   getnameinfo, gethostbyname and gethostbyaddr
//	dns.go        res_query and its like, and the names of addresses
//	embed.go      the built shim, written out for one run
//	guard.go      the filter
//	elf.go        which commands the mode can do nothing for
//	shim/         the shim, in C
package preload
