/* Socket options of every level: what a new socket has, what can be set. */
#include "say.h"
#include <netinet/udp.h>

/* An option of a level. What it is set to is an int unless it is set to
 * nothing (-1). */
struct option {
	const char *name;
	int level, number, value;
};

#define O(level, name, value) { #name, level, name, value }

static const struct option of_all[] = {
	O(SOL_SOCKET, SO_TYPE, 1), O(SOL_SOCKET, SO_DOMAIN, 1), O(SOL_SOCKET, SO_PROTOCOL, 1),
	O(SOL_SOCKET, SO_ERROR, 1), O(SOL_SOCKET, SO_ACCEPTCONN, 1), O(SOL_SOCKET, SO_REUSEADDR, 1),
	O(SOL_SOCKET, SO_REUSEPORT, 1), O(SOL_SOCKET, SO_KEEPALIVE, 1), O(SOL_SOCKET, SO_BROADCAST, 1),
	O(SOL_SOCKET, SO_OOBINLINE, 1), O(SOL_SOCKET, SO_PRIORITY, 3), O(SOL_SOCKET, SO_MARK, 7),
	O(SOL_SOCKET, SO_DONTROUTE, 0), O(SOL_SOCKET, SO_RCVLOWAT, 1), O(SOL_SOCKET, SO_SNDLOWAT, 1),
	O(SOL_SOCKET, SO_RCVBUF, 4096), O(SOL_SOCKET, SO_SNDBUF, 8192), O(SOL_SOCKET, SO_RCVBUFFORCE, 8192),
	O(SOL_SOCKET, SO_TIMESTAMP, 1), O(SOL_SOCKET, SO_PASSCRED, -1), O(SOL_SOCKET, SO_BUSY_POLL, -1),
	O(SOL_SOCKET, SO_INCOMING_CPU, -1), O(SOL_SOCKET, SO_ZEROCOPY, 1), { "no such option", SOL_SOCKET, 9999, 1 },
	{ "of no level", 77, 1, 1 },
};

static const struct option of_ip[] = {
	O(IPPROTO_IP, IP_TOS, 0x10), O(IPPROTO_IP, IP_TTL, 65), O(IPPROTO_IP, IP_TTL, 0),
	O(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO), O(IPPROTO_IP, IP_MTU, -1), O(IPPROTO_IP, IP_RECVERR, 1),
	O(IPPROTO_IP, IP_PKTINFO, 1), O(IPPROTO_IP, IP_RECVTOS, 1), O(IPPROTO_IP, IP_RECVTTL, 1),
	O(IPPROTO_IP, IP_FREEBIND, 1), O(IPPROTO_IP, IP_TRANSPARENT, 1), O(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1),
	O(IPPROTO_IP, IP_MULTICAST_TTL, 2), O(IPPROTO_IP, IP_MULTICAST_LOOP, 0), { "no such option", IPPROTO_IP, 999, 1 },
};

static const struct option of_ipv6[] = {
	O(IPPROTO_IPV6, IPV6_V6ONLY, 1), O(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 65), O(IPPROTO_IPV6, IPV6_TCLASS, 0x10),
	O(IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO), O(IPPROTO_IPV6, IPV6_RECVERR, 1),
	O(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1), O(IPPROTO_IPV6, IPV6_RECVTCLASS, 1), O(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1),
	O(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 2), O(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0), O(IPPROTO_IPV6, IPV6_DONTFRAG, 1),
	O(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0), { "no such option", IPPROTO_IPV6, 999, 1 }, O(IPPROTO_IP, IP_TOS, 0x10),
};

static const struct option of_tcp[] = {
	O(IPPROTO_TCP, TCP_NODELAY, 1), O(IPPROTO_TCP, TCP_CORK, 1), O(IPPROTO_TCP, TCP_MAXSEG, 1000),
	O(IPPROTO_TCP, TCP_KEEPIDLE, 60), O(IPPROTO_TCP, TCP_KEEPINTVL, 10), O(IPPROTO_TCP, TCP_KEEPCNT, 5),
	O(IPPROTO_TCP, TCP_SYNCNT, 3), O(IPPROTO_TCP, TCP_LINGER2, 10), O(IPPROTO_TCP, TCP_DEFER_ACCEPT, 1),
	O(IPPROTO_TCP, TCP_QUICKACK, 1), O(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000), O(IPPROTO_TCP, TCP_FASTOPEN, 5),
	O(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1), O(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384), O(IPPROTO_TCP, TCP_REPAIR, 1),
	O(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1), O(IPPROTO_TCP, TCP_SAVE_SYN, 1), { "no such option", IPPROTO_TCP, 999, 1 },
	O(IPPROTO_UDP, UDP_CORK, 1),
};

static const struct option of_udp[] = {
	O(IPPROTO_UDP, UDP_CORK, 1), O(IPPROTO_UDP, UDP_CORK, 0), { "UDP_SEGMENT", IPPROTO_UDP, 103, 1200 },
	{ "UDP_GRO", IPPROTO_UDP, 104, 1 }, { "no such option", IPPROTO_UDP, 999, 1 }, O(IPPROTO_TCP, TCP_NODELAY, 1),
};

