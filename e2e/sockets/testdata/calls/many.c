/* Many connections at once, and who waits for whom. */
#include "calls.h"

/* room - let this process have as many descriptors as it may */
static void room(int wanted)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur < (rlim_t)wanted + 50) {
		errno = EMFILE;
		die("RLIMIT_NOFILE");
	}
}

/* many IP PORT N DROPS: N nonblocking connects at once, behind one to an address
 * that never answers; prints how many were made and have echoed, the seconds
 * until the last was made, and whether the first still waits. */
int many(char **argv)
{
	struct place p = place(argv[0], argv[1]), drops = place(argv[3], argv[1]);
	int n = atoi(argv[2]), made = 0, good = 0, ep = epoll_create1(0), never = stream(&drops, SOCK_NONBLOCK), *fds = calloc(n, sizeof *fds);
	struct pollfd first = { never, POLLOUT, 0 };
	double begin = now(), last = begin;

	room(n);
	connect(never, (void *)&drops.addr, drops.len);
	for (int i = 0; i < n; i++) {
		struct epoll_event e = { .events = EPOLLOUT | EPOLLONESHOT, .data.fd = fds[i] = stream(&p, SOCK_NONBLOCK) };

		if (connect(fds[i], (void *)&p.addr, p.len) && errno != EINPROGRESS)
			die("connect");
		epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &e);
	}
	while (made < n && now() - begin < 60) {
		struct epoll_event e[64];
		int err, k = epoll_wait(ep, e, 64, 1000);
		socklen_t len = sizeof err;

		for (int i = 0; i < k; i++) {
			if (getsockopt(e[i].data.fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
				errno = err;
				die("SO_ERROR");
			}
			made++;
			last = now();
		}
	}
	for (int i = 0; i < n; i++) {
		fcntl(fds[i], F_SETFL, 0);
		good += echoes(fds[i]);
	}
	printf("made %d\ngood %d\nseconds %.3f\nwaits %d\n", made, good, last - begin, poll(&first, 1, 0) == 0);
	return 0;
}

static struct place there;
static int good;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *one(void *arg)
{
	int fd = stream(&there, 0);

	(void)arg;
	if (connect(fd, (void *)&there.addr, there.len) == 0 && echoes(fd)) {
		pthread_mutex_lock(&lock);
		good++;
		pthread_mutex_unlock(&lock);
	}
	close(fd);
	return NULL;
}

static void *wait_for_ever(void *arg)
{
	struct place *drops = arg;

	connect(stream(drops, 0), (void *)&drops->addr, drops->len);
	return NULL;
}

/* threads IP PORT N DROPS: N threads with a blocking connect each, behind as many
 * as 50 that wait for an address that never answers. */
int threads(char **argv)
{
	struct place drops = place(argv[3], argv[1]);
	int n = atoi(argv[2]);
	pthread_t t, *all = calloc(n, sizeof *all);
	pthread_attr_t small;
	double begin;

	there = place(argv[0], argv[1]);
	room(n);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 128 << 10);
	for (int i = 0; i < 50; i++)
		if (pthread_create(&t, &small, wait_for_ever, &drops))
			die("pthread_create");
	begin = now();
	for (int i = 0; i < n; i++)
		if (pthread_create(&all[i], &small, one, NULL))
			die("pthread_create");
	for (int i = 0; i < n; i++)
		pthread_join(all[i], NULL);
	printf("good %d\nseconds %.3f\n", good, now() - begin);
	fflush(stdout);
	_exit(0); /* without those who wait */
}
