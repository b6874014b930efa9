/*
 * A program that talks, for the tests of the shim. Each subcommand prints what it
 * sees, line by line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

const char *error(int e)
{
	static char number[16];

	switch (e) {
	case 0: return "0";
	case EACCES: return "EACCES";
	case EAFNOSUPPORT: return "EAFNOSUPPORT";
	case EBADF: return "EBADF";
	case ECONNREFUSED: return "ECONNREFUSED";
	case EFAULT: return "EFAULT";
	case EINPROGRESS: return "EINPROGRESS";
	case EINTR: return "EINTR";
	case EINVAL: return "EINVAL";
	case ENETUNREACH: return "ENETUNREACH";
	case ENOENT: return "ENOENT";
	case ENOSYS: return "ENOSYS";
	case ENOTSOCK: return "ENOTSOCK";
	case EOPNOTSUPP: return "EOPNOTSUPP";
	case EPERM: return "EPERM";
	case ENOPROTOOPT: return "ENOPROTOOPT";
	case EPROTONOSUPPORT: return "EPROTONOSUPPORT";
	}
	snprintf(number, sizeof(number), "%d", e);
	return number;
}

/* What a call's result says: an error, or 0. */
static const char *told(long r)
{
	return error(r < 0 ? errno : 0);
}

struct sockaddr_storage address;
socklen_t length;

/* Fills address; no more is done if there is none. */
static void resolve(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;

	int r = getaddrinfo(host, port, &hints, &list);
	if (r) {
		printf("getaddrinfo %d\n", r);
		exit(0);
	}
	/* Of a name that has both, the IPv4 address: the tests say so. */
	struct addrinfo *best = list;
	for (struct addrinfo *i = list; i; i = i->ai_next)
		if (i->ai_family == AF_INET)
			best = i;
	memcpy(&address, best->ai_addr, best->ai_addrlen);
	length = best->ai_addrlen;
	freeaddrinfo(list);
}

void show(const char *what, int port)
{
	char host[64], service[16];

	getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), service,
		    sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV);
	if (port)
		printf("%s %s %s\n", what, host, service);
	else
		printf("%s %s\n", what, host);
}

static void exchange(int fd)
{
	char buffer[16];

	if (write(fd, "hello", 5) != 5)
		printf("write %s\n", error(errno));
	ssize_t n = read(fd, buffer, sizeof(buffer));
	printf("read %.*s\n", (int)n, buffer);
}

static int echo(void)
{
	int fd = socket(address.ss_family, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&address, length)) {
		printf("connect %s\n", error(errno));
		return 0;
	}
	length = sizeof(address);
	getpeername(fd, (struct sockaddr *)&address, &length);
	show("peer", 1);
	length = sizeof(address);
	getsockname(fd, (struct sockaddr *)&address, &length);
	show("local", 0);
	exchange(fd);
	return 0;
}

static int socket_error(int fd)
{
	int e = -1;
	socklen_t size = sizeof(e);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &size);
	return e;
}

static int nonblock(void)
{
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

	/* An idle socket is writable and hung up, which is told once. */
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
	epoll_wait(ep, &event, 1, 0);
	printf("connect %s\n", told(connect(fd, (struct sockaddr *)&address, length)));
	/* A failure may be told in steps: the error, and that it hangs up. */
	unsigned all = 0;
	do {
		if (epoll_wait(ep, &event, 1, 10000) != 1)
			break;
		all |= event.events;
	} while (!(all & EPOLLHUP) != !(all & EPOLLERR));
	printf("events%s%s%s\n", all & EPOLLOUT ? " OUT" : "", all & EPOLLERR ? " ERR" : "",
	       all & EPOLLHUP ? " HUP" : "");
	int e = socket_error(fd);
	printf("SO_ERROR %s\n", error(e));
	if (e)
		return 0;
	fcntl(fd, F_SETFL, 0);
	exchange(fd);
	return 0;
}

static void *client(void *unused)
{
	(void)unused;
	int fd = socket(address.ss_family, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, length))
		printf("connect %s\n", error(errno));
	if (write(fd, "hello", 5) != 5)
		printf("write %s\n", error(errno));
	return (void *)(long)fd;
}

static int port_of(void)
{
	return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
						  : ((struct sockaddr_in6 *)&address)->sin6_port);
}

static int serve(void)
{
	int on = 1, listener = socket(address.ss_family, SOCK_STREAM, 0);
	pthread_t thread;
	void *fd;
	char buffer[16];

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, length))
		printf("bind %s\n", error(errno));
	if (listen(listener, 5))
		printf("listen %s\n", error(errno));
	length = sizeof(address);
	getsockname(listener, (struct sockaddr *)&address, &length);
	show("bound", 1);
	pthread_create(&thread, NULL, client, NULL);
	pthread_join(thread, &fd);
	length = sizeof(address);
	int conn = accept4(listener, (struct sockaddr *)&address, &length, SOCK_CLOEXEC);
	if (conn < 0)
		printf("accept %s\n", error(errno));
	show("accepted from", 0);
	int from = port_of();
	length = sizeof(address);
	getsockname((int)(long)fd, (struct sockaddr *)&address, &length);
	printf("%s port\n", from == port_of() ? "the same" : "another");
	length = sizeof(address);
	getpeername((int)(long)fd, (struct sockaddr *)&address, &length);
	show("peer", 1);
	ssize_t n = read(conn, buffer, sizeof(buffer));
	printf("read %.*s\n", (int)n, buffer);
	return 0;
}

static void handler(int number)
{
	(void)number;
	if (write(1, "handler\n", 8) != 8)
		abort();
}

