/* Descriptors of sockets: copied, passed on, shared, closed early, used again. */
#include "say.h"

static void flags(const struct net *n)
{
	static const int ways[] = { 0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC };
	struct stat st;
	int zero = 0, one = 1, fd;

	for (int i = 0; i < 4; i++) {
		fd = (int)say("socket", stream(n, ways[i]));
		line("  flags %x %x", fcntl(fd, F_GETFD), fcntl(fd, F_GETFL));
	}
	fstat(fd, &st);
	line("  is a socket: %d", S_ISSOCK(st.st_mode));
	say("ioctl(FIONBIO, 0)", ioctl(fd, FIONBIO, &zero));
	line("  flags %x", fcntl(fd, F_GETFL));
	say("connect", dial(fd, at(n->server, ECHO)));
	line("  flags %x", fcntl(fd, F_GETFL));
	say("ioctl(FIONBIO, 1)", ioctl(fd, FIONBIO, &one));
	take("recv", fd, 5, 0);
	say("lseek", lseek(fd, 0, SEEK_CUR));
	say("socket, odd flags", socket(n->family, SOCK_STREAM | 0x100000, 0));
	say("socket, odd type", socket(n->family, 99, 0));
	say("socket, TCP by its number", socket(n->family, SOCK_STREAM, IPPROTO_TCP));
	say("socket, UDP as a stream", socket(n->family, SOCK_STREAM, IPPROTO_UDP));
	say("socket, TCP as datagrams", socket(n->family, SOCK_DGRAM, IPPROTO_TCP));
}

static void copies(const struct net *n)
{
	int a = stream(n, 0), b = (int)say("dup", dup(a)), c = (int)say("F_DUPFD", fcntl(a, F_DUPFD_CLOEXEC, 50)), d;

	say("connect of a copy", dial(b, at(n->server, ECHO)));
	peer_name("getpeername of the first", a);
	say("close of the first", close(a));
	say("send by another", send_text(c, "copied"));
	take("recv", b, 6, MSG_WAITALL);
	d = (int)say("dup2", dup2(b, 60));
	close(b), close(c);
	say("send by the last", send_text(d, "copied"));
	take("recv", d, 6, MSG_WAITALL);
	close(d);
	say("send, closed", send_text(d, "x"));
}

/* A number that was just free belongs to the new socket only. */
static void reused_number(const struct net *n)
{
	for (int i = 0; i < 3; i++) {
		int fd = (int)say("socket", stream(n, SOCK_NONBLOCK));

		say("connect, dropped", dial(fd, at(n->drops, ECHO)));
		say("close", close(fd));
		fd = (int)say("socket", stream(n, 0));
		say("connect", dial(fd, at(n->server, ECHO)));
		peer_name("getpeername", fd);
		say("send", send_text(fd, "mine"));
		take("recv", fd, 4, MSG_WAITALL);
		close(fd);
	}
}

static int pass(int by, int fd)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(sizeof fd)]; } c = { 0 };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.room, .msg_controllen = sizeof c.room };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	return (int)sendmsg(by, &m, 0);
}

static int passed(int by)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int))]; } c = { 0 };
	char b;
	struct iovec v = { &b, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.room, .msg_controllen = sizeof c.room };
	struct cmsghdr *h;
	int fd = -1;

	if (recvmsg(by, &m, 0) < 0)
		return -1;
	h = CMSG_FIRSTHDR(&m);
	if (h && h->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
	return fd;
}

/* Sockets that travel between processes: new, pending, connected ones. */
static void passed_on(const struct net *n)
{
	int pair[2], fd, got;
	pid_t child;

	say("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	child = fork();
	if (child == 0) {
		fd = passed(pair[1]);
		say("connect of the child", dial(fd, at(n->server, ECHO)));
		pass(pair[1], fd);
		fd = passed(pair[1]);
		say_poll("poll of the child", fd, POLLOUT, 5000);
		pending_error("SO_ERROR of the child", fd);
		pass(pair[1], fd);
		_exit(0);
	}
	fd = stream(n, 0);
	say("sendmsg", pass(pair[0], fd));
	got = (int)say("recvmsg", passed(pair[0]));
	peer_name("getpeername of what was sent", fd);
	say("send", send_text(got, "passed"));
	take("recv", fd, 6, MSG_WAITALL);
	close(fd), close(got);
	fd = stream(n, SOCK_NONBLOCK);
	say("connect", dial(fd, at(n->server, ECHO)));
	pass(pair[0], fd);
	got = passed(pair[0]);
	peer_name("getpeername of what came back", got);
	waitpid(child, NULL, 0);
}

static void forked(const struct net *n)
{
	int fd = stream(n, 0), other = connected(n, ECHO);
	pid_t child = fork();

	if (child == 0) {
		say("connect of the child", dial(fd, at(n->server, ECHO)));
		say("send of the child", send_text(other, "from the child"));
		close(other);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	peer_name("getpeername", fd);
	say("send", send_text(fd, "of both"));
	take("recv", fd, 7, MSG_WAITALL);
	take("recv", other, 14, MSG_WAITALL);
	close(fd), close(other);
}

static void vforked(const struct net *n)
{
	pid_t child = vfork();

	if (child == 0) {
		int fd = stream(n, 0);

		say("connect of the child", dial(fd, at(n->server, ECHO)));
		close(fd);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

/* executed - what is left of descriptors behind exec: one goes, one stays */
static void executed(const struct net *n)
{
	int stays = stream(n, 0), goes = stream(n, SOCK_CLOEXEC);
	pid_t child;

	dial(stays, at(n->server, ECHO));
	dial(goes, at(n->server, ECHO));
	dup2(stays, 7);
	fcntl(dup2(goes, 8), F_SETFD, FD_CLOEXEC);
	child = fork();
	if (child == 0) {
		execl("/bin/sh", "sh", "-c", "echo over exec >&7; read x <&7; echo $x; test -e /proc/self/fd/8 || echo gone", (char *)0);
		_exit(9);
	}
	waitpid(child, NULL, 0);
	close(stays), close(goes);
}

static void *close_it(void *arg)
{
	usleep(100000);
	close(*(int *)arg);
	return NULL;
}

/* close does not wake whoever waits in the call; the connection goes on. */
static void closed_meanwhile(const struct net *n)
{
	int fd = stream(n, 0);
	pthread_t t;
	long long begin = now_ms();

	set_timeout(fd, SO_SNDTIMEO, 500);
	pthread_create(&t, NULL, close_it, &fd);
	say("connect, closed by a thread", dial(fd, at(n->drops, ECHO)));
	say_took(begin, 400, 3000);
	pthread_join(t, NULL);
	say("send", send_text(fd, "x"));
}

static void in_proc(const struct net *n)
{
	char link[64], path[32];
	int fd = connected(n, ECHO);
	ssize_t len;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	len = readlink(path, link, sizeof link - 1);
	line("readlink = %.8s", len > 0 ? link : "");
	say("open", open(path, O_RDWR));
	close(fd);
}

const struct scenario descriptors_scenarios[] = {
	{ "flags", BOTH, flags },
	{ "copies", BOTH, copies },
	{ "reused-number", BOTH, reused_number },
	{ "passed-on", BOTH, passed_on },
	{ "forked", BOTH, forked },
	{ "vforked", V4, vforked },
	{ "executed", V4, executed },
	{ "closed-meanwhile", V4, closed_meanwhile },
	{ "in-proc", V4, in_proc },
	{ 0 },
};
