/* UDP: connected or not, and what that changes. */
#include "say.h"
#include <netinet/udp.h>
#include <linux/sockios.h>

static long send_to(int fd, struct where w, const char *text)
{
	return sendto(fd, text, strlen(text), MSG_NOSIGNAL, &w.sa, w.len);
}

/* take_from - receive with the sender's address, and print both */
static void take_from(const char *call, int fd, size_t size, int flags)
{
	char b[256];
	struct where w = { .len = sizeof w.room };
	ssize_t r = recvfrom(fd, b, size, flags, &w.sa, &w.len);

	say_bytes(call, r, b);
	if (r >= 0)
		line("  from %s", where_name(&w));
}

static void connected_one(const struct net *n)
{
	int fd = (int)say("socket", datagram(n, 0));

	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	say("connect", dial(fd, at(n->server, ECHO)));
	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	say("send", send_text(fd, "hello"));
	take("recv", fd, 50, 0);
	say("write", write(fd, "again", 5));
	take_from("recvfrom", fd, 50, 0);
	say("sendto, the same", send_to(fd, at(n->server, ECHO), "x"));
	take_from("recvfrom", fd, 50, 0);
	say("connect, the same", dial(fd, at(n->server, ECHO)));
	say("connect, another", dial(fd, at(n->server, TWICE)));
	peer_name("getpeername", fd);
	say("close", close(fd));
}

static void unconnected(const struct net *n)
{
	int fd = datagram(n, 0);

	say("send", send_text(fd, "x"));
	say("write", write(fd, "x", 1));
	take("recv DONTWAIT", fd, 5, MSG_DONTWAIT);
	set_timeout(fd, SO_RCVTIMEO, 3000);
	say("sendto", send_to(fd, at(n->server, ECHO), "hello"));
	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	take_from("recvfrom", fd, 50, 0);
	say("sendto", send_to(fd, at(n->server, ECHO), "hello"));
	take("recv", fd, 50, 0);
	say("sendto", send_to(fd, at(n->server, ECHO), "hello"));
	say_poll("poll", fd, POLLIN, 5000);
	line("read = %zd", read(fd, (char[9]){ 0 }, 9));
	close(fd);
}

/* Datagrams of others do not reach a connected socket. */
static void only_the_peer(const struct net *n)
{
	int fd = datagram(n, 0);

	say("connect", dial(fd, at(n->server, TWICE)));
	say("send", send_text(fd, "x"));
	take_from("recvfrom", fd, 50, 0);
	say_poll("poll", fd, POLLIN, 200);
	close(fd);
	fd = datagram(n, 0);
	say("sendto", send_to(fd, at(n->server, TWICE), "x"));
	take_from("recvfrom", fd, 50, 0);
	take_from("recvfrom", fd, 50, 0);
	close(fd);
}

static void disconnected(const struct net *n)
{
	int fd = datagram(n, 0);

	say("connect AF_UNSPEC, of a new one", dial(fd, at_family(AF_UNSPEC)));
	say("connect", dial(fd, at(n->server, ECHO)));
	say("connect AF_UNSPEC", dial(fd, at_family(AF_UNSPEC)));
	peer_name("getpeername", fd);
	own_name("getsockname", fd);
	say("send", send_text(fd, "x"));
	say("sendto", send_to(fd, at(n->server, ECHO), "x"));
	take_from("recvfrom", fd, 50, 0);
	say("connect", dial(fd, at(n->server, ECHO)));
	say("send", send_text(fd, "y"));
	take("recv", fd, 50, 0);
	close(fd);
}

static void refused(const struct net *n)
{
	int fd = datagram(n, 0);

	say("connect", dial(fd, at(n->server, REFUSES)));
	say("send", send_text(fd, "x"));
	wait_for(fd, 0, 3000);
	say_poll("poll", fd, POLLIN | POLLOUT, 0);
	take("recv", fd, 5, MSG_DONTWAIT);
	take("recv", fd, 5, MSG_DONTWAIT);
	say("send", send_text(fd, "x"));
	wait_for(fd, 0, 3000);
	pending_error("SO_ERROR", fd);
	say("send", send_text(fd, "x"));
	wait_for(fd, 0, 3000);
	say("send", send_text(fd, "x"));
	close(fd);
	fd = datagram(n, 0);
	say("sendto", send_to(fd, at(n->server, REFUSES), "x"));
	say_poll("poll", fd, POLLIN, 200);
	close(fd);
}

