/*
 * System calls made by the instruction itself.
 *
 * The shim stands before libc and cannot call what it hides; and it is loaded
 * into programs of either libc, glibc and musl, so it takes from them only what
 * both have. A raw_…() is the system call of that name. It returns what the
 * kernel returns: a negative errno on failure. It never touches errno.
 */
#ifndef ADIT_RAW_H
#define ADIT_RAW_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/**
 * raw_syscall() - enter the kernel
 * @number: of the system call
 * @a: first of its arguments, as many as it takes; the rest mean nothing
 *
 * Return: what the kernel does, -4095 to -1 is a negative errno
 */
#if defined(__x86_64__)
static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#elif defined(__riscv) && __riscv_xlen == 64
static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long a7 __asm__("a7") = number;
	register long a0 __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;
	register long a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;

	__asm__ volatile("ecall"
			 : "+r"(a0)
			 : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5)
			 : "memory");
	return a0;
}
#else
#error "the shim makes no system calls on this processor yet"
#endif

static inline long raw_socket(int family, int type, int protocol)
{
	return raw_syscall(SYS_socket, family, type, protocol, 0, 0, 0);
}

static inline long raw_socketpair(int family, int type, int protocol, int pair[2])
{
	return raw_syscall(SYS_socketpair, family, type, protocol, (long)pair, 0, 0);
}

static inline long raw_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	return raw_syscall(SYS_bind, fd, (long)address, (long)length, 0, 0, 0);
}

static inline long raw_listen(int fd, int backlog)
{
	return raw_syscall(SYS_listen, fd, backlog, 0, 0, 0, 0);
}

static inline long raw_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	return raw_syscall(SYS_accept4, fd, (long)address, (long)length, flags, 0, 0);
}

static inline long raw_getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
	return raw_syscall(SYS_getsockname, fd, (long)address, (long)length, 0, 0, 0);
}

static inline long raw_getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
	return raw_syscall(SYS_getpeername, fd, (long)address, (long)length, 0, 0, 0);
}

static inline long raw_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	return raw_syscall(SYS_getsockopt, fd, level, name, (long)value, (long)length, 0);
}

static inline long raw_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	return raw_syscall(SYS_setsockopt, fd, level, name, (long)value, length, 0);
}

static inline long raw_sendto(int fd, const void *data, size_t size, int flags,
			      const struct sockaddr *to, socklen_t length)
{
	return raw_syscall(SYS_sendto, fd, (long)data, (long)size, flags, (long)to, (long)length);
}

static inline long raw_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return raw_syscall(SYS_sendmsg, fd, (long)message, flags, 0, 0, 0);
}

static inline long raw_recvmsg(int fd, struct msghdr *message, int flags)
{
	return raw_syscall(SYS_recvmsg, fd, (long)message, flags, 0, 0, 0);
}

static inline long raw_fcntl(int fd, int command, long argument)
{
	return raw_syscall(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

static inline long raw_close(int fd)
{
	return raw_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

#endif
