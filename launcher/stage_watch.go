package launcher

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// startKeeper starts the keeper of /etc, a process beside the command. It cannot
// be the stage: the stage has to end so that the engine becomes the command's
// parent.
func startKeeper(c *stageConfig) (int, error) {
	config, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	fd := null.Fd()
	return syscall.ForkExec("/proc/self/exe", []string{keeperName, strconv.Itoa(os.Getppid()), string(config)},
		&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Setsid: true}})
}

// keeperMain is the keeper's main: args are the pid of the engine, with which it
// ends, and the stage's configuration.
func keeperMain(args []string) {
	nameProcess(keeperName)
	closeInherited(-1)
	if len(args) == 2 {
		pid, err := strconv.Atoi(args[0])
		var c stageConfig
		if err == nil && json.Unmarshal([]byte(args[1]), &c) == nil {
			keepEtc(pid, etcFiles(&c))
		}
	}
	os.Exit(0)
}

// keepEtc keeps files bound over those of /etc until process engine ends. When
// the host puts a new file in the place of one, the kernel takes our mount off
// with the old one; it is then bound again, and the mount spreads into the
// namespace inside, whose mounts are slaves of ours. Between the two the
// command may read the host's file: what it asks then goes through the tunnel
// like everything else.
func keepEtc(pid int, files []etcFile) {
	engine, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	changes, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return
	}
	if _, err := unix.InotifyAddWatch(changes, "/etc", unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_ONLYDIR); err != nil {
		return
	}
	poll := []unix.PollFd{{Fd: int32(engine), Events: unix.POLLIN}, {Fd: int32(changes), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
			return
		}
		if poll[0].Revents != 0 {
			return
		}
		if poll[1].Revents != 0 && changed(changes, files) {
			bindEtc(files)
		}
	}
}

// changed empties the inotify queue and reports whether one of files is in it.
func changed(fd int, files []etcFile) bool {
	b := make([]byte, 4096)
	found := false
	for {
		n, err := unix.Read(fd, b)
		if err != nil || n <= 0 {
			return found
		}
		// struct inotify_event: wd, mask, cookie, len (4 each), name padded
		// with zeros (inotify(7)). Names are all that matters here.
		for _, f := range files {
			found = found || strings.Contains(string(b[:n]), f.path+"\x00")
		}
	}
}
