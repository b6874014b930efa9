/* poll(2), epoll(7) and select(2), above all when they know a socket before it
 * is connected. */
#include "say.h"

static int watch(int ep, int fd, unsigned events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };

	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

/* next - wait for one event and print it */
static void next(const char *call, int ep, int ms)
{
	struct epoll_event e[4] = { 0 };
	int n = epoll_wait(ep, e, 4, ms);

	say_events(call, n, e[0].events);
}

/* until - wait until all of the events have been there; those of a socket come
 * one after the other */
static void until(const char *call, int ep, unsigned events)
{
	struct epoll_event e[4];
	unsigned seen = 0;
	long long end = now_ms() + 5000;

	while ((seen & events) != events && now_ms() < end)
		for (int i = epoll_wait(ep, e, 4, 100); i > 0; i--)
			seen |= e[i - 1].events;
	usleep(20000); /* the last of them may be told of twice */
	epoll_wait(ep, e, 4, 0);
	line("%s = %s", call, events_name(seen));
}

/* A server's way: the socket is in the epoll set when connect is called. */
static void level_triggered(const struct net *n)
{
	int ep = epoll_create1(0), fd = stream(n, SOCK_NONBLOCK);

	say("epoll_ctl", watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP));
	next("epoll_wait, a new one", ep, 0);
	gate_is_closed(n);
	say("connect", dial(fd, at(n->server, full_port)));
	next("epoll_wait, pending", ep, 150);
	open_gate(n);
	next("epoll_wait, connected", ep, 8000);
	next("epoll_wait again", ep, 0);
	pending_error("SO_ERROR", fd);
	say("close", close(fd));
	next("epoll_wait, closed", ep, 0);
}

