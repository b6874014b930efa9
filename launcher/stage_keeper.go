package launcher

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The keeper is a small process beside the command, in its namespaces and with
// the stage's capabilities there, that renews what the host undoes. A mount goes
// away with the directory or the file that it is on: a daemon that is started
// again and makes its directory anew would stand unmasked in it, and so would
// one whose directory was not there when the command started. The keeper masks
// it within a millisecond or so, mostly before the daemon listens; and for the
// system's root, whose /etc is not overlaid, it binds the resolver's files
// again.
//
// The command cannot reach into it, having none of its capabilities
// (ptrace(2)); it could kill it, as it could kill adit: the engine then ends the
// command.
//
// The keeper ends with the engine. When the front is gone as well, nobody else
// is left who could end the command: the keeper does.

// startKeeper starts the keeper as a child of the engine, not of this process:
// the command would otherwise find a child that it has not started. What the
// keeper has to know of c stands in its command line, where everybody can read it.
func startKeeper(c *stageConfig) (int, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	fd := null.Fd()
	config, err := json.Marshal(stageConfig{
		DNS: c.DNS, Search: c.Search, KeepEtc: c.KeepEtc,
		Front: c.Front, Engine: c.Engine, StopTimeout: c.StopTimeout,
	})
	if err != nil {
		return 0, err
	}
	return syscall.ForkExec("/proc/self/exe", []string{keeperName, string(config)}, &syscall.ProcAttr{
		Env: []string{}, Files: []uintptr{fd, fd, fd},
		// Stopped, it must hear that the engine is gone.
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_PARENT, Pdeathsig: unix.SIGCONT},
	})
}

// keeperMain is the keeper's main.
func keeperMain(args []string) {
	nameProcess(keeperName)
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	unix.Umask(0o022)
	closeInherited(-1)
	wakeSoon()
	var c stageConfig
	if len(args) == 1 && json.Unmarshal([]byte(args[0]), &c) == nil {
		files := etcFiles(&c)
		k := keeper{files: files, bind: c.KeepEtc, mask: func() error { return maskAll(files[0].content) }}
		front := openProcess(c.Front)
		k.run(openProcess(c.Engine))
		front.wait()
		endCompanions(c.StopTimeout)
	}
	os.Exit(0)
}

type keeper struct {
	files   []etcFile
	bind    bool         // the files are bound over those of /etc
	mask    func() error // masks what is to be masked and is not
	changes int          // inotify descriptor, -1 if there is none
	blind   bool         // some changes are not told of
}

// blindPause is the time in milliseconds between two looks of a keeper that is
// not told of every change (the user's inotify instances or watches are used
// up) or of the engine's end, or that could not mask what it has found.
const blindPause = 20

// keeperSlice is the keeper's time slice, the shortest that there is: sched(7)
// leaves one of the default length (some 3 ms) waiting until each of the
// processes that are busy has had its own, 50 ms on a machine with ten of them.
const keeperSlice = 100 * time.Microsecond

// wakeSoon lets the calling goroutine's thread, to which it is bound from now
// on, run soon after it is woken, though others are busy: for who asks for less
// at a time the scheduler interrupts them (EEVDF, Linux 6.12 and later; older
// ones pay no heed). That takes no right, and gives no more time than before.
// What cannot be had is done without.
func wakeSoon() {
	runtime.LockOSThread()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return // somebody has chosen for us
	}
	attr.Runtime = uint64(keeperSlice)
	unix.SchedSetAttr(0, attr, 0)
}

// run renews what is undone until the engine ends.
func (k *keeper) run(engine process) {
	var err error
	if k.changes, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		k.changes = -1 // poll(2) passes over what is negative
	}
	// A mount that comes later may be another name of what is masked.
	mounts, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		mounts = -1
	}
	defer unix.Close(mounts)
	poll := []unix.PollFd{
		{Fd: int32(k.changes), Events: unix.POLLIN}, {Fd: int32(engine.fd), Events: unix.POLLIN},
		{Fd: int32(mounts), Events: unix.POLLPRI},
	}
	keepThreads(otherThreads)
	giveBackLater()
	for !engine.isGone() && poll[1].Revents == 0 {
		// Watch first, then look: what comes in between is seen twice.
		k.watch()
		err := k.renew()
		pause := -1
		if k.blind || err != nil || engine.fd < 0 {
			pause = blindPause
		}
		if _, err := unix.Poll(poll, pause); err != nil && err != unix.EINTR {
			return
		}
		k.drain()
	}
}

// watch watches the directories in which something can be made anew. A watch
// that is there already stays one.
func (k *keeper) watch() {
	k.blind = k.changes < 0
	for _, dir := range maskedDirs {
		// Also the parent's parent: /run/systemd may come and go itself.
		k.watchDir(filepath.Dir(dir))
		k.watchDir(filepath.Dir(filepath.Dir(dir)))
	}
	if !k.bind {
		return
	}
	for _, f := range k.files {
		path := "/etc/" + f.path
		k.watchDir(filepath.Dir(path))
		if target, err := filepath.EvalSymlinks(path); err == nil {
			k.watchDir(filepath.Dir(target))
		}
	}
}

func (k *keeper) watchDir(dir string) {
	if dir == "/" || k.changes < 0 {
		return
	}
	_, err := unix.InotifyAddWatch(k.changes, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	if err == unix.ENOSPC || err == unix.ENOMEM {
		k.blind = true
	}
}

// renew masks and binds what is not, or no longer. It fails if something is left
// to mask.
func (k *keeper) renew() error {
	err := k.mask()
	if !k.bind {
		return err
	}
	for _, f := range k.files {
		if b, err := os.ReadFile("/etc/" + f.path); err != nil || string(b) != f.content {
			bindEtc([]etcFile{f})
		}
	}
	return err
}

// drain empties the inotify queue: what it says is found by looking.
func (k *keeper) drain() {
	b := make([]byte, 4096)
	for {
		if n, err := unix.Read(k.changes, b); err != nil || n <= 0 {
			return
		}
	}
}
