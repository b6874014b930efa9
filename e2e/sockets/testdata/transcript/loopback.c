/* TCP between the program and itself: its own listeners. */
#include "say.h"

static void accepted_by(const struct net *n, const char *bound, const char *to)
{
	struct where w = { .len = sizeof w.room };
	int l = listener(n, bound, 0), port = port_of(l), c = stream(n, 0), s;

	line("listening on %s", ip_name(bound));
	line("  connecting to %s", ip_name(to));
	own_name("getsockname, listener", l);
	say("connect", dial(c, at(to, port)));
	own_name("getsockname, client", c);
	peer_name("getpeername, client", c);
	s = accept(l, &w.sa, &w.len);
	say_name("accept", s, &w);
	own_name("getsockname, server", s);
	peer_name("getpeername, server", s);
	say("send", send_text(c, "ping"));
	take("recv", s, 4, MSG_WAITALL);
	say("send", send_text(s, "pong"));
	take("recv", c, 4, MSG_WAITALL);
	say("shutdown", shutdown(c, SHUT_WR));
	take("recv", s, 4, 0);
	close(c), close(s), close(l);
}

static void listening(const struct net *n)
{
	accepted_by(n, n->lo, n->lo);
	accepted_by(n, n->any, n->lo);
	accepted_by(n, n->any, n->me);
	accepted_by(n, n->me, n->me);
	accepted_by(n, n->any, n->any);
}

static void dual_stack(const struct net *n)
{
	struct where w = { .len = sizeof w.room };
	int l = listener(n, "::", 0), only = stream(n, 0), port = port_of(l);
	int c = socket(AF_INET, SOCK_STREAM, 0), s;

	say("connect 127.0.0.1", dial(c, at("127.0.0.1", port)));
	s = accept(l, &w.sa, &w.len);
	say_name("accept", s, &w);
	own_name("getsockname, server", s);
	close(c), close(s), close(l);
	say("IPV6_V6ONLY", set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	say("listen", listen(only, 8));
	own_name("getsockname", only);
	c = socket(AF_INET, SOCK_STREAM, 0);
	say("connect 127.0.0.1, V6ONLY", dial(c, at("127.0.0.1", port_of(only))));
	close(c), close(only);
}

/* A listener at one address is not at another. */
static void elsewhere(const struct net *n)
{
	int l = listener(n, n->lo, 0), m = listener(n, n->me, 0), c;

	c = stream(n, 0);
	say("connect ME, listening on lo", dial(c, at(n->me, port_of(l))));
	close(c);
	c = stream(n, 0);
	say("connect lo, listening on ME", dial(c, at(n->lo, port_of(m))));
	close(c);
	if (n->family == AF_INET) {
		c = stream(n, 0);
		say("connect 127.0.0.2, listening on 127.0.0.1", dial(c, at("127.0.0.2", port_of(l))));
		close(c);
	}
	close(l), close(m);
}

static void nobody(const struct net *n)
{
	const char *to[] = { n->lo, n->me, n->any };

	for (int i = 0; i < 3; i++) {
		int fd = stream(n, 0);

		say("connect", dial(fd, at(to[i], own + 99)));
		close(fd);
		fd = stream(n, SOCK_NONBLOCK);
		say("connect, nonblocking", dial(fd, at(to[i], own + 99)));
		say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 2000);
		pending_error("SO_ERROR", fd);
		close(fd);
	}
}

static void nonblocking(const struct net *n)
{
	int l = listener(n, n->lo, 0), c = stream(n, SOCK_NONBLOCK), s;

	set_blocking(l, 0);
	say("accept, nobody there", accept(l, NULL, NULL));
	say_poll("poll, listener", l, POLLIN, 100);
	say("connect", dial(c, at(n->lo, port_of(l))));
	say_poll("poll, client", c, POLLOUT, 2000);
	pending_error("SO_ERROR", c);
	say_poll("poll, listener", l, POLLIN, 2000);
	s = (int)say("accept4 CLOEXEC", accept4(l, NULL, NULL, SOCK_CLOEXEC));
	line("  flags %x %x", fcntl(s, F_GETFD), fcntl(s, F_GETFL) & O_NONBLOCK);
	close(c), close(s);
	c = stream(n, 0);
	dial(c, at(n->lo, port_of(l)));
	wait_for(l, POLLIN, 2000);
	s = (int)say("accept4 NONBLOCK", accept4(l, NULL, NULL, SOCK_NONBLOCK));
	line("  flags %x %x", fcntl(s, F_GETFD), fcntl(s, F_GETFL) & O_NONBLOCK);
	say("accept4, flags 1", accept4(l, NULL, NULL, 1));
	close(c), close(s), close(l);
}

