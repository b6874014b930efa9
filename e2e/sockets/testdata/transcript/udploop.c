/* UDP between the program's own sockets. */
#include "say.h"

static int bound(const struct net *n, const char *ip, int port)
{
	struct where w = at(ip, port);
	int fd = datagram(n, 0);

	if (bind(fd, &w.sa, w.len) < 0)
		say("bind for what follows", -1);
	return fd;
}

static long send_to(int fd, struct where w, const char *text)
{
	return sendto(fd, text, strlen(text), 0, &w.sa, w.len);
}

static void take_from(const char *call, int fd)
{
	char b[64];
	struct where w = { .len = sizeof w.room };
	ssize_t r = recvfrom(fd, b, sizeof b, MSG_DONTWAIT, &w.sa, &w.len);

	say_bytes(call, r, b);
	if (r >= 0)
		line("  from %s", where_name(&w));
}

/* talk - from a new socket to a bound one, and back */
static void talk(const struct net *n, const char *bind_to, const char *to)
{
	int s = bound(n, bind_to, 0), c = datagram(n, 0);
	struct where w = { .len = sizeof w.room };
	char b[16];
	ssize_t r;

	line("bound to %s", ip_name(bind_to));
	line("  sending to %s", ip_name(to));
	own_name("getsockname, server", s);
	say("sendto", send_to(c, at(to, port_of(s)), "ping"));
	own_name("getsockname, client", c);
	wait_for(s, POLLIN, 300);
	r = recvfrom(s, b, sizeof b, MSG_DONTWAIT, &w.sa, &w.len);
	say_bytes("recvfrom", r, b);
	if (r >= 0) {
		line("  from %s", where_name(&w));
		say("sendto, back", sendto(s, "pong", 4, 0, &w.sa, w.len));
		wait_for(c, POLLIN, 2000);
		take_from("recvfrom, client", c);
	}
	close(s), close(c);
}

static void talking(const struct net *n)
{
	talk(n, n->lo, n->lo);
	talk(n, n->any, n->lo);
	talk(n, n->any, n->me);
	talk(n, n->me, n->me);
	talk(n, n->any, n->any);
	talk(n, n->me, n->lo);
}

static void connected_pair(const struct net *n)
{
	int a = bound(n, n->lo, 0), b = bound(n, n->lo, 0), stranger = bound(n, n->lo, 0);

	say("connect", dial(a, at(n->lo, port_of(b))));
	say("connect", dial(b, at(n->lo, port_of(a))));
	peer_name("getpeername", a);
	say("send", send_text(a, "to b"));
	say("sendto, a stranger", send_to(stranger, at(n->lo, port_of(b)), "not heard"));
	wait_for(b, POLLIN, 2000);
	take_from("recvfrom", b);
	take_from("recvfrom", b);
	say("write", write(b, "to a", 4));
	wait_for(a, POLLIN, 2000);
	take_from("recvfrom", a);
	close(b);
	say("send, it is closed", send_text(a, "x"));
	wait_for(a, 0, 300);
	say("send again", send_text(a, "x"));
	close(a), close(stranger);
}

static void to_oneself(const struct net *n)
{
	int fd = bound(n, n->lo, 0);

	say("sendto", send_to(fd, at(n->lo, port_of(fd)), "me"));
	wait_for(fd, POLLIN, 2000);
	take_from("recvfrom", fd);
	say("connect", dial(fd, at(n->lo, port_of(fd))));
	say("send", send_text(fd, "me again"));
	wait_for(fd, POLLIN, 2000);
	take_from("recvfrom", fd);
	close(fd);
}

static void nobody(const struct net *n)
{
	int fd = datagram(n, 0);

	say("connect", dial(fd, at(n->lo, own + 99)));
	own_name("getsockname", fd);
	say("send", send_text(fd, "x"));
	wait_for(fd, 0, 500);
	say_poll("poll", fd, POLLIN, 0);
	take_from("recvfrom", fd);
	close(fd);
	fd = datagram(n, 0);
	say("sendto", send_to(fd, at(n->lo, own + 99), "x"));
	close(fd);
}

static void dual_stack(const struct net *n)
{
	int six = bound(n, "::", 0), four = socket(AF_INET, SOCK_DGRAM, 0), only = datagram(n, 0);
	struct where w = at("::", 0);

	say("sendto 127.0.0.1", send_to(four, at("127.0.0.1", port_of(six)), "four"));
	wait_for(six, POLLIN, 2000);
	take_from("recvfrom", six);
	say("IPV6_V6ONLY", set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	say("bind", bind(only, &w.sa, w.len));
	say("sendto mapped, V6ONLY", send_to(only, at("::ffff:127.0.0.1", port_of(six)), "x"));
	close(six), close(four), close(only);
}

static void shared_port(const struct net *n)
{
	int a = datagram(n, 0), b = datagram(n, 0);
	struct where w = at(n->lo, own + 70);

	say("SO_REUSEADDR", set_int(a, SOL_SOCKET, SO_REUSEADDR, 1));
	say("SO_REUSEADDR", set_int(b, SOL_SOCKET, SO_REUSEADDR, 1));
	say("bind", bind(a, &w.sa, w.len));
	say("bind, both reuse", bind(b, &w.sa, w.len));
	close(a), close(b);
	a = datagram(n, 0);
	say("bind, closed ones", bind(a, &w.sa, w.len));
	close(a);
}

static void across_processes(const struct net *n)
{
	int s = bound(n, n->lo, 0), port = port_of(s);
	pid_t child = fork();

	if (child == 0) {
		int c = datagram(n, 0);

		close(s);
		say("sendto of the child", send_to(c, at(n->lo, port), "from the child"));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	wait_for(s, POLLIN, 2000);
	take_from("recvfrom", s);
	close(s);
}

static void broadcast(const struct net *n)
{
	int fd = datagram(n, 0);

	say("sendto 255.255.255.255", send_to(fd, at("255.255.255.255", ECHO), "x"));
	say("connect 255.255.255.255", dial(fd, at("255.255.255.255", ECHO)));
	say("SO_BROADCAST", set_int(fd, SOL_SOCKET, SO_BROADCAST, 1));
	say("sendto 255.255.255.255", send_to(fd, at("255.255.255.255", ECHO), "x"));
	say("sendto 224.0.0.251", send_to(fd, at("224.0.0.251", 5353), "x"));
	close(fd);
}

static void group(const struct net *n)
{
	struct ip_mreq four = { .imr_multiaddr.s_addr = htonl(0xe0000001) };
	struct ipv6_mreq six = { 0 };
	int fd = datagram(n, 0);

	inet_pton(AF_INET6, "ff02::1", &six.ipv6mr_multiaddr);
	if (n->family == AF_INET)
		say("IP_ADD_MEMBERSHIP", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof four));
	else
		say("IPV6_JOIN_GROUP", setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &six, sizeof six));
	say("sendto the group", send_to(fd, at(n->family == AF_INET ? "224.0.0.1" : "ff02::1", 5353), "x"));
	close(fd);
}

const struct scenario udploop_scenarios[] = {
	{ "talking", ALL, talking },
	{ "connected-pair", BOTH, connected_pair },
	{ "to-oneself", BOTH, to_oneself },
	{ "nobody", ALL, nobody },
	{ "dual-stack", V6, dual_stack },
	{ "shared-port", BOTH, shared_port },
	{ "across-processes", BOTH, across_processes },
	{ "broadcast", V4, broadcast },
	{ "group", BOTH, group },
	{ 0 },
};