static int signals(void)
{
	struct sigaction action = {.sa_handler = handler};
	int fd = socket(address.ss_family, SOCK_STREAM, 0);

	setvbuf(stdout, NULL, _IONBF, 0);
	sigaction(SIGALRM, &action, NULL);
	ualarm(200000, 0);
	printf("connect %s\n", told(connect(fd, (struct sockaddr *)&address, length)));
	return 0;
}

static int talk(void)
{
	char buffer[5];
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ok = !connect(fd, (struct sockaddr *)&address, length) && write(fd, "hello", 5) == 5 &&
		 read(fd, buffer, 5) == 5;

	close(fd);
	return ok ? 0 : 1;
}

static void *talking(void *result)
{
	*(int *)result = talk();
	return NULL;
}

static int status(pid_t pid)
{
	int s;

	waitpid(pid, &s, 0);
	return s;
}

static int crowd(void)
{
	pthread_t threads[32];
	int results[32], good = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 0; i < 32; i++)
		pthread_create(&threads[i], NULL, talking, &results[i]);
	for (int i = 0; i < 32; i++) {
		pthread_join(threads[i], NULL);
		good += !results[i];
	}
	printf("threads %d\n", good);

	pid_t pid = fork();
	if (!pid)
		_exit(talk());
	printf("fork %d\n", status(pid));

	pid = vfork();
	if (!pid)
		_exit(talk());
	printf("vfork %d\n", status(pid));

	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	printf("closed %d\n", talk());
	return 0;
}

static void flags(int fd)
{
	printf("cloexec %d nonblock %d\n", !!(fcntl(fd, F_GETFD) & FD_CLOEXEC),
	       !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
}

static int small(void)
{
	int low = open("/dev/null", O_RDONLY);
	close(low);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	printf("socket is %s\n", fd == low ? "the lowest" : "not the lowest");
	flags(fd);
	close(fd);
	fd = socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP);
	flags(fd);
	close(fd);

	errno = 4711;
	fd = socket(address.ss_family, SOCK_STREAM, 0);
	connect(fd, (struct sockaddr *)&address, length);
	getpeername(fd, (struct sockaddr *)&(struct sockaddr_storage){0},
		    &(socklen_t){sizeof(struct sockaddr_storage)});
	printf("errno is %s\n", errno == 4711 ? "kept" : "changed");

	int pair[2], pipes[2];
	if (pipe(pipes))
		return 1;
	printf("connect of none %s", told(connect(999, (struct sockaddr *)&address, length)));
	int next = dup(0); /* the one that is free */
	close(next);
	printf(" %s", told(connect(next, (struct sockaddr *)&address, length)));
	printf(" listen %s\n", told(listen(next, 1)));
	printf("connect of a pipe %s\n", told(connect(pipes[0], (struct sockaddr *)&address, length)));
	printf("connect to nowhere %s\n", told(connect(fd, (struct sockaddr *)16, length)));
	printf("udp %s\n", told(socket(AF_INET, SOCK_DGRAM, 0)));
	int probing = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(7), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	printf("udp of IPv6 %s", told(probing));
	printf(" bind %s", told(bind(probing, (struct sockaddr *)&six, sizeof(six))));
	printf(" connect %s", told(connect(probing, (struct sockaddr *)&six, sizeof(six))));
	printf(" sendto %s\n", told(sendto(probing, "", 1, 0, (struct sockaddr *)&six, sizeof(six))));
	printf("raw %s\n", told(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)));
	printf("sctp %s\n", told(socket(AF_INET6, SOCK_STREAM, IPPROTO_SCTP)));
	printf("family 38 %s\n", told(socket(38, SOCK_SEQPACKET, 0)));
	printf("unix pair %s\n", told(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)));

	fd = (int)syscall(SYS_socket, address.ss_family, SOCK_STREAM, 0);
	printf("by number %s\n", told(syscall(SYS_connect, fd, &address, length)));
	fd = socket(address.ss_family, SOCK_STREAM, 0);
	ssize_t n = sendto(fd, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&address, length);
	printf("fast open %zd\n", n);
	char buffer[16];
	n = read(fd, buffer, sizeof(buffer));
	printf("read %.*s\n", (int)n, buffer);
	return 0;
}

static int unix_socket(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char buffer[64];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		printf("connect %s\n", error(errno));
		return 0;
	}
	ssize_t n = read(fd, buffer, sizeof(buffer));
	printf("read %.*s\n", (int)n, buffer);
	return 0;
}

/* Who is at the other end of a connection, for who asks the kernel. */
static void peer_of(const char *what, int fd)
{
	struct ucred c = {.uid = (uid_t)-1};
	socklen_t size = sizeof(c);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &size);
	printf("%s %s\n", what, c.uid == getuid() && c.gid == getgid() ? "me" : "another");
}

/* Connects to a listener of its own at an abstract address. */
static int unix_both(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(name);
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(a.sun_path + 1, name + 1, strlen(name) - 1);
	if (bind(l, (struct sockaddr *)&a, size) || listen(l, 1) || connect(c, (struct sockaddr *)&a, size))
		printf("%s\n", error(errno));
	peer_of("listens", c);
	peer_of("connects", accept(l, NULL, NULL));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} commands[] = {
		{"echo", echo},	  {"nonblock", nonblock}, {"serve", serve}, {"signal", signals},
		{"cancel", cancel}, {"crowd", crowd},	  {"small", small},
		{"local-names", local_names}, {"names", names}, {"hosts", hosts},
		{"records", records}, {"guard", guard},
	};

	if (argc > 3)
		resolve(argv[2], argv[3]);
	else if (argc > 2)
		return argv[2][0] == '@' ? unix_both(argv[2]) : unix_socket(argv[2]);
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run();
	return 2;
}