static void accept_errors(const struct net *n)
{
	struct where w = { .len = 3 };
	int l = listener(n, n->lo, 0), fd = stream(n, 0), c = stream(n, 0), s;

	say("accept, not listening", accept(fd, NULL, NULL));
	say("accept, closed", accept(99, NULL, NULL));
	dial(c, at(n->lo, port_of(l)));
	s = accept(l, &w.sa, &w.len);
	say("accept, room for 3", s);
	line("  length %u", w.len);
	say("connect of a listener", dial(l, at(n->lo, port_of(l))));
	say("listen again", listen(l, 3));
	say("listen of a connection", listen(c, 3));
	say("getpeername of a listener", getpeername(l, &w.sa, &w.len));
	take("recv of a listener", l, 1, MSG_DONTWAIT);
	say("send of a listener", send_text(l, "x"));
	say("listen, not bound", listen(fd, 1));
	own_name("getsockname", fd);
	w.len = sizeof w.room;
	close(c), close(s);
	c = stream(n, 0);
	dial(c, at(n->lo, port_of(l)));
	say("accept, bad pointer", accept(l, (void *)16, &w.len));
	w.len = -1;
	set_blocking(l, 0);
	c = stream(n, 0);
	dial(c, at(n->lo, port_of(l)));
	wait_for(l, POLLIN, 1000);
	say("accept, length -1", accept(l, &w.sa, &w.len));
}

/* A client sees that the listener is gone, and one that never was accepted is
 * reset. */
static void listener_ends(const struct net *n)
{
	int l = listener(n, n->lo, 0), port = port_of(l), c = stream(n, 0);

	say("connect", dial(c, at(n->lo, port)));
	say("close, listener", close(l));
	wait_for(c, POLLERR, 2000);
	say_poll("poll", c, POLLIN | POLLOUT | POLLRDHUP, 0);
	take("recv", c, 5, 0);
	close(c);
	c = stream(n, 0);
	say("connect", dial(c, at(n->lo, port)));
	close(c);
	l = listener(n, n->lo, 0);
	say("shutdown, listener", shutdown(l, SHUT_RD));
	say_poll("poll", l, POLLIN | POLLOUT | POLLRDHUP, 0);
	say("accept", accept(l, NULL, NULL));
	say("listen again", listen(l, 1));
	close(l);
}

/* Two sockets that connect to each other, and one to itself. */
static void to_oneself(const struct net *n)
{
	struct where w = at(n->lo, own + 50);
	int fd = stream(n, 0);

	say("bind", bind(fd, &w.sa, w.len));
	say("connect to itself", dial(fd, w));
	own_name("getsockname", fd);
	peer_name("getpeername", fd);
	say("send", send_text(fd, "me"));
	take("recv", fd, 2, MSG_DONTWAIT);
	close(fd);
}

static void across_processes(const struct net *n)
{
	int l = listener(n, n->lo, 0), port = port_of(l), s;
	pid_t child = fork();

	if (child == 0) {
		int c = stream(n, 0);

		say("connect of the child", dial(c, at(n->lo, port)));
		say("send of the child", send_text(c, "from the child"));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	s = (int)say("accept", accept(l, NULL, NULL));
	take("recv", s, 50, MSG_WAITALL);
	close(s);
	close(l);
	child = fork(); /* the listener is the child's, and the parent connects */
	if (child == 0) {
		struct where w = at(n->lo, own + 60);

		l = stream(n, 0);
		set_int(l, SOL_SOCKET, SO_REUSEADDR, 1);
		if (bind(l, &w.sa, w.len) || listen(l, 1))
			_exit(1);
		s = accept(l, NULL, NULL);
		send_text(s, "from the child");
		_exit(0);
	}
	s = -1;
	for (long long end = now_ms() + 3000; s < 0 && now_ms() < end; usleep(10000)) {
		s = stream(n, 0);
		if (dial(s, at(n->lo, own + 60)) < 0)
			close(s), s = -1;
	}
	take("recv", s, 50, MSG_WAITALL);
	waitpid(child, NULL, 0);
}

static void options(const struct net *n)
{
	int l = listener(n, n->lo, 0), value = -1;
	socklen_t len = sizeof value;

	say("getsockopt(SO_ACCEPTCONN)", getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &value, &len));
	line("  %d", value);
	say("TCP_DEFER_ACCEPT", set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1));
	say("TCP_FASTOPEN", set_int(l, IPPROTO_TCP, TCP_FASTOPEN, 5));
	say("SO_RCVTIMEO", (set_timeout(l, SO_RCVTIMEO, 150), 0));
	say("accept", accept(l, NULL, NULL));
	close(l);
}

/* More than the queue holds: the rest waits. */
static void queue(const struct net *n)
{
	struct where w = at(n->lo, 0);
	int l = stream(n, 0), c[4], ready = 0;

	bind(l, &w.sa, w.len);
	say("listen", listen(l, 1));
	for (int i = 0; i < 4; i++) {
		c[i] = stream(n, SOCK_NONBLOCK);
		dial(c[i], at(n->lo, port_of(l)));
	}
	for (int i = 0; i < 4; i++)
		ready += wait_for(c[i], POLLOUT, 100) == POLLOUT;
	line("connected = %d", ready);
	for (int i = 0; i < 2; i++)
		say("accept", accept(l, NULL, NULL) >= 0);
}

const struct scenario loopback_scenarios[] = {
	{ "listening", ALL, listening },
	{ "dual-stack", V6, dual_stack },
	{ "elsewhere", BOTH, elsewhere },
	{ "nobody", ALL, nobody },
	{ "nonblocking", BOTH, nonblocking },
	{ "accept-errors", BOTH, accept_errors },
	{ "listener-ends", BOTH, listener_ends },
	{ "to-oneself", BOTH, to_oneself },
	{ "across-processes", BOTH, across_processes },
	{ "options", BOTH, options },
	{ "queue", V4, queue },
	{ 0 },
};
