/*
 * What the files of the shim share.
 *
 * Three names per call: raw_connect() is the system call, shim_connect() what
 * the shim makes of it, connect() the symbol that the program finds instead of
 * libc's. shim_…() of a system call returns as that does, a negative errno on
 * failure, so that syscall(2) and the symbol can share it.
 */
#ifndef ADIT_SHIM_H
#define ADIT_SHIM_H

#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "../wire.h"
#include "raw.h"

/* Everything else is hidden: the shim adds no name to the program but those of
 * libc that it stands before. */
#define EXPORT __attribute__((visibility("default")))

/* What is taken of libc, by names that glibc and musl share. All are weak: a
 * program without libc must start, too. */
extern int *__errno_location(void) __attribute__((weak, const));
extern int *__h_errno_location(void) __attribute__((weak, const));
extern void *malloc(size_t size) __attribute__((weak));
extern void free(void *memory) __attribute__((weak));

/* name.c: the last bytes of the broker's abstract address. */
#define BROKER_NAME_LENGTH 16
extern const volatile char broker_name[BROKER_NAME_LENGTH];

/**
 * struct question - one question to the broker, and its answer
 * @head:	operation and arguments; ask() fills in the length
 * @parts:	data that follows, in up to two pieces
 * @socket:	that the question is about, -1 for none
 * @cloexec:	whether the descriptor in the answer is closed on exec
 * @cancels:	whether the thread may be cancelled while it waits
 * @room:	where the data of the answer goes
 * @size:	bytes at @room
 * @answer:	of the broker
 * @fd:		descriptor in the answer, -1 if there is none
 */
struct question {
	struct wire_question head;
	struct iovec parts[2];
	int socket;
	int cloexec;
	int cancels;
	void *room;
	size_t size;
	struct wire_answer answer;
	int fd;
};

/* What ask() returns beside 0 and negative errnos: there is no broker, or no
 * answer that makes sense. */
#define ASK_LOST 1

/* ask.c */
int ask(struct question *q, int interrupts);
int ask_socket(struct question *q, int interrupts, int lost);

/* text.c */
size_t text_length(const char *text);
struct iovec optional_text(const char *text, char *buffer, size_t size);
void copy(void *to, const void *from, size_t n);

/* family.c */
int is_inet(int fd);
int is_inet_stream(int fd);
long give_address(const void *from, size_t n, struct sockaddr *to, socklen_t *length);

/* cancel.c */
void cancel_here(void);
int cancel_begin(void);
void cancel_end(int before);

long shim_socket(int family, int type, int protocol);
long shim_connect(int fd, const struct sockaddr *address, socklen_t length);
long shim_bind(int fd, const struct sockaddr *address, socklen_t length);
long shim_listen(int fd, int backlog);
long shim_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
long shim_getsockname(int fd, struct sockaddr *address, socklen_t *length);
long shim_getpeername(int fd, struct sockaddr *address, socklen_t *length);
long shim_getsockopt(int fd, int level, int name, void *value, socklen_t *length);
long shim_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
		 socklen_t length);

/**
 * libc_result() - what libc returns where the kernel returned @r
 * @r: result of a system call, a negative errno on failure
 *
 * Return: @r, or -1 with errno set; on success errno is left alone
 */
static inline long libc_result(long r)
{
	if (r >= 0 || r < -4095)
		return r;
	if (__errno_location)
		*__errno_location() = (int)-r;
	return -1;
}

#endif
