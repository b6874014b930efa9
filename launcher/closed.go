package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// closedSockets returns those of some sockets, by inode, that no process below this
// one has open. If one of the processes cannot be looked into, as one of another user
// or one that is not dumpable, there are none: it may have them all.
//
// Each thread is looked at, for it may have a table of its own, but no further than
// until all are found.
func closedSockets(inodes map[uint64]bool) map[uint64]bool {
	left := make(map[uint64]bool, len(inodes))
	for ino := range inodes {
		left[ino] = true
	}
	pids, err := descendants()
	if err != nil {
		return nil
	}
	for _, pid := range pids {
		tasks := fmt.Sprintf("/proc/%d/task", pid)
		threads, err := names(tasks)
		if err != nil {
			continue // it has ended
		}
		for _, tid := range threads {
			if len(left) == 0 {
				return nil
			}
			dir := tasks + "/" + tid + "/fd"
			fds, err := names(dir)
			if errors.Is(err, fs.ErrPermission) && !isZombie(tid) {
				return nil
			}
			for _, fd := range fds {
				if target, err := os.Readlink(dir + "/" + fd); err == nil {
					if ino, is := socketInode(target); is {
						delete(left, ino)
					}
				}
			}
		}
	}
	return left
}

// names returns what is in a directory.
func names(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// isZombie reports whether a thread has ended, and has no descriptors any more.
func isZombie(tid string) bool {
	n, _ := strconv.Atoi(tid)
	_, state, _, found := procStat(n)
	return !found || strings.IndexByte("ZX", state) >= 0
}

// descendants returns the processes below this one. What has lost its parent while
// they were counted is among them.
func descendants() ([]int, error) {
	all, err := names("/proc")
	if err != nil {
		return nil, err
	}
	parents := make(map[int]int)
	for _, name := range all {
		if pid, err := strconv.Atoi(name); err == nil {
			if _, _, parent, found := procStat(pid); found {
				parents[pid] = parent
			}
		}
	}
	self := os.Getpid()
	if _, found := parents[self]; !found {
		return nil, fs.ErrNotExist // not our /proc
	}
	var list []int
	for pid := range parents {
		at, known := parents[pid], true
		for range parents {
			if !known || at <= 1 || at == self {
				break
			}
			at, known = parents[at]
		}
		if pid != self && (at == self || !known) {
			list = append(list, pid)
		}
	}
	return list, nil
}
