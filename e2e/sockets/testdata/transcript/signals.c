/* Signals while a call waits: the handler runs on time, and the call goes on or
 * ends as signal(7) says. */
#include "say.h"

static volatile sig_atomic_t handled;
static long long handled_at;

static void handler(int sig)
{
	(void)sig;
	handled_at = now_ms();
	handled++; /* give_up waits for it */
}

static void catch(int flags)
{
	struct sigaction a = { .sa_handler = handler, .sa_flags = flags };

	handled = 0;
	sigaction(SIGALRM, &a, NULL);
}

/* ring - SIGALRM after some time, once or, with an interval, again and again */
static void ring(int after, int every)
{
	struct itimerval t = { { every / 1000, every % 1000 * 1000 }, { after / 1000, after % 1000 * 1000 } };

	setitimer(ITIMER_REAL, &t, NULL);
}

/* A call that waits for ever unless a signal ends it. */
static long waiting(const struct net *n, int what, int fd)
{
	char b[8];
	struct where w = { .len = sizeof w.room };
	struct iovec v = { b, sizeof b };
	struct msghdr m = { .msg_name = &w.sa, .msg_namelen = sizeof w.room, .msg_iov = &v, .msg_iovlen = 1 };
	struct mmsghdr mm = { .msg_hdr = m };
	struct pollfd p = { .fd = fd, .events = POLLIN };

	switch (what) {
	case 0: return dial(fd, at(n->drops, ECHO));
	case 1: return recv(fd, b, sizeof b, 0);
	case 2: return recvfrom(fd, b, sizeof b, 0, &w.sa, &w.len);
	case 3: return recvmsg(fd, &m, 0);
	case 4: return recvmmsg(fd, &mm, 1, 0, NULL);
	case 5: return accept(fd, &w.sa, &w.len);
	case 6: return accept(fd, NULL, NULL);
	case 7: return read(fd, b, sizeof b);
	default: return poll(&p, 1, 3000);
	}
}

static const char *const names[] = { "connect", "recv", "recvfrom", "recvmsg", "recvmmsg", "accept", "accept, no name", "read", "poll" };

static int socket_for(const struct net *n, int what, int udp)
{
	if (what == 0)
		return stream(n, 0);
	if (what == 5 || what == 6)
		return listener(n, n->lo, 0);
	return udp ? datagram(n, 0) : connected(n, ECHO);
}

static void interrupt_all(const struct net *n, int udp)
{
	for (int what = udp ? 1 : 0; what < 9; what++) {
		int fd;
		long long begin;

		if (udp && (what == 5 || what == 6))
			continue;
		fd = socket_for(n, what, udp);
		catch(0);
		begin = now_ms();
		ring(200, 0);
		say(names[what], waiting(n, what, fd));
		say_took(begin, 180, 3000);
		line("  handled %d", (int)handled);
		close(fd);
	}
}

static void interrupted(const struct net *n)
{
	interrupt_all(n, 0);
}

static void interrupted_udp(const struct net *n)
{
	interrupt_all(n, 1);
}

/* give_up - end a call a moment after the handler has run, or after long */
static void *give_up(void *arg)
{
	for (long long end = now_ms() + 3000; !handled && now_ms() < end;)
		usleep(10000);
	usleep(400000);
	shutdown(*(int *)arg, SHUT_RDWR);
	return NULL;
}

/* With SA_RESTART the call goes on behind the handler, and only shutdown ends
 * it. */
static void restarted(const struct net *n)
{
	static const int whats[] = { 1, 2, 3, 5, 7 };

	for (int i = 0; i < 5; i++) {
		int fd = socket_for(n, whats[i], 0);
		pthread_t t;
		sigset_t alarm_only;
		long long begin = now_ms();

		sigemptyset(&alarm_only);
		sigaddset(&alarm_only, SIGALRM);
		catch(SA_RESTART);
		sigprocmask(SIG_BLOCK, &alarm_only, NULL);
		pthread_create(&t, NULL, give_up, &fd);
		sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
		ring(200, 0);
		say(names[whats[i]], waiting(n, whats[i], fd));
		say_took(begin, 580, 3000);
		line("  handled %d, in time: %d", (int)handled, now_ms() - handled_at > 350);
		pthread_join(t, NULL);
		close(fd);
	}
}

