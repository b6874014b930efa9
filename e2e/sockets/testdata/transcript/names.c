/* bind(2), getsockname(2), getpeername(2), and their errors. */
#include "say.h"

static int bind_to(int fd, struct where w)
{
	return bind(fd, &w.sa, w.len);
}

static void shapes(const struct net *n)
{
	struct where w = { .len = 4 };
	int fd = connected(n, ECHO), r;

	r = getsockname(fd, &w.sa, &w.len);
	say("getsockname, room for 4", r);
	line("  length %u family %d", w.len, w.sa.sa_family);
	w.len = 0;
	r = getpeername(fd, &w.sa, &w.len);
	say("getpeername, no room", r);
	line("  length %u", w.len);
	w.len = 128;
	r = getpeername(fd, &w.sa, &w.len);
	say("getpeername, more room", r);
	line("  length %u", w.len);
	w.len = -1;
	say("getsockname, length -1", getsockname(fd, &w.sa, &w.len));
	w.len = 16;
	say("getsockname, no pointer", getsockname(fd, NULL, &w.len));
	say("getsockname, no length", getsockname(fd, &w.sa, NULL));
	say("getsockname, closed", getsockname(99, &w.sa, &w.len));
	say("getpeername, bad pointer", getpeername(fd, (void *)16, &w.len));
}

/* bound_then_connected - what bind leaves, and connect keeps */
static void bound_then_connected(const struct net *n)
{
	const char *froms[] = { n->me, n->any };
	int mapped = strchr(n->server, '.') && n->family == AF_INET6 ? 2 : 0; /* not the ports of IPv4 */

	for (int i = 0; i < 2; i++)
		for (int chosen = 0; chosen < 2; chosen++) {
			int fd = stream(n, 0);

			set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
			line("bound to %s, %s port", i ? "any" : "ME", chosen ? "a" : "no");
			say("bind", bind_to(fd, at(froms[i], chosen ? own + i + mapped : 0)));
			own_name("getsockname", fd);
			peer_name("getpeername", fd);
			say("connect", dial(fd, at(n->server, ECHO)));
			own_name("getsockname", fd);
			say("bind again", bind_to(fd, at(n->me, 0)));
			close(fd);
		}
}

static void errors(const struct net *n)
{
	struct where w = at(n->me, 0), other = at(n->family == AF_INET ? "fd09::2" : "10.9.0.2", 0);
	int fd = stream(n, 0), second = stream(n, 0);

	say("bind, not ours", bind_to(fd, at(n->server, 0)));
	say("bind, nobody's", bind_to(fd, at(n->far, 0)));
	say("bind, the other family", bind_to(fd, other));
	say("bind, AF_UNIX", bind_to(fd, at_family(AF_UNIX)));
	say("bind, AF_UNSPEC and nothing", bind_to(stream(n, 0), at_family(AF_UNSPEC)));
	say("bind, length 2", bind(fd, &w.sa, 2));
	say("bind, length -1", bind(fd, &w.sa, -1));
	say("bind, no pointer", bind(fd, NULL, w.len));
	say("bind, port 81", bind_to(stream(n, 0), at(n->me, 81)));
	say("bind", bind_to(fd, at(n->me, own + 10)));
	say("bind again", bind_to(fd, at(n->me, own + 11)));
	say("bind, in use", bind_to(stream(n, 0), at(n->me, own + 10)));
	say("bind, in use for any", bind_to(stream(n, 0), at(n->any, own + 10)));
	say("bind, the same port of another address", bind_to(second, at(n->lo, own + 10)));
	say("bind, closed", bind_to(99, w));
	close(fd);
	close(second);
}

