package broker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// IsElsewhere reports whether thread tid is in another network namespace than this
// process: one that a program has made for itself, mostly in order to have no network.
// What cannot be looked at is taken for one that is here: nor can the addresses be read
// that it connects to, and so it does not.
func IsElsewhere(tid int) bool {
	var here, there unix.Stat_t
	return unix.Stat("/proc/thread-self/ns/net", &here) == nil &&
		unix.Stat(fmt.Sprintf("/proc/%d/ns/net", tid), &there) == nil && here.Ino != there.Ino
}
