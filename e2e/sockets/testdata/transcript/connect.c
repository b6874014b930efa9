/* connect(2) for TCP: what it returns, and what the socket is like afterwards. */
#include "say.h"

static void blocking(const struct net *n)
{
	int fd = (int)say("socket", stream(n, 0));

	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	pending_error("SO_ERROR", fd);
	say("connect", dial(fd, at(n->server, ECHO)));
	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	pending_error("SO_ERROR", fd);
	say("connect again", dial(fd, at(n->server, ECHO)));
	say("send", send_text(fd, "hello"));
	take("recv", fd, 5, MSG_WAITALL);
	say("shutdown", shutdown(fd, SHUT_WR));
	take("recv", fd, 5, 0);
	peer_name("getpeername", fd);
	say("close", close(fd));
}

static void nonblocking(const struct net *n)
{
	int fd = (int)say("socket", stream(n, SOCK_NONBLOCK));

	say("connect", dial(fd, at(n->server, ECHO)));
	own_name("getsockname", fd);
	say_poll("poll OUT", fd, POLLOUT, 5000);
	pending_error("SO_ERROR", fd);
	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	say("connect again", dial(fd, at(n->server, ECHO)));
	say("connect again", dial(fd, at(n->server, ECHO)));
	take("recv", fd, 5, 0);
	say("send", send_text(fd, "hello"));
	say_poll("poll IN", fd, POLLIN, 5000);
	take("recv", fd, 50, 0);
	say("close", close(fd));
}

static void refused(const struct net *n)
{
	int fd = stream(n, 0);

	say("connect", dial(fd, at(n->server, REFUSES)));
	pending_error("SO_ERROR", fd);
	peer_name("getpeername", fd);
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	take("recv", fd, 5, 0);
	say("send", send_text(fd, "x"));
	say("connect", dial(fd, at(n->server, REFUSES)));
	say("connect elsewhere", dial(fd, at(n->server, ECHO)));
	peer_name("getpeername", fd);
	say("send", send_text(fd, "again"));
	take("recv", fd, 5, MSG_WAITALL);
	say("close", close(fd));
}

static void refused_later(const struct net *n)
{
	int fd = stream(n, SOCK_NONBLOCK);

	say("connect", dial(fd, at(n->server, REFUSES)));
	say_poll("poll OUT", fd, POLLOUT, 5000);
	say_poll("poll all", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	pending_error("SO_ERROR", fd);
	pending_error("SO_ERROR", fd);
	peer_name("getpeername", fd);
	say_poll("poll all", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	say("connect elsewhere", dial(fd, at(n->server, ECHO)));
	say_poll("poll OUT", fd, POLLOUT, 5000);
	pending_error("SO_ERROR", fd);
	say("send", send_text(fd, "again"));
	say_poll("poll IN", fd, POLLIN, 5000);
	take("recv", fd, 5, 0);
	say("close", close(fd));
}

/* Whoever asks first is told of the error, and nobody else. */
static void refused_told_once(const struct net *n)
{
	int fd = stream(n, SOCK_NONBLOCK);

	say("connect", dial(fd, at(n->server, REFUSES)));
	wait_until_over(fd);
	say("connect again", dial(fd, at(n->server, REFUSES)));
	pending_error("SO_ERROR", fd);
	close(fd);

	fd = stream(n, SOCK_NONBLOCK);
	say("connect", dial(fd, at(n->server, REFUSES)));
	wait_until_over(fd);
	take("recv", fd, 5, 0);
	take("recv", fd, 5, 0);
	close(fd);

	fd = stream(n, SOCK_NONBLOCK);
	say("connect", dial(fd, at(n->server, REFUSES)));
	wait_until_over(fd);
	say("send", send_text(fd, "x"));
	say("send", send_text(fd, "x"));
	pending_error("SO_ERROR", fd);
	close(fd);
}

static void unreachable(const struct net *n)
{
	int fd = stream(n, 0);
	long long begin = now_ms();

	say("connect far", dial(fd, at(n->far, ECHO)));
	say_took(begin, 0, 3000);
	pending_error("SO_ERROR", fd);
	say("connect elsewhere", dial(fd, at(n->server, ECHO)));
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	say("connect far, nonblocking", dial(fd, at(n->far, ECHO)));
	pending_error("SO_ERROR", fd);
	close(fd);
	fd = stream(n, 0);
	begin = now_ms();
	say("connect nobody", dial(fd, at(n->nobody, ECHO)));
	say_took(begin, 0, 3000);
	pending_error("SO_ERROR", fd);
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	say("connect nobody, nonblocking", dial(fd, at(n->nobody, ECHO)));
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 5000);
	pending_error("SO_ERROR", fd);
	close(fd);
}

static void pending(const struct net *n)
{
	int fd = stream(n, SOCK_NONBLOCK);

	say("connect", dial(fd, at(n->drops, ECHO)));
	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	pending_error("SO_ERROR", fd);
	say("connect again", dial(fd, at(n->drops, ECHO)));
	say("connect elsewhere", dial(fd, at(n->server, ECHO)));
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 150);
	take("recv", fd, 5, 0);
	say("send", send_text(fd, "x"));
	say("listen", listen(fd, 1));
	say("close", close(fd));
}

