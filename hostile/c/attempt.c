/*
 * The attempts that need a C library, or a program without Go's runtime; those
 * against a library that is preloaded are in around.c.
 *
 *	attempt WHAT CANARY NAME [ADDRESS PORT]...
 *
 * It sends CANARY to each address, or asks for NAME. A call that fails is told by
 * its errno on standard output; silence is success.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <resolv.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attempt.h"

char *canary;
struct sockaddr_in to[4];
int targets;
static char *name;

/* no prints the errno of a call that failed and ends the program. */
void no(void)
{
	printf("%d\n", errno);
	exit(0);
}

/* udp sends the canary to each target. */
static int udp(void *unused)
{
	int sent = 0;
	for (int i = 0; i < targets; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		if (fd < 0)
			return errno;
		if (sendto(fd, canary, strlen(canary), 0, (struct sockaddr *)&to[i], sizeof to[i]) > 0)
			sent++;
		close(fd);
	}
	return sent ? 0 : errno;
}

static void tcp(void)
{
	int sent = 0;
	for (int i = 0; i < targets; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (fd < 0)
			no();
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		if (connect(fd, (struct sockaddr *)&to[i], sizeof to[i]) && errno != EINPROGRESS)
			continue;
		sent++;
		poll(&p, 1, 300);
		send(fd, canary, strlen(canary), MSG_NOSIGNAL);
		close(fd);
	}
	if (!sent)
		no();
}

static void lookup(void)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	if (getaddrinfo(name, "80", &hints, &list) == 0)
		freeaddrinfo(list);
}

/* services asks each service that nsswitch.conf(5) may name, in a process of its
 * own: a library configures them once. */
static void services(void)
{
#ifdef __GLIBC__
	extern int __nss_configure_lookup(const char *, const char *);
	static const char *all[] = { "dns", "resolve", "mdns", "mdns4", "mdns_minimal", "mdns4_minimal",
		"myhostname", "mymachines", "nis", "wins", "winbind", "sss", "ldap", "libvirt", "compat", "files" };
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(2);
			__nss_configure_lookup("hosts", all[i]);
			lookup();
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
#else
	lookup();
#endif
}

static void query(void)
{
	unsigned char answer[512];
	res_init();
	_res.retrans = 1;
	_res.retry = 1;
	res_query(name, 1, 1, answer, sizeof answer);
}

/* race: one thread opens and closes sockets at the number that the other one
 * sends by. */
static volatile int at = -1, stop;

static void *opener(void *unused)
{
	while (!stop) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		at = fd;
		sched_yield();
		close(fd);
	}
	return NULL;
}

static void race(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, opener, NULL))
		return;
	/* Until it has hit several times. */
	time_t end = time(NULL) + 5;
	for (int hits = 0; hits < 20 && time(NULL) < end; )
		for (int i = 0; i < targets; i++)
			if (sendto(at, canary, strlen(canary), 0, (struct sockaddr *)&to[i], sizeof to[i]) > 0)
				hits++;
	stop = 1;
	pthread_join(t, NULL);
}

static void cloned(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status = 0;
	pid_t child = clone(udp, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL);
	if (child < 0)
		no();
	waitpid(child, &status, 0);
	if (WEXITSTATUS(status)) {
		errno = WEXITSTATUS(status);
		no();
	}
}

static void vforked(char **argv)
{
	argv[1] = "udp";
	pid_t child = vfork();
	if (child == 0) {
		execv("/proc/self/exe", argv);
		_exit(1);
	}
	waitpid(child, NULL, 0);
}

/* late ends the program: what was to be sent has been, and nobody answers. */
static void late(int unused)
{
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	signal(SIGALRM, late);
	alarm(6);
	canary = argv[2];
	name = argv[3];
	for (int i = 4; i + 1 < argc && targets < 4; i += 2, targets++) {
		to[targets].sin_family = AF_INET;
		to[targets].sin_port = htons(atoi(argv[i + 1]));
		inet_pton(AF_INET, argv[i], &to[targets].sin_addr);
	}
	if (!strcmp(argv[1], "udp")) {
		if ((errno = udp(NULL)))
			no();
	} else if (!strcmp(argv[1], "tcp"))
		tcp();
	else if (!strcmp(argv[1], "names"))
		lookup();
	else if (!strcmp(argv[1], "services"))
		services();
	else if (!strcmp(argv[1], "res"))
		query();
	else if (!strcmp(argv[1], "race"))
		race();
	else if (!strcmp(argv[1], "clone"))
		cloned();
	else if (!strcmp(argv[1], "vfork"))
		vforked(argv);
	else if (!around(argv[1], argv))
		return 2;
	return 0;
}
