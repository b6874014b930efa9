/*
 * Attempts on what stands between a program and its C library: calls that go
 * around it, and races with it. What is aimed at comes by the environment:
 *
 *	ATTEMPT_PORT      of the host's listener on loopback
 *	ATTEMPT_PATH      a unix socket of the host's
 *	ATTEMPT_VICTIM    another, which gives its UDP socket away
 *	ATTEMPT_GROUP     a group to join, by the interface ATTEMPT_LINK
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "attempt.h"

static int number(const char *name)
{
	const char *s = getenv(name);
	return s ? atoi(s) : 0;
}

static struct sockaddr_in loopback(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(number("ATTEMPT_PORT")), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	return a;
}

/* say writes the canary to a socket that connects, or has. */
static void say(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	poll(&p, 1, 300);
	send(fd, canary, strlen(canary), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int tcp_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		no();
	return fd;
}

static void check(int failed)
{
	if (failed && errno != EINPROGRESS)
		no();
}

/* by_number makes the calls by syscall(2) of the library. */
static void by_number(void)
{
	int fd = syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	check(fd < 0);
	check(syscall(SYS_sendto, fd, canary, strlen(canary), 0, &to[0], sizeof to[0]) < 0);
}

static void connect_by_number(void)
{
	struct sockaddr_in a = loopback();
	int fd = tcp_socket();
	check(syscall(SYS_connect, fd, &a, sizeof a));
	say(fd);
}

/* raw makes a call without the library, on machines whose way is known here. */
static long raw(long nr, long a, long b, long c, long d, long e, long f)
{
#if defined __x86_64__
	long r;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
#elif defined __aarch64__
	register long x8 __asm__("x8") = nr, r __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
		x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(r) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
#else
	long r = -EACCES;
#endif
	if (r < 0) {
		errno = -r;
		return -1;
	}
	return r;
}

static void by_instruction(void)
{
	int fd = raw(SYS_socket, AF_INET, SOCK_DGRAM, 0, 0, 0, 0);
	check(fd < 0);
	check(raw(SYS_sendto, fd, (long)canary, strlen(canary), 0, (long)&to[0], sizeof to[0]) < 0);
}

static void connect_by_instruction(void)
{
	struct sockaddr_in a = loopback();
	int fd = tcp_socket();
	check(raw(SYS_connect, fd, (long)&a, sizeof a, 0, 0, 0));
	say(fd);
}

/* by_name looks the library's own function up, behind whoever is before it. */
static void by_name(void)
{
#ifdef STATIC
	errno = EACCES;
	no();
#else
	struct sockaddr_in a = loopback();
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	int (*theirs)(int, const struct sockaddr *, socklen_t) = dlsym(libc ? libc : RTLD_NEXT, "connect");
	int fd = tcp_socket();
	check(!theirs || theirs(fd, (struct sockaddr *)&a, sizeof a));
	say(fd);
#endif
}

/* bare is what comes without an environment, and so without a preloaded library. */
static void bare(char **argv)
{
	static char *none[] = { NULL };
	argv[1] = "udp";
	execve("/proc/self/exe", argv, none);
	no();
}

static void to_loopback(void)
{
	struct sockaddr_in a = loopback();
	int fd = tcp_socket();
	check(connect(fd, (struct sockaddr *)&a, sizeof a));
	say(fd);
}

static void fastopen(void)
{
	struct sockaddr_in a = loopback();
	int fd = tcp_socket(), on = 1;
	if (sendto(fd, canary, strlen(canary), MSG_FASTOPEN, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
		setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on);
		check(connect(fd, (struct sockaddr *)&a, sizeof a));
	}
	say(fd);
}

static int unix_socket(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(a.sun_path, path ? path : "", sizeof a.sun_path - 1);
	check(fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a));
	return fd;
}

static void unix_path(const char *path)
{
	say(unix_socket(path));
}

/* received sends by a socket that somebody outside has given. */
static void received(void)
{
	int fd = unix_socket(getenv("ATTEMPT_VICTIM")), theirs;
	char byte, control[CMSG_SPACE(sizeof theirs)];
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	check(recvmsg(fd, &m, 0) < 0 || !CMSG_FIRSTHDR(&m));
	memcpy(&theirs, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof theirs);
	check(sendto(theirs, canary, strlen(canary), 0, (struct sockaddr *)&to[0], sizeof to[0]) < 0);
}