static void unreachable(const struct net *n)
{
	int fd = datagram(n, 0);

	say("connect far", dial(fd, at(n->far, ECHO)));
	peer_name("getpeername", fd);
	say("sendto far", send_to(fd, at(n->far, ECHO), "x"));
	say("sendto, port 0", send_to(fd, at(n->server, 0), "x"));
	say("sendto dropped", send_to(fd, at(n->drops, ECHO), "x"));
	close(fd);
	fd = datagram(n, 0);
	say("connect nobody", dial(fd, at(n->nobody, ECHO)));
	say("send", send_text(fd, "x"));
	wait_for(fd, 0, 500);
	pending_error("SO_ERROR", fd);
	close(fd);
}

static void malformed(const struct net *n)
{
	struct where w = at(n->server, ECHO), other = at(n->family == AF_INET ? "fd09::1" : "10.9.0.1", ECHO);
	socklen_t len = -1;
	char b[8];
	int fd = datagram(n, 0);

	say("connect, length 1", connect(fd, &w.sa, 1));
	say("connect, length 8", connect(fd, &w.sa, 8));
	say("connect, no pointer", connect(fd, NULL, w.len));
	say("connect, the other family", dial(datagram(n, 0), other));
	say("connect, AF_UNIX", dial(fd, at_family(AF_UNIX)));
	say("connect, port 0", dial(datagram(n, 0), at(n->server, 0)));
	say("sendto, length 1", sendto(fd, "x", 1, 0, &w.sa, 1));
	say("sendto, length 8", sendto(fd, "x", 1, 0, &w.sa, 8));
	say("sendto, length 4096", sendto(fd, "x", 1, 0, &w.sa, 4096));
	say("sendto, bad address", sendto(fd, "x", 1, 0, (void *)16, w.len));
	say("sendto, bad data", sendto(fd, (void *)16, 5, 0, &w.sa, w.len));
	say("sendto, the other family", sendto(fd, "x", 1, 0, &other.sa, other.len));
	say("sendto, family 77", send_to(fd, at_family(77), "x"));
	say("sendto, AF_UNSPEC", send_to(fd, at_family(AF_UNSPEC), "x"));
	say("sendto OOB", sendto(fd, "x", 1, MSG_OOB, &w.sa, w.len));
	say("sendto, closed", send_to(99, w, "x"));
	say("sendto", send_to(fd, w, "x"));
	wait_for(fd, POLLIN, 3000);
	say("recvfrom, length -1", recvfrom(fd, b, 8, MSG_DONTWAIT, &w.sa, &len));
	say("sendto", send_to(fd, at(n->server, ECHO), "x"));
	wait_for(fd, POLLIN, 3000);
	len = sizeof w.room;
	say("recvfrom, bad data", recvfrom(fd, (void *)16, 8, MSG_DONTWAIT, &w.sa, &len));
	say("listen", listen(fd, 1));
	say("accept", accept(fd, NULL, NULL));
	close(fd);
}

static void sizes(const struct net *n)
{
	static const int wanted[] = { 0, 1, 1000, 1392, 1393, 5000, 60000, 65507, 65508, 66000 };
	static char b[70000];
	int fd = datagram(n, 0);
	long got;

	set_timeout(fd, SO_RCVTIMEO, 3000);
	say("connect", dial(fd, at(n->server, ECHO)));
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		line("%d bytes", wanted[i]);
		if (say("send", send(fd, b, wanted[i], 0)) < 0)
			continue;
		got = recv(fd, b, sizeof b, 0);
		/* Of a hundred fragments, there and back, the network may lose one. */
		if (got < 0 && errno == EAGAIN && wanted[i] >= 60000 && send(fd, b, wanted[i], 0) >= 0)
			got = recv(fd, b, sizeof b, 0);
		say("recv", got);
	}
	say("send, no bytes", send(fd, NULL, 0, 0));
	say_poll("poll", fd, POLLIN, 3000);
	take_from("recvfrom", fd, 5, 0);
	close(fd);
}