static void reused(const struct net *n)
{
	int a = stream(n, 0), b = stream(n, 0), c = stream(n, 0);

	say("SO_REUSEADDR", set_int(a, SOL_SOCKET, SO_REUSEADDR, 1));
	say("SO_REUSEADDR", set_int(b, SOL_SOCKET, SO_REUSEADDR, 1));
	say("bind", bind_to(a, at(n->me, own + 20)));
	say("bind, both reuse", bind_to(b, at(n->me, own + 20)));
	say("bind, one reuses", bind_to(c, at(n->me, own + 20)));
	say("listen", listen(a, 1));
	say("listen, the other", listen(b, 1));
	close(a);
	say("listen, the other, alone", listen(b, 1));
	close(b);
	say("bind, all closed", bind_to(c, at(n->me, own + 20)));
	close(c);
	a = stream(n, 0), b = stream(n, 0);
	say("SO_REUSEPORT", set_int(a, SOL_SOCKET, SO_REUSEPORT, 1));
	say("SO_REUSEPORT", set_int(b, SOL_SOCKET, SO_REUSEPORT, 1));
	say("bind", bind_to(a, at(n->any, own + 21)));
	say("bind, both share", bind_to(b, at(n->any, own + 21)));
	say("listen", listen(a, 1));
	say("listen", listen(b, 1));
	close(a);
	close(b);
}

/* A port is free again, or not yet, when a connection from it has ended. */
static void after_a_connection(const struct net *n)
{
	int fd = stream(n, 0);

	say("bind", bind_to(fd, at(n->me, own + 30)));
	say("connect", dial(fd, at(n->server, ECHO)));
	say("shutdown", shutdown(fd, SHUT_WR));
	take("recv", fd, 1, 0);
	close(fd);
	fd = stream(n, 0);
	say("bind, just used", bind_to(fd, at(n->me, own + 30)));
	say("SO_REUSEADDR", set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	say("bind, just used", bind_to(fd, at(n->me, own + 30)));
	close(fd);
}

static void v6_only(const char *call, int fd)
{
	int on = -1;
	socklen_t len = sizeof on;

	getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &len);
	line("%s = %d", call, on);
}

static void both_families(const struct net *n)
{
	int v6 = socket(AF_INET6, SOCK_STREAM, 0), v4 = socket(AF_INET, SOCK_STREAM, 0);

	(void)n;
	say("bind [::]", bind_to(v6, at("::", own + 40)));
	own_name("getsockname", v6);
	say("bind 0.0.0.0, taken", bind_to(v4, at("0.0.0.0", own + 40)));
	close(v4);
	v4 = socket(AF_INET, SOCK_STREAM, 0);
	say("IPV6_V6ONLY, too late", set_int(v6, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	close(v6);
	v6 = socket(AF_INET6, SOCK_STREAM, 0);
	say("IPV6_V6ONLY", set_int(v6, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	say("bind [::]", bind_to(v6, at("::", own + 41)));
	v6_only("IPV6_V6ONLY afterwards", v6);
	say("bind 0.0.0.0", bind_to(v4, at("0.0.0.0", own + 41)));
	say("listen", listen(v6, 1));
	say("listen", listen(v4, 1));
	close(v6);
	close(v4);
	v6 = socket(AF_INET6, SOCK_STREAM, 0);
	set_int(v6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	say("bind mapped, V6ONLY", bind_to(v6, at("::ffff:127.0.0.1", 0)));
	close(v6);
	v6 = socket(AF_INET6, SOCK_STREAM, 0);
	set_int(v6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	say("connect mapped, V6ONLY", dial(v6, at("::ffff:10.9.0.1", ECHO)));
	say("connect, V6ONLY", dial(v6, at("fd09::1", ECHO)));
	v6_only("IPV6_V6ONLY, connected", v6);
	close(v6);
}

const struct scenario names_scenarios[] = {
	{ "shapes", ALL, shapes },
	{ "bound-then-connected", ALL, bound_then_connected },
	{ "errors", BOTH, errors },
	{ "reused", BOTH, reused },
	{ "after-a-connection", BOTH, after_a_connection },
	{ "both-families", V6, both_families },
	{ 0 },
};
