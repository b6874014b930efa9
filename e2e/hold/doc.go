// Package hold stops the processes of a run at chosen system calls, so that a
// test can kill one of them at a known step of its life. Nothing in the program
// under test knows of it.
//
// It is seccomp's user notification (seccomp_unotify(2)): [Enter] puts a filter
// on a process before it executes the program, and every listed system call of
// it and of all its descendants waits until [Hold.Serve] lets it go on.
//
//	enter.go  in the process that becomes the program: the filter
//	serve.go  in the test: the calls as they come
package hold
