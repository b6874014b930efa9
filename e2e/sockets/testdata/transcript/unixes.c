/* AF_UNIX and AF_NETLINK, which are not adit's business and must not notice it. */
#include "say.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* named - an address in the file system, or an abstract one if it begins
 * with @: that has the run's number in front, for without a network namespace
 * others that run at the same time have the same names */
static struct where named(const char *path)
{
	struct where w = { 0 };
	size_t len = strlen(path) + 1;

	w.un.sun_family = AF_UNIX;
	if (path[0] == '@')
		len = 1 + sprintf(w.un.sun_path + 1, "%s%s", run_name, path + 1);
	else
		memcpy(w.un.sun_path, path, len);
	w.len = offsetof(struct sockaddr_un, sun_path) + len;
	return w;
}

static void say_credentials(const char *call, int fd, pid_t expected)
{
	struct ucred c = { 0 };
	socklen_t len = sizeof c;

	if (say(call, getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len)) == 0)
		line("  the process = %d", c.pid == expected), line("  the user and group = %d", c.uid == getuid() && c.gid == getgid());
}

static void served(const char *path, int type)
{
	struct where w = named(path), from = { .len = sizeof from.room };
	int l = socket(AF_UNIX, type, 0), c = socket(AF_UNIX, type, 0), s;

	unlink(path);
	say("connect, nobody", dial(c, w));
	say("bind", bind(l, &w.sa, w.len));
	own_name("getsockname", l);
	say("connect, bound only", dial(c, w));
	say("listen", listen(l, 1));
	say("connect", dial(c, w));
	own_name("getsockname, client", c);
	peer_name("getpeername, client", c);
	s = accept(l, &from.sa, &from.len);
	say_name("accept", s, &from);
	say_credentials("SO_PEERCRED of the client", s, getpid());
	say_credentials("SO_PEERCRED of the server", c, getpid());
	say("connect again", dial(c, w));
	say("send", send_text(c, "local"));
	take("recv", s, 5, 0);
	close(l);
	unlink(path);
	close(c), close(s);
	c = socket(AF_UNIX, type, 0);
	say("connect, gone", dial(c, w));
	close(c);
}

static void streams(const struct net *n)
{
	(void)n;
	mkdir(run_name, 0700); /* its files are nobody else's either */
	if (chdir(run_name) < 0)
		say("chdir for what follows", -1);
	served("transcript.sock", SOCK_STREAM);
	served("@transcript", SOCK_STREAM);
	served("transcript.seq", SOCK_SEQPACKET);
}

static void datagrams(const struct net *n)
{
	struct where s = named("@transcript-dgram"), c = named("@transcript-client"), from = { .len = sizeof from.room };
	int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0);
	char text[16];
	ssize_t r;

	(void)n;
	say("bind", bind(a, &s.sa, s.len));
	say("bind", bind(b, &c.sa, c.len));
	say("sendto", sendto(b, "one", 3, 0, &s.sa, s.len));
	r = recvfrom(a, text, sizeof text, 0, &from.sa, &from.len);
	say_bytes("recvfrom", r, text);
	line("  from %s", where_name(&from));
	say("connect", dial(b, s));
	say("send", send_text(b, "two"));
	take("recv", a, 16, 0);
	say("connect AF_UNSPEC", dial(b, at_family(AF_UNSPEC)));
	say("send", send_text(b, "x"));
	close(a);
	say("connect, gone", dial(b, s));
	close(b);
}

static void errors(const struct net *n)
{
	struct where w = named("/nonexistent/socket"), file = named("/etc/passwd"), inet = at("127.0.0.1", 1);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)n;
	say("connect, no folder", dial(fd, w));
	say("connect, a file", dial(fd, file));
	say("connect, inet", dial(fd, inet));
	say("connect, length 1", connect(fd, &w.sa, 1));
	say("connect, length 2", connect(fd, &w.sa, 2));
	say("connect, no pointer", connect(fd, NULL, w.len));
	say("connect, length 200", connect(fd, &w.sa, 200));
	say("bind, /proc", bind(fd, &(struct where){ .un = { AF_UNIX, "/proc/x" } }.sa, 9));
	close(fd);
}

/* A queue that is full: a nonblocking connect says so, another waits. */
static void full_queue(const struct net *n)
{
	struct where w = named("@transcript-full");
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c;
	long r = 0;

	(void)n;
	bind(l, &w.sa, w.len);
	listen(l, 0);
	for (int i = 0; i < 10 && r == 0; i++) {
		c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		r = dial(c, w);
	}
	say("connect, full, nonblocking", r);
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	set_timeout(c, SO_SNDTIMEO, 200);
	say("connect, full", dial(c, w));
	close(l);
}

static void messages(const struct net *n)
{
	char control[64] = "";
	struct iovec v = { "abc", 3 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	int p[2];

	(void)n;
	say("socketpair", socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	say("SO_PASSCRED", set_int(p[1], SOL_SOCKET, SO_PASSCRED, 1));
	say("sendmsg", sendmsg(p[0], &m, 0));
	m.msg_control = control, m.msg_controllen = sizeof control;
	v.iov_base = (char[4]){ 0 };
	say("recvmsg", recvmsg(p[1], &m, 0));
	if (CMSG_FIRSTHDR(&m)) {
		struct ucred c;

		memcpy(&c, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof c);
		line("  type %d, the process and user = %d", CMSG_FIRSTHDR(&m)->cmsg_type, c.pid == getpid() && c.uid == getuid());
	}
	say("recvmsg DONTWAIT", recvmsg(p[1], &m, MSG_DONTWAIT));
	say("send", send_text(p[0], "x"));
	take("recvfrom", p[1], 5, 0);
	close(p[0]);
	say("send, closed", send_text(p[1], "x"));
	close(p[1]);
}

/* What getaddrinfo(3) asks the kernel. */
static void netlink(const struct net *n)
{
	struct { struct nlmsghdr h; struct rtgenmsg g; } ask = {
		{ sizeof ask, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { AF_UNSPEC }
	};
	struct sockaddr_nl a = { AF_NETLINK, 0, 0, 0 };
	socklen_t len = sizeof a;
	static char b[32768];
	struct iovec v = { b, sizeof b };
	struct msghdr m = { .msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1 };
	int fd = (int)say("socket", socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));

	(void)n;
	say("bind", bind(fd, (struct sockaddr *)&a, sizeof a));
	say("getsockname", getsockname(fd, (struct sockaddr *)&a, &len));
	line("  family %d, length %u, has an id: %d", a.nl_family, len, a.nl_pid != 0);
	a = (struct sockaddr_nl){ AF_NETLINK, 0, 0, 0 };
	say("sendto", sendto(fd, &ask, sizeof ask, 0, (struct sockaddr *)&a, sizeof a));
	say("recvmsg", recvmsg(fd, &m, 0) > 0);
	line("  type %d", ((struct nlmsghdr *)b)->nlmsg_type);
	say("connect", connect(fd, (struct sockaddr *)&(struct sockaddr_nl){ AF_NETLINK, 0, 0, 0 }, sizeof a));
	close(fd);
}

const struct scenario unixes_scenarios[] = {
	{ "streams", V4, streams },
	{ "datagrams", V4, datagrams },
	{ "errors", V4, errors },
	{ "full-queue", V4, full_queue },
	{ "messages", V4, messages },
	{ "netlink", V4, netlink },
	{ 0 },
};
