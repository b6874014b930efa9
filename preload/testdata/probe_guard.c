/*
 * The part of the test program that goes past libc.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "probe.h"

/* Past libc, as a static program would: the instruction itself. */
static long direct(long number, long a, long b, long c, long d, long e)
{
	long r;
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "=a"(r) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	r = x0;
#else
	(void)number, (void)a, (void)b, (void)c, (void)d, (void)e;
	r = -ENOSYS;
#endif
	return r;
}

static void refused(const char *what, long r)
{
	printf("%s %s\n", what, error(r < 0 ? (int)-r : 0));
}

/* What the guard says to who goes past the shim. The socket is one handed out. */
int guard(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	struct group_req join = {.gr_interface = 1};
	struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof(to)};
	struct { struct msghdr header; unsigned n; } many = {.header = message};
	char ring[256] = "";
	int pair[2], on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, "10.9.0.1", &to.sin_addr);
	refused("inet", direct(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0));
	refused("inet6 udp", direct(SYS_socket, AF_INET6, SOCK_DGRAM, 0, 0, 0));
	refused("high half", direct(SYS_socket, AF_INET | 1L << 32, SOCK_STREAM, 0, 0, 0));
	refused("packet", direct(SYS_socket, 17, SOCK_RAW, 0, 0, 0));
	refused("vsock", direct(SYS_socket, 40, SOCK_STREAM, 0, 0, 0));
	refused("unix", direct(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0));
	refused("netlink", direct(SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0, 0));
	refused("unix pair", direct(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, (long)pair, 0));
	refused("tipc pair", direct(SYS_socketpair, 30, SOCK_STREAM, 0, (long)pair, 0));
	refused("connect", direct(SYS_connect, fd, (long)&to, sizeof(to), 0, 0));
	refused("connect unix", direct(SYS_connect, pair[0], (long)&un, sizeof(un), 0, 0));
	refused("fast open by sendto", direct(SYS_sendto, fd, (long)ring, 1, MSG_FASTOPEN, (long)&to));
	refused("fast open by sendmsg", direct(SYS_sendmsg, fd, (long)&message, MSG_FASTOPEN, 0, 0));
	refused("fast open by sendmmsg", direct(SYS_sendmmsg, fd, (long)&many, 1, MSG_FASTOPEN, 0));
	refused("fast open by connect", direct(SYS_setsockopt, fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, (long)&on, sizeof(on)));
	refused("join", direct(SYS_setsockopt, fd, IPPROTO_IP, MCAST_JOIN_GROUP, (long)&join, sizeof(join)));
	refused("no delay", direct(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, (long)&on, sizeof(on)));
	refused("io_uring_setup", direct(425, 8, (long)ring, 0, 0, 0));
	refused("io_uring_enter", direct(426, 0, 0, 0, 0, 0));
	refused("io_uring_register", direct(427, 0, 0, 0, 0, 0));
	refused("pidfd_getfd", direct(438, 0, 0, 0, 0, 0));
#if defined(__x86_64__)
	refused("x32", direct(0x40000000 + SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0));
#else
	refused("x32", -ENOSYS);
#endif
	return 0;
}
