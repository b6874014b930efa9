/* One connect(2), and what it looks like from outside. */
#include "calls.h"

static const struct { int number; const char *name; } errors[] = {
	{ 0, "0" }, { EINPROGRESS, "EINPROGRESS" }, { ECONNREFUSED, "ECONNREFUSED" }, { ETIMEDOUT, "ETIMEDOUT" },
	{ ENETUNREACH, "ENETUNREACH" }, { EHOSTUNREACH, "EHOSTUNREACH" }, { ECONNRESET, "ECONNRESET" },
	{ EACCES, "EACCES" }, { EALREADY, "EALREADY" }, { EINTR, "EINTR" }, { EAGAIN, "EAGAIN" },
};

static const char *name(int err)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].number == err)
			return errors[i].name;
	return strerror(err);
}

static const char *how(int events)
{
	static char text[32];

	snprintf(text, sizeof text, "%s%s%s%s%s", events & EPOLLIN ? "IN " : "", events & EPOLLOUT ? "OUT " : "",
		 events & EPOLLERR ? "ERR " : "", events & EPOLLHUP ? "HUP " : "", events & EPOLLRDHUP ? "RDHUP " : "");
	return text;
}

/* first - the events of the first time that there are any, with what has become
 * of them a moment later: a refusal comes in steps
 * Return: 0 if nothing came in time */
static unsigned first(int ep, int fd, double within)
{
	struct epoll_event e = { 0 };
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };

	if (epoll_wait(ep, &e, 1, (int)(within * 1000)) < 1)
		return 0;
	usleep(20000);
	poll(&p, 1, 0);
	for (int i = 0; i < 30 && p.revents & POLLERR && !(p.revents & POLLRDHUP); i++) {
		usleep(10000);
		poll(&p, 1, 0);
	}
	return p.revents;
}

/* dial IP PORT block|nonblock SECONDS [SYNCNT]: says "calling", then what connect
 * returned and when, and of a nonblocking one the events, when they came, and SO_ERROR.
 * SECONDS is how long events are awaited, or SO_SNDTIMEO. The socket is in an
 * epoll set before it is connected. */
int dial(char **argv)
{
	struct place p = place(argv[0], argv[1]);
	int nonblock = !strcmp(argv[2], "nonblock"), fd = stream(&p, nonblock ? SOCK_NONBLOCK : 0);
	double within = atof(argv[3]), begin;
	struct timeval t = { (long)within, (long)(within * 1e6) % 1000000 };
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	int ep = epoll_create1(0), err, count = argv[4] ? atoi(argv[4]) : 0;
	socklen_t len = sizeof err;

	if (count && setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &count, sizeof count))
		die("TCP_SYNCNT");
	if (!nonblock && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t))
		die("SO_SNDTIMEO");
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		die("epoll_ctl");
	epoll_wait(ep, &e, 1, 0);
	puts("calling");
	fflush(stdout);
	begin = now();
	err = connect(fd, (void *)&p.addr, p.len) ? errno : 0;
	printf("connect %s %.3f\n", name(err), now() - begin);
	if (err == EINPROGRESS && nonblock) {
		unsigned events = first(ep, fd, within);

		printf("event %.3f %s\n", now() - begin, how(events));
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
			die("SO_ERROR");
		printf("so_error %s\n", name(err));
	} else {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
			die("SO_ERROR");
		printf("so_error %s\n", name(err));
	}
	return 0;
}
