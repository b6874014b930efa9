/*
 * syscall(2).
 *
 * Some programs and run-times call the kernel by number through libc. What the
 * shim has a say in, it has a say in here too; all else goes straight on.
 */
#include <stdarg.h>

#include "shim.h"

long syscall(long number, ...);

/**
 * shim_syscall() - make a system call by number
 * @number: of the call
 * @a: its arguments, of which six are handed over whatever the call takes
 *
 * the calls below	as the shim's functions of their names have them
 * others		passed on
 *
 * Return: what the call does, -4095 to -1 is a negative errno
 */
static long shim_syscall(long number, const long a[6])
{
	switch (number) {
	case SYS_socket:
		return shim_socket((int)a[0], (int)a[1], (int)a[2]);
	case SYS_connect:
		return shim_connect((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
	case SYS_bind:
		return shim_bind((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
	case SYS_listen:
		return shim_listen((int)a[0], (int)a[1]);
	case SYS_accept:
		return shim_accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], 0);
	case SYS_accept4:
		return shim_accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
	case SYS_getsockname:
		return shim_getsockname((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
	case SYS_getpeername:
		return shim_getpeername((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
	case SYS_getsockopt:
		return shim_getsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3],
				       (socklen_t *)a[4]);
	case SYS_sendto:
		return shim_sendto((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3],
				   (const struct sockaddr *)a[4], (socklen_t)a[5]);
	}
	return raw_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

EXPORT long syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	return libc_result(shim_syscall(number, a));
}