/* A connection that takes a second, with signals all the while. */
static void connect_restarted(const struct net *n)
{
	int fd = stream(n, 0);
	long long begin;

	open_gate(n);
	catch(SA_RESTART);
	ring(100, 100);
	begin = now_ms();
	say("connect", dial(fd, at(n->server, full_port)));
	say_took(begin, 500, 4000);
	line("  handled more than three times: %d", handled > 3);
	ring(0, 0);
	peer_name("getpeername", fd);
	close(fd);
}

/* After EINTR the connection is still being made: connect(2). */
static void connect_interrupted(const struct net *n)
{
	int fd = stream(n, 0);

	open_gate(n);
	catch(0);
	ring(200, 0);
	say("connect", dial(fd, at(n->server, full_port)));
	set_blocking(fd, 0);
	say("connect again", dial(fd, at(n->server, full_port)));
	say_poll("poll", fd, POLLOUT, 5000);
	pending_error("SO_ERROR", fd);
	peer_name("getpeername", fd);
	close(fd);
}

/* With a timeout a call is never restarted: signal(7). */
static void with_timeout(const struct net *n)
{
	int fd = connected(n, ECHO);

	set_timeout(fd, SO_RCVTIMEO, 2000);
	catch(SA_RESTART);
	ring(200, 0);
	take("recv", fd, 5, 0);
	close(fd);
	fd = stream(n, 0);
	set_timeout(fd, SO_SNDTIMEO, 2000);
	ring(200, 0);
	say("connect", dial(fd, at(n->drops, ECHO)));
	close(fd);
}

static volatile sig_atomic_t pipes;

static void count_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void broken_pipe(const struct net *n)
{
	int fd = connected(n, ECHO);
	pid_t child;
	int status;

	signal(SIGPIPE, count_pipe);
	shutdown(fd, SHUT_WR);
	say("send NOSIGNAL", send(fd, "x", 1, MSG_NOSIGNAL));
	line("  SIGPIPE %d", (int)pipes);
	say("send", send(fd, "x", 1, 0));
	line("  SIGPIPE %d", (int)pipes);
	say("write", write(fd, "x", 1));
	line("  SIGPIPE %d", (int)pipes);
	signal(SIGPIPE, SIG_DFL);
	child = fork();
	if (child == 0) {
		say("write", write(fd, "x", 1));
		_exit(0);
	}
	waitpid(child, &status, 0);
	line("killed by SIGPIPE: %d", WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
	close(fd);
}

static volatile sig_atomic_t announced;

static void count_io(int sig)
{
	(void)sig;
	announced++;
}

/* A socket that tells by SIGIO: fcntl(2), O_ASYNC. */
static void announced_by_signal(const struct net *n)
{
	int fd = connected(n, LATE);

	signal(SIGIO, count_io);
	say("F_SETOWN", fcntl(fd, F_SETOWN, getpid()));
	say("F_SETFL", fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
	say("send", send_text(fd, "x"));
	announced = 0;
	for (long long end = now_ms() + 3000; !announced && now_ms() < end;)
		wait_for(fd, 0, 100);
	wait_for(fd, POLLIN, 1000);
	line("SIGIO: %d", announced > 0);
	take("recv", fd, 50, 0);
	close(fd);
}

const struct scenario signals_scenarios[] = {
	{ "interrupted", BOTH, interrupted },
	{ "interrupted-udp", BOTH, interrupted_udp },
	{ "restarted", BOTH, restarted },
	{ "connect-restarted", V4 | ALONE, connect_restarted },
	{ "connect-interrupted", V4 | ALONE, connect_interrupted },
	{ "with-timeout", V4, with_timeout },
	{ "broken-pipe", BOTH, broken_pipe },
	{ "announced-by-signal", V4, announced_by_signal },
	{ 0 },
};
