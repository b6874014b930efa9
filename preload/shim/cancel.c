/*
 * Calls that a thread can be cancelled in.
 *
 * connect, accept and sendto are cancellation points (pthreads(7)): a server's
 * threads that sleep in accept are often ended that way. libc's own system calls
 * know how; a bare instruction does not. For as long as it may sleep, the thread
 * lets itself be cancelled at once.
 *
 * What it has open at that moment stays open: libc's ways of cleaning up are
 * macros, other ones in glibc than in musl. It is one descriptor, in connect alone.
 */
#include <pthread.h>

#include "shim.h"

#pragma weak pthread_setcanceltype
#pragma weak pthread_testcancel

/**
 * cancel_here() - let pthread_cancel() end the thread, if it has been called
 */
void cancel_here(void)
{
	if (pthread_testcancel)
		pthread_testcancel();
}

/**
 * cancel_begin() - from here on pthread_cancel() may end the thread
 *
 * Return: what cancel_end() takes
 */
int cancel_begin(void)
{
	int before = PTHREAD_CANCEL_DEFERRED;

	if (pthread_setcanceltype)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
	return before;
}

/**
 * cancel_end() - from here on it may not
 * @before: what cancel_begin() returned
 */
void cancel_end(int before)
{
	if (pthread_setcanceltype)
		pthread_setcanceltype(before, &before);
}
