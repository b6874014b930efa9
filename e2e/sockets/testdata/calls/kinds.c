/* All the ways to become somebody who connects. */
#include "calls.h"
#include <linux/sched.h>
#include <sched.h>

static struct place there;

static int connects(void)
{
	int fd = stream(&there, 0), ok = connect(fd, (void *)&there.addr, there.len) == 0 && echoes(fd);

	close(fd);
	return ok;
}

static void ended(const char *what, pid_t child)
{
	int status = -1;

	if (child < 0)
		printf("%s %s\n", what, strerror(errno));
	else if (waitpid(child, &status, __WALL) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		printf("%s ok\n", what);
	else
		printf("%s failed, status %#x\n", what, status);
	fflush(stdout);
}

static void *in_thread(void *arg)
{
	*(int *)arg = connects();
	return NULL;
}

static void *thread_that_forks(void *arg)
{
	pid_t child = fork();

	if (child == 0)
		_exit(!connects());
	*(pid_t *)arg = child;
	return NULL;
}

static int in_clone(void *arg)
{
	(void)arg;
	return !connects();
}

static char stack[256 << 10] __attribute__((aligned(16)));

static pid_t by_clone3(void)
{
	struct clone_args a = { .exit_signal = SIGCHLD };
	pid_t child = (pid_t)syscall(SYS_clone3, &a, sizeof a);

	if (child == 0)
		_exit(!connects());
	return child;
}

/* daemonized - a grandchild whose parent is gone */
static pid_t daemonized(int tell[2])
{
	pid_t child = fork();

	if (child == 0) {
		setsid();
		if (fork() == 0) {
			struct { pid_t who; int ok; } news = { getpid(), connects() };

			if (write(tell[1], &news, sizeof news) != sizeof news)
				_exit(1);
		}
		_exit(0);
	}
	return child;
}

/* kinds IP PORT: prints what comes of each. */
int kinds(char **argv)
{
	pthread_t t;
	pid_t child;
	int ok = 0, tell[2];
	struct { pid_t who; int ok; } daemon;
	char program[] = "/proc/self/exe";

	there = place(argv[0], argv[1]);
	printf("itself %s\n", connects() ? "ok" : "failed");
	pthread_create(&t, NULL, in_thread, &ok);
	pthread_join(t, NULL);
	printf("thread %s\n", ok ? "ok" : "failed");
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(!connects());
	ended("fork", child);
	pthread_create(&t, NULL, thread_that_forks, &child);
	pthread_join(t, NULL);
	ended("fork-of-a-thread", child);
	child = vfork();
	if (child == 0)
		_exit(!connects());
	ended("vfork", child);
	child = vfork();
	if (child == 0) {
		execl(program, "calls", "dial", argv[0], argv[1], "block", "5", (char *)0);
		_exit(9);
	}
	ended("vfork-exec", child);
	ended("clone-files", clone(in_clone, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL));
	ended("clone-vm", clone(in_clone, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
	ended("clone3", by_clone3());
	if (pipe(tell))
		die("pipe");
	waitpid(daemonized(tell), NULL, 0);
	ok = read(tell[0], &daemon, sizeof daemon) == sizeof daemon && daemon.ok;
	printf("daemon %s\n", ok ? "ok" : "failed");
	for (int i = 0; ok && i < 1000 && kill(daemon.who, 0) == 0; i++)
		usleep(1000); /* whoever outlives the command is told of */
	return 0;
}