/* SO_SNDTIMEO is how long connect(2) waits: socket(7). */
static void impatient(const struct net *n)
{
	int fd = stream(n, 0);
	long long begin = now_ms();

	set_timeout(fd, SO_SNDTIMEO, 300);
	say("connect", dial(fd, at(n->drops, ECHO)));
	say_took(begin, 250, 3000);
	begin = now_ms();
	say("connect again", dial(fd, at(n->drops, ECHO)));
	say_took(begin, 250, 3000);
	set_blocking(fd, 0);
	say("connect again, nonblocking", dial(fd, at(n->drops, ECHO)));
	say_poll("poll", fd, POLLIN | POLLOUT, 0);
	close(fd);
}

static void timed_out(const struct net *n)
{
	int fd = stream(n, 0);
	long long begin = now_ms();

	say("setsockopt(TCP_SYNCNT)", set_int(fd, IPPROTO_TCP, TCP_SYNCNT, 1));
	say("connect", dial(fd, at(n->drops, ECHO)));
	say_took(begin, 2000, 8000);
	pending_error("SO_ERROR", fd);
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	begin = now_ms();
	say("setsockopt(TCP_USER_TIMEOUT)", set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 500));
	say("connect, nonblocking", dial(fd, at(n->drops, ECHO)));
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 8000);
	say_took(begin, 450, 3500);
	pending_error("SO_ERROR", fd);
	close(fd);
}

/* A peer that answers after a second. */
static void delayed(const struct net *n)
{
	int fd = stream(n, 0);
	long long begin;

	open_gate(n);
	begin = now_ms();
	say("connect", dial(fd, at(n->server, full_port)));
	say_took(begin, 500, 4000);
	peer_name("getpeername", fd);
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	open_gate(n);
	say("connect, nonblocking", dial(fd, at(n->server, full_port)));
	say_poll("poll at once", fd, POLLIN | POLLOUT | POLLRDHUP, 100);
	say("connect again", dial(fd, at(n->server, full_port)));
	say_poll("poll in the end", fd, POLLOUT, 8000);
	pending_error("SO_ERROR", fd);
	say("connect again", dial(fd, at(n->server, full_port)));
	close(fd);
}

/* connect(2) with AF_UNSPEC undoes one. */
static void undone(const struct net *n)
{
	int fd = connected(n, ECHO);
	struct where none = at_family(AF_UNSPEC);

	say("connect AF_UNSPEC", dial(fd, none));
	peer_name("getpeername", fd);
	own_name("getsockname", fd);
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	say("connect", dial(fd, at(n->server, ECHO)));
	say("send", send_text(fd, "twice"));
	take("recv", fd, 5, MSG_WAITALL);
	close(fd);
	fd = stream(n, 0);
	say("connect AF_UNSPEC, of a new one", dial(fd, none));
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	say("connect", dial(fd, at(n->drops, ECHO)));
	say("connect AF_UNSPEC, of a pending one", dial(fd, none));
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	pending_error("SO_ERROR", fd);
	say("connect elsewhere", dial(fd, at(n->server, ECHO)));
	say_poll("poll OUT", fd, POLLOUT, 5000);
	pending_error("SO_ERROR", fd);
	peer_name("getpeername", fd);
	close(fd);
}

static void malformed(const struct net *n)
{
	struct where w = at(n->server, ECHO), other = at(n->family == AF_INET ? "fd09::1" : "10.9.0.1", ECHO);
	int fd = stream(n, 0), pipes[2];

	say("connect, length 0", connect(fd, &w.sa, 0));
	say("connect, length 1", connect(fd, &w.sa, 1));
	say("connect, length 8", connect(fd, &w.sa, 8));
	say("connect, length -1", connect(fd, &w.sa, -1));
	say("connect, length 4096", connect(fd, &w.sa, 4096));
	say("connect, no pointer", connect(fd, NULL, w.len));
	say("connect, bad pointer", connect(fd, (void *)16, w.len));
	say("connect, the other family", dial(fd, other));
	say("connect, AF_UNIX", dial(fd, at_family(AF_UNIX)));
	say("connect, family 77", dial(fd, at_family(77)));
	say("connect, no descriptor", dial(-1, w));
	say("connect, a closed one", dial(99, w));
	if (pipe(pipes) == 0)
		say("connect, a pipe", dial(pipes[0], w));
	say("connect, port 0", dial(fd, at(n->server, 0)));
	say("connect, 128 bytes of room", connect(fd, &w.sa, sizeof w.room));
	peer_name("getpeername", fd);
	close(fd);
}

static void odd_places(const struct net *n)
{
	static const char *const v4[] = { "255.255.255.255", "224.0.0.1", "240.0.0.1", NULL };
	static const char *const v6[] = { "ff02::1", "fe80::1", "::1234:5678", NULL };
	int fd;

	for (const char *const *p = n->family == AF_INET ? v4 : v6; *p; p++) {
		fd = stream(n, SOCK_NONBLOCK);
		line("to %s", *p);
		say("connect", dial(fd, at(*p, ECHO)));
		close(fd);
	}
}

const struct scenario connect_scenarios[] = {
	{ "blocking", ALL, blocking },
	{ "nonblocking", ALL, nonblocking },
	{ "refused", ALL, refused },
	{ "refused-later", ALL, refused_later },
	{ "refused-told-once", BOTH, refused_told_once },
	{ "unreachable", ALL, unreachable },
	{ "pending", ALL, pending },
	{ "impatient", BOTH, impatient },
	{ "timed-out", V4, timed_out },
	{ "delayed", V4 | ALONE, delayed },
	{ "undone", BOTH, undone },
	{ "malformed", ALL, malformed },
	{ "odd-places", BOTH, odd_places },
	{ 0 },
};