static void edge_triggered(const struct net *n)
{
	int ep = epoll_create1(0), fd = stream(n, SOCK_NONBLOCK);

	say("epoll_ctl", watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
	next("epoll_wait, a new one", ep, 0);
	next("epoll_wait again", ep, 0);
	gate_is_closed(n);
	say("connect", dial(fd, at(n->server, full_port)));
	next("epoll_wait, pending", ep, 150);
	open_gate(n);
	next("epoll_wait, connected", ep, 8000);
	next("epoll_wait again", ep, 0);
	pending_error("SO_ERROR", fd);
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	say("connect", dial(fd, at(n->server, GREETS)));
	wait_for(fd, POLLRDHUP, 5000);
	say("epoll_ctl", watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
	next("epoll_wait, ended", ep, 5000);
	next("epoll_wait again", ep, 0);
	close(fd);
}

/* An edge tells of a connection, of data and of the end, once each. */
static void edges(const struct net *n)
{
	int ep = epoll_create1(0), fd = stream(n, SOCK_NONBLOCK);

	say("epoll_ctl", watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
	say("connect", dial(fd, at(n->server, COUNTS)));
	until("connected", ep, EPOLLOUT);
	next("epoll_wait again", ep, 100);
	say("send", send_text(fd, "four"));
	next("epoll_wait, sent", ep, 100);
	say("shutdown", shutdown(fd, SHUT_WR));
	until("answered and ended", ep, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
	take("recv", fd, 50, 0);
	take("recv", fd, 50, 0);
	close(fd);
}

static void one_shot(const struct net *n)
{
	int ep = epoll_create1(0), fd = stream(n, SOCK_NONBLOCK);
	struct epoll_event again = { .events = EPOLLIN | EPOLLONESHOT, .data.fd = fd };

	say("epoll_ctl", watch(ep, fd, EPOLLOUT | EPOLLONESHOT));
	next("epoll_wait, a new one", ep, 0);
	say("connect", dial(fd, at(n->server, ECHO)));
	wait_for(fd, POLLOUT, 5000);
	next("epoll_wait, not armed", ep, 0);
	say("send", send_text(fd, "x"));
	say("epoll_ctl MOD", epoll_ctl(ep, EPOLL_CTL_MOD, fd, &again));
	next("epoll_wait", ep, 5000);
	next("epoll_wait, not armed", ep, 0);
	say("epoll_ctl ADD", watch(ep, fd, EPOLLIN));
	say("epoll_ctl DEL", epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	close(fd);
}

static void refused(const struct net *n)
{
	int ep = epoll_create1(0), edge = epoll_create1(0), fd = stream(n, SOCK_NONBLOCK);

	watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	watch(edge, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	next("edge, a new one", edge, 0);
	say("connect", dial(fd, at(n->server, REFUSES)));
	until("edge, refused", edge, EPOLLERR | EPOLLHUP | EPOLLIN | EPOLLRDHUP);
	next("level, refused", ep, 0);
	next("edge again", edge, 0);
	pending_error("SO_ERROR", fd);
	next("level, told", ep, 0);
	close(fd);
}

static void reset(const struct net *n)
{
	int ep = epoll_create1(0), fd = stream(n, SOCK_NONBLOCK);

	watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	say("connect", dial(fd, at(n->server, RESETS_LATER)));
	until("connected", ep, EPOLLOUT);
	say("send", send_text(fd, "x"));
	until("reset", ep, EPOLLERR | EPOLLHUP | EPOLLIN | EPOLLRDHUP);
	next("epoll_wait again", ep, 0);
	take("recv", fd, 5, 0);
	next("epoll_wait, told", ep, 0);
	close(fd);
}

static void a_new_socket(const struct net *n)
{
	int fd = stream(n, 0);

	say_poll("poll", fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0);
	say("listen", listen(fd, 1));
	say_poll("poll, listening", fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0);
	close(fd);
	say_poll("poll, closed", fd, POLLIN | POLLOUT, 0);
}

/* select_of - select(2) of one socket in all three sets */
static void select_of(const char *call, int fd, int ms)
{
	fd_set r, w, x;
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };
	int n;

	FD_ZERO(&r);
	FD_SET(fd, &r);
	w = x = r;
	n = select(fd + 1, &r, &w, &x, &t);
	if (n < 0)
		say(call, n);
	else
		line("%s = %d%s%s%s", call, n, FD_ISSET(fd, &r) ? " read" : "", FD_ISSET(fd, &w) ? " write" : "",
		     FD_ISSET(fd, &x) ? " except" : "");
}

static void selecting(const struct net *n)
{
	int fd = stream(n, SOCK_NONBLOCK);

	select_of("select, a new one", fd, 0);
	say("connect", dial(fd, at(n->drops, ECHO)));
	select_of("select, pending", fd, 100);
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	say("connect", dial(fd, at(n->server, REFUSES)));
	select_of("select, refused", fd, 5000);
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	say("connect", dial(fd, at(n->server, ECHO)));
	select_of("select, connected", fd, 5000);
	say("send", send_text(fd, "x"));
	wait_for(fd, POLLIN, 5000);
	select_of("select, answered", fd, 0);
	close(fd);
}

/* Another thread waits while this one connects. */
static void *wait_in_epoll(void *arg)
{
	next("epoll_wait of a thread", *(int *)arg, 8000);
	return NULL;
}

static void woken_thread(const struct net *n)
{
	int ep = epoll_create1(0), fd = stream(n, SOCK_NONBLOCK);
	pthread_t t;

	gate_is_closed(n);
	say("connect", dial(fd, at(n->server, full_port)));
	watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	pthread_create(&t, NULL, wait_in_epoll, &ep);
	open_gate(n);
	pthread_join(t, NULL);
	pending_error("SO_ERROR", fd);
	close(fd);
}

const struct scenario events_scenarios[] = {
	{ "level-triggered", BOTH | ALONE, level_triggered },
	{ "edge-triggered", V4 | ALONE, edge_triggered },
	{ "edges", BOTH, edges },
	{ "one-shot", BOTH, one_shot },
	{ "refused", ALL, refused },
	{ "reset", BOTH, reset },
	{ "a-new-socket", BOTH, a_new_socket },
	{ "select", BOTH, selecting },
	{ "woken-thread", V4 | ALONE, woken_thread },
	{ 0 },
};