/* join lets the kernel report a group, for a socket of TCP. */
static void join(void)
{
	struct group_req g = { .gr_interface = number("ATTEMPT_LINK") };
	struct sockaddr_in *a = (struct sockaddr_in *)&g.gr_group;
	int fd = tcp_socket();
	a->sin_family = AF_INET;
	inet_pton(AF_INET, getenv("ATTEMPT_GROUP"), &a->sin_addr);
	check(setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof g));
	poll(NULL, 0, 1200);
}

/* where tells on standard output at which address of loopback fd listens in truth,
 * by proc(5): "host" is where the host's programs look. */
static void where(int fd)
{
	char line[512], local[64];
	unsigned long inode;
	unsigned state;
	struct stat st;
	FILE *f = fopen("/proc/self/net/tcp", "r");
	if (!f || fstat(fd, &st))
		return;
	while (fgets(line, sizeof line, f))
		if (sscanf(line, " %*d: %63s %*s %x %*s %*s %*s %*d %*d %lu", local, &state, &inode) == 3 &&
		    state == 10 && inode == st.st_ino)
			printf("%s\n", !strncmp(local, "0100007F:", 9) || !strncmp(local, "00000000:", 9) ? "host" : "own");
	fclose(f);
}

/* listen_by_instruction listens on 127.0.0.1 behind the library's back. */
static void listen_by_instruction(int bind_too)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = tcp_socket();
	check(bind_too && raw(SYS_bind, fd, (long)&a, sizeof a, 0, 0, 0));
	check(raw(SYS_listen, fd, 1, 0, 0, 0, 0));
	where(fd);
}

/* Races: the address changes, or what the descriptor stands for. */
static volatile int over;
static union { struct sockaddr_in in; unsigned long long word; } shared;
static int at = 200, mine, other;

static void *change_address(void *unused)
{
	union { struct sockaddr_in in; unsigned long long word; } near = { loopback() }, far = { to[targets - 1] };
	while (!over) {
		__atomic_store_n(&shared.word, near.word, __ATOMIC_RELAXED);
		__atomic_store_n(&shared.word, far.word, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *change_descriptor(void *unused)
{
	while (!over) {
		dup2(other, at);
		dup2(mine, at);
	}
	return NULL;
}

static void against(void *(*change)(void *), int descriptor)
{
	pthread_t t;
	shared.in = loopback();
	other = socket(AF_UNIX, SOCK_STREAM, 0);
	mine = tcp_socket();
	check(pthread_create(&t, NULL, change, NULL));
	for (int i = 0; i < 3000; i++) {
		if (i % 100 == 0)
			poll(NULL, 0, 1); /* the other one is to run meanwhile */
		connect(descriptor ? at : mine, (struct sockaddr *)&shared.in, sizeof shared.in);
		send(mine, canary, strlen(canary), MSG_NOSIGNAL | MSG_DONTWAIT);
		int old = mine;
		mine = tcp_socket();
		close(old);
	}
	over = 1;
	pthread_join(t, NULL);
}

/* around makes the attempt of that name; it returns 0 if there is none. */
int around(const char *what, char **argv)
{
	if (!strcmp(what, "syscall"))
		by_number();
	else if (!strcmp(what, "syscall-connect"))
		connect_by_number();
	else if (!strcmp(what, "instruction"))
		by_instruction();
	else if (!strcmp(what, "instruction-connect"))
		connect_by_instruction();
	else if (!strcmp(what, "instruction-bind"))
		listen_by_instruction(1);
	else if (!strcmp(what, "instruction-listen"))
		listen_by_instruction(0);
	else if (!strcmp(what, "dlsym"))
		by_name();
	else if (!strcmp(what, "bare"))
		bare(argv);
	else if (!strcmp(what, "loopback"))
		to_loopback();
	else if (!strcmp(what, "fastopen"))
		fastopen();
	else if (!strcmp(what, "unix"))
		unix_path(getenv("ATTEMPT_PATH"));
	else if (!strcmp(what, "resolver"))
		unix_path("/run/nscd/socket");
	else if (!strcmp(what, "received"))
		received();
	else if (!strcmp(what, "join"))
		join();
	else if (!strcmp(what, "race-address"))
		against(change_address, 0);
	else if (!strcmp(what, "race-descriptor"))
		against(change_descriptor, 1);
	else
		return 0;
	return 1;
}
