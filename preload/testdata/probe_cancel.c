/*
 * Threads that are cancelled in calls of the shim's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

#include "probe.h"

static void *accepting(void *fd)
{
	accept(*(int *)fd, NULL, NULL);
	return NULL;
}

static sem_t is_disabled, is_cancelled;

static void *connecting(void *late)
{
	int fd = socket(address.ss_family, SOCK_STREAM, 0), old;

	if (late) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
		sem_post(&is_disabled);
		sem_wait(&is_cancelled);
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	}
	connect(fd, (struct sockaddr *)&address, length);
	return NULL;
}

/* How many descriptors are open. */
static int descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Cancels a thread before it calls connect, and then another one that waits there,
 * or is about to. */
static int cancel_connect(void)
{
	sem_init(&is_disabled, 0, 0);
	sem_init(&is_cancelled, 0, 0);
	for (int late = 1; late >= 0; late--) {
		pthread_t thread;
		void *result;
		int before = descriptors();

		pthread_create(&thread, NULL, connecting, late ? &thread : NULL);
		if (late)
			sem_wait(&is_disabled);
		else
			usleep(100000);
		pthread_cancel(thread);
		sem_post(&is_cancelled);
		pthread_join(thread, &result);
		int left = descriptors() - before - 1; /* beside the socket */
		printf("%s, %s left\n", result == PTHREAD_CANCELED ? "cancelled" : "not cancelled",
		       left <= 0 || (left == 1 && !late) ? "little" : "much");
	}
	return 0;
}

int cancel(void)
{
	if (length)
		return cancel_connect();
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t thread;
	void *result;

	if (listen(fd, 1))
		printf("listen %s\n", error(errno));
	pthread_create(&thread, NULL, accepting, &fd);
	usleep(100000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("%s\n", result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
	return 0;
}
