/* Sockets of other kinds, and calls that are as good as sockets. */
#include "say.h"

static void others(const struct net *n)
{
	static const struct { const char *name; int family, type, protocol; } list[] = {
		{ "AF_INET raw ICMP", AF_INET, SOCK_RAW, IPPROTO_ICMP },
		{ "AF_INET raw", AF_INET, SOCK_RAW, IPPROTO_RAW },
		{ "AF_INET6 raw ICMP", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6 },
		{ "AF_INET ICMP datagrams", AF_INET, SOCK_DGRAM, IPPROTO_ICMP },
		{ "AF_INET6 ICMP datagrams", AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6 },
		{ "AF_INET SCTP", AF_INET, SOCK_STREAM, IPPROTO_SCTP },
		{ "AF_INET MPTCP", AF_INET, SOCK_STREAM, 262 },
		{ "AF_INET UDP-Lite", AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE },
		{ "AF_INET protocol 253", AF_INET, SOCK_STREAM, 253 },
		{ "AF_INET SEQPACKET", AF_INET, SOCK_SEQPACKET, 0 },
		{ "AF_PACKET", AF_PACKET, SOCK_RAW, 0 },
		{ "AF_VSOCK", 40, SOCK_STREAM, 0 },
		{ "AF_ALG", 38, SOCK_SEQPACKET, 0 },
		{ "AF_BLUETOOTH", 31, SOCK_RAW, 0 },
		{ "AF_CAN", 29, SOCK_RAW, 1 },
		{ "AF_TIPC", 30, SOCK_STREAM, 0 },
		{ "AF_XDP", 44, SOCK_RAW, 0 },
		{ "AF_UNSPEC", 0, SOCK_STREAM, 0 },
		{ "family 77", 77, SOCK_STREAM, 0 },
		{ "family -1", -1, SOCK_STREAM, 0 },
	};
	int pair[2];

	(void)n;
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		int fd = socket(list[i].family, list[i].type, list[i].protocol);

		line("socket(%s) = %s", list[i].name, fd < 0 ? error_name(errno) : "a socket");
		if (fd >= 0)
			close(fd);
	}
	say("socketpair(AF_INET)", socketpair(AF_INET, SOCK_STREAM, 0, pair));
	say("socketpair(AF_INET6, UDP)", socketpair(AF_INET6, SOCK_DGRAM, 0, pair));
}

static void other_calls(const struct net *n)
{
	struct where w = at(n->server, ECHO);
	int fd = stream(n, 0);

	line("io_uring_setup = %s", syscall(SYS_io_uring_setup, 0, NULL) < 0 ? error_name(errno) : "a ring");
	say("clone3, no arguments", syscall(SYS_clone3, NULL, 0));
	say("connect by syscall(2)", syscall(SYS_connect, fd, &w.sa, w.len));
	/* A descriptor is an int: the upper half of a register does not count. */
	say("connect, upper half set", syscall(SYS_connect, (long)fd | 1L << 32, &w.sa, (long)w.len | 1L << 32));
	close(fd);
	fd = (int)say("socket, upper half set", syscall(SYS_socket, (long)AF_INET | 1L << 32, (long)SOCK_STREAM | 1L << 40, 0L | 1L << 33));
	say("connect", dial(fd, at("10.9.0.1", ECHO)));
	close(fd);
}

const struct scenario families_scenarios[] = {
	{ "others", V4, others },
	{ "other-calls", V4, other_calls },
	{ 0 },
};