static void get(int fd, const struct option *o, const char *when)
{
	char call[100];
	int value = 0;
	socklen_t len = sizeof value;

	snprintf(call, sizeof call, "getsockopt(%s)%s", o->name, when);
	if (getsockopt(fd, o->level, o->number, &value, &len) < 0)
		say(call, -1);
	else
		line("%s = %d, %u bytes", call, value, len);
}

static void try_all(int fd, const struct option *list, size_t n)
{
	char call[100];

	for (const struct option *o = list; o < list + n; o++) {
		get(fd, o, "");
		if (o->value < 0)
			continue;
		snprintf(call, sizeof call, "setsockopt(%s, %d)", o->name, o->value);
		if (say(call, set_int(fd, o->level, o->number, o->value)) >= 0)
			get(fd, o, " afterwards");
	}
}

#define TRY(fd, list) try_all(fd, list, sizeof list / sizeof *list)

static void tcp(const struct net *n)
{
	int fd = stream(n, 0);

	TRY(fd, of_all);
	close(fd);
	fd = stream(n, 0);
	TRY(fd, of_tcp);
	close(fd);
	fd = stream(n, 0);
	if (n->family == AF_INET)
		TRY(fd, of_ip);
	else
		TRY(fd, of_ipv6);
	close(fd);
}

static void udp(const struct net *n)
{
	int fd = datagram(n, 0);

	TRY(fd, of_all);
	close(fd);
	fd = datagram(n, 0);
	TRY(fd, of_udp);
	close(fd);
	fd = datagram(n, 0);
	if (n->family == AF_INET)
		TRY(fd, of_ip);
	else
		TRY(fd, of_ipv6);
	close(fd);
}

/* Of a connection: what both ends have agreed on. */
static void of_a_connection(const struct net *n)
{
	int fd = connected(n, ECHO), mss = 0;
	char name[32] = "", info[512];
	socklen_t len = sizeof mss;

	say("getsockopt(TCP_MAXSEG)", getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &len));
	line("  at most the tunnel's = %d", mss <= 1380 && mss > 500);
	len = sizeof info;
	say("getsockopt(TCP_INFO)", getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len));
	line("  state %d", info[0]);
	len = sizeof name;
	say("getsockopt(TCP_CONGESTION)", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	say("setsockopt(TCP_CONGESTION)", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	say("setsockopt(TCP_CONGESTION), no such", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "none", 4));
	say("setsockopt(TCP_ULP)", setsockopt(fd, IPPROTO_TCP, TCP_ULP, "none", 4));
	if (n->family == AF_INET) {
		len = sizeof mss;
		say("getsockopt(IP_MTU)", getsockopt(fd, IPPROTO_IP, IP_MTU, &mss, &len));
		line("  the tunnel's = %d", mss == 1420);
	}
	close(fd);
}

static void to_a_device(const struct net *n)
{
	char name[16] = "";
	socklen_t len = sizeof name;
	int fd = stream(n, 0);

	say("getsockopt(SO_BINDTODEVICE)", getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
	line("  the device = \"%.15s\", %u bytes", name, len);
	say("setsockopt(SO_BINDTODEVICE, none)", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	say("setsockopt(SO_BINDTODEVICE, no such)", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nodevice", 8));
	close(fd);
}

static void malformed(const struct net *n)
{
	int fd = stream(n, 0), value = 1;
	struct linger l = { 1, 5 };
	socklen_t len = 0;

	say("setsockopt, 1 byte", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, 1));
	say("setsockopt, bad pointer", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, (void *)16, 4));
	say("setsockopt, length -1", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, -1));
	say("setsockopt, closed", setsockopt(99, SOL_SOCKET, SO_REUSEADDR, &value, 4));
	say("getsockopt, no length", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, NULL));
	say("getsockopt, no room", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len));
	line("  length %u", len);
	len = 2;
	say("getsockopt, room for 2", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len));
	line("  length %u", len);
	len = -1;
	say("getsockopt, length -1", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len));
	len = 4;
	say("getsockopt, closed", getsockopt(99, SOL_SOCKET, SO_ERROR, &value, &len));
	say("getsockopt, standard output", getsockopt(1, SOL_SOCKET, SO_ERROR, &value, &len));
	say("setsockopt(SO_LINGER)", setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	len = sizeof l;
	memset(&l, 0, sizeof l);
	say("getsockopt(SO_LINGER)", getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len));
	line("  %d %d", l.l_onoff, l.l_linger);
	len = 4;
	say("getsockopt, bad pointer", getsockopt(fd, SOL_SOCKET, SO_ERROR, (void *)16, &len));
}

const struct scenario options_scenarios[] = {
	{ "tcp", BOTH, tcp },
	{ "udp", BOTH, udp },
	{ "of-a-connection", BOTH, of_a_connection },
	{ "to-a-device", BOTH, to_a_device },
	{ "malformed", BOTH, malformed },
	{ 0 },
};
