/* Signals all the time: with SA_RESTART no call may notice. */
#include "calls.h"
#include <setjmp.h>

static struct place there, own, closed;
static int listener, udp;
static sigjmp_buf too_late;
static volatile time_t deadline;

/* nothing - but for a round that does not end: a call that waits for what was lost */
static void nothing(int sig)
{
	struct timespec now;

	(void)sig;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (deadline && now.tv_sec > deadline) {
		deadline = 0;
		siglongjmp(too_late, 1);
	}
}

/* Each of these returns what failed, or NULL. */

static const char *blocking(void)
{
	int fd = stream(&there, 0);
	const char *failed = connect(fd, (void *)&there.addr, there.len) ? "connect" : echoes(fd) ? NULL : "echo";

	close(fd);
	return failed;
}

static const char *nonblocking(void)
{
	int fd = stream(&there, SOCK_NONBLOCK), err = 0, n;
	struct pollfd p = { fd, POLLOUT, 0 };
	socklen_t len = sizeof err;
	const char *failed = NULL;

	if (connect(fd, (void *)&there.addr, there.len) == 0 || errno != EINPROGRESS)
		failed = "connect";
	while (!failed && (n = poll(&p, 1, 5000)) < 1)
		if (n == 0 || errno != EINTR) /* poll is never restarted: signal(7) */
			failed = "poll";
	if (!failed && (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) || err)) {
		errno = err;
		failed = "SO_ERROR";
	}
	fcntl(fd, F_SETFL, 0);
	if (!failed && !echoes(fd))
		failed = "echo";
	close(fd);
	return failed;
}

/* drain - take the connections that a round before this one has left */
static void drain(void)
{
	struct pollfd p = { listener, POLLIN, 0 };

	while (poll(&p, 1, 0) > 0)
		close(accept(listener, NULL, NULL));
}

static const char *accepted(void)
{
	struct place from = { .len = sizeof from.addr };
	int c, s;
	const char *failed = NULL;

	drain();
	c = stream(&own, 0);
	if (connect(c, (void *)&own.addr, own.len))
		failed = "connect";
	s = failed ? -1 : accept(listener, (void *)&from.addr, &from.len);
	if (!failed && s < 0)
		failed = "accept";
	if (!failed && (send(c, "x", 1, 0) != 1 || recv(s, &(char){ 0 }, 1, 0) != 1))
		failed = "send and recv";
	close(c);
	if (s >= 0)
		close(s);
	return failed;
}

static const char *refused(void)
{
	int fd = stream(&closed, 0), err = 0;
	struct pollfd p = { 0, POLLOUT, 0 };
	socklen_t len = sizeof err;
	const char *failed = connect(fd, (void *)&closed.addr, closed.len) == 0 || errno != ECONNREFUSED ? "connect" : NULL;

	close(fd);
	if (failed)
		return failed;
	p.fd = stream(&closed, SOCK_NONBLOCK);
	if (connect(p.fd, (void *)&closed.addr, closed.len) == 0 || errno != EINPROGRESS && errno != ECONNREFUSED)
		failed = "nonblocking connect";
	else if (errno == EINPROGRESS) {
		while (poll(&p, 1, 5000) < 0 && errno == EINTR)
			;
		if (getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &err, &len) || err != ECONNREFUSED) {
			errno = err;
			failed = "SO_ERROR";
		}
	}
	close(p.fd);
	return failed;
}

static const char *bound(void)
{
	struct place here = own;
	int fd = stream(&own, 0);
	const char *failed = NULL;

	if (own.addr.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&here.addr)->sin6_port = 0;
	else
		((struct sockaddr_in *)&here.addr)->sin_port = 0;
	if (bind(fd, (void *)&here.addr, here.len))
		failed = "bind";
	else if (listen(fd, 5))
		failed = "listen";
	close(fd);
	return failed;
}

static const char *datagrams(void)
{
	struct place from = { .len = sizeof from.addr };
	static unsigned count = 1;
	/* With its complement, so that all have one sum: over IPv6 wireguard-go loses
	 * a datagram whose sum comes to nought (see e2e/testdata/probe, roundTrip). */
	unsigned out[2] = { count, ~count };
	char in[16];
	struct iovec v = { in, sizeof in };
	struct msghdr m = { .msg_name = &from.addr, .msg_namelen = sizeof from.addr, .msg_iov = &v, .msg_iovlen = 1 };
	int n = sizeof out;

	count++;
	/* What a round before this one has left. */
	while (recv(udp, in, sizeof in, MSG_DONTWAIT) >= 0)
		;
	if (sendto(udp, out, n, 0, (void *)&there.addr, there.len) != n)
		return "sendto";
	if (recvfrom(udp, in, sizeof in, 0, (void *)&from.addr, &from.len) != n || memcmp(in, out, n))
		return "recvfrom";
	v = (struct iovec){ out, n };
	m.msg_name = &there.addr, m.msg_namelen = there.len;
	if (sendmsg(udp, &m, 0) != n)
		return "sendmsg";
	v = (struct iovec){ in, sizeof in };
	m.msg_name = &from.addr, m.msg_namelen = sizeof from.addr;
	if (recvmsg(udp, &m, 0) != n || memcmp(in, out, n))
		return "recvmsg";
	return NULL;
}

/* again - do it many times and print how often it went well, and how not */
static void again(const char *name, int times, const char *(*once)(void))
{
	volatile int good = 0;
	const char *failed;
	struct timespec now;

	for (volatile int i = 0; i < times; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (sigsetjmp(too_late, 1)) {
			printf("%s failed, round %d: no end\n", name, i);
			continue;
		}
		deadline = now.tv_sec + 2;
		errno = 0;
		failed = once();
		deadline = 0;
		if (!failed)
			good++;
		else
			printf("%s failed, round %d: %s: %s\n", name, i, failed, strerror(errno));
	}
	printf("%s %d\n", name, good);
	fflush(stdout);
}

/* storm IP PORT N LOOPBACK: each N times, with a signal every 200 µs: a call that is answered by another process takes some 100 µs, and begins anew. */
int storm(char **argv)
{
	struct sigaction a = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	int unused;
	struct itimerval t = { { 0, 200 }, { 0, 200 } }, off = { { 0, 0 }, { 0, 0 } };
	int n = atoi(argv[2]);

	there = place(argv[0], argv[1]);
	own = place(argv[3], "0");
	listener = stream(&own, 0);
	if (bind(listener, (void *)&own.addr, own.len) || listen(listener, 5) || getsockname(listener, (void *)&own.addr, &own.len))
		die("listen");
	closed = place(argv[3], "0");
	unused = stream(&closed, 0);
	if (bind(unused, (void *)&closed.addr, closed.len) || getsockname(unused, (void *)&closed.addr, &closed.len))
		die("bind");
	udp = socket(there.addr.ss_family, SOCK_DGRAM, 0);
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
	again("blocking", n, blocking);
	again("nonblocking", n, nonblocking);
	again("accepted", n, accepted);
	again("refused", n, refused);
	again("bound", n, bound);
	if (udp >= 0)
		again("datagrams", n, datagrams);
	setitimer(ITIMER_REAL, &off, NULL);
	return 0;
}
