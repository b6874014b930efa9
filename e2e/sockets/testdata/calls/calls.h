/* Programs that make one kind of call and say what came of it, and when. */
#ifndef CALLS_H
#define CALLS_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct place {
	struct sockaddr_storage addr;
	socklen_t len;
};

struct place place(const char *ip, const char *port);
int stream(const struct place *p, int flags);
double now(void); /* seconds */
int echoes(int fd);
void die(const char *what);

int dial(char **argv);
int many(char **argv);
int threads(char **argv);
int kinds(char **argv);
int cycles(char **argv);
int signals(char **argv);
int storm(char **argv);

#endif