/* A path's limit, for those who want to know: ip(7), IP_MTU_DISCOVER. */
static void path_mtu(const struct net *n)
{
	int v6 = n->family == AF_INET6, fd = datagram(n, 0), mtu = -1;
	static char b[5000];
	socklen_t len = sizeof mtu;

	say("MTU_DISCOVER", v6 ? set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
			       : set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	say("getsockopt(MTU), not connected", getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len));
	say("connect", dial(fd, at(n->server, ECHO)));
	say("getsockopt(MTU)", getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len));
	line("  %d", mtu);
	say("send 1372", send(fd, b, 1372, 0));
	say("recv", recv(fd, b, sizeof b, 0));
	say("send 1393", send(fd, b, 1393, 0));
	say("send 5000", send(fd, b, 5000, 0));
	close(fd);
}

static void shut(const struct net *n)
{
	int fd = datagram(n, 0);

	say("shutdown, not connected", shutdown(fd, SHUT_RDWR));
	dial(fd, at(n->server, ECHO));
	say("shutdown WR", shutdown(fd, SHUT_WR));
	say("send", send_text(fd, "x"));
	say("shutdown RD", shutdown(fd, SHUT_RD));
	take("recv", fd, 5, 0);
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	close(fd);
}

static void readiness(const struct net *n)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	int fd = datagram(n, SOCK_NONBLOCK), ep = epoll_create1(0), k = -1, got;

	say("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	got = epoll_wait(ep, &e, 1, 0);
	say_events("epoll_wait, a new one", got, e.events);
	got = epoll_wait(ep, &e, 1, 0);
	say_events("epoll_wait again", got, e.events);
	say("sendto", send_to(fd, at(n->server, ECHO), "first"));
	for (long long end = now_ms() + 3000; now_ms() < end && !(e.events & EPOLLIN);)
		epoll_wait(ep, &e, 1, 100);
	line("epoll_wait = %s", events_name(e.events & EPOLLIN));
	say("sendto", send_to(fd, at(n->server, ECHO), "the second"));
	echoes_are_back(n);
	usleep(200000);
	say("ioctl(FIONREAD)", ioctl(fd, FIONREAD, &k));
	line("  two datagrams = %d", k);
	take_from("recvfrom", fd, 50, 0);
	say("ioctl(FIONREAD)", ioctl(fd, FIONREAD, &k));
	line("  one datagram = %d", k);
	take_from("recvfrom", fd, 50, 0);
	say("ioctl(FIONREAD)", ioctl(fd, FIONREAD, &k));
	line("  none = %d", k);
	say("ioctl(SIOCOUTQ)", ioctl(fd, SIOCOUTQ, &k));
	line("  sent = %d", k);
	take_from("recvfrom", fd, 50, 0);
	close(fd);
}

static void bound(const struct net *n)
{
	struct where w = at(n->me, own), lo = at(n->lo, 0);
	int fd = datagram(n, 0), second = datagram(n, 0);

	say("bind", bind(fd, &w.sa, w.len));
	own_name("getsockname", fd);
	say("bind again", bind(fd, &w.sa, w.len));
	say("bind, in use", bind(second, &w.sa, w.len));
	w = at(n->any, own);
	say("bind any, in use", bind(second, &w.sa, w.len));
	w = at(n->server, 0);
	say("bind, not ours", bind(second, &w.sa, w.len));
	w = at(n->me, 81);
	say("bind, port 81", bind(datagram(n, 0), &w.sa, w.len));
	say("sendto", send_to(fd, at(n->server, ECHO), "x"));
	take_from("recvfrom", fd, 5, 0);
	say("bind lo", bind(second, &lo.sa, lo.len));
	say("sendto a server from lo", send_to(second, at(n->server, ECHO), "x"));
	close(fd);
	close(second);
}

const struct scenario udp_scenarios[] = {
	{ "connected", ALL, connected_one },
	{ "unconnected", ALL, unconnected },
	{ "only-the-peer", BOTH, only_the_peer },
	{ "disconnected", BOTH, disconnected },
	{ "refused", BOTH, refused },
	{ "unreachable", BOTH, unreachable },
	{ "malformed", BOTH, malformed },
	{ "sizes", BOTH, sizes },
	{ "path-mtu", BOTH, path_mtu },
	{ "shut", BOTH, shut },
	{ "readiness", BOTH, readiness },
	{ "bound", ALL, bound },
	{ 0 },
};
