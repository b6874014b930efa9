package lab

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A User is the ordinary user: somebody without any privilege.
type User struct {
	UID, GID int
	Name     string
	Home     string // also holds Temp
	Runtime  string // XDG_RUNTIME_DIR
	Temp     string // TMPDIR
}

// Path is where the user's programs are looked for: the system's folders, and
// no shims of a developer's own.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ordinaryUID is who a lab that root builds runs programs as: somebody else in
// each lab, as much is counted by user, and limited: processes, watches, keys.
func ordinaryUID() int { return 20000 + os.Getpid()%40000 }

// addUser makes the ordinary user: the caller themselves, or somebody new if
// the caller is root.
func (l *Lab) addUser() error {
	u := User{UID: os.Getuid(), GID: os.Getgid(), Name: "alice"}
	if AsRoot() {
		u.UID, u.GID = ordinaryUID(), ordinaryUID()
	}
	u.Home = filepath.Join(l.Dir, "home")
	u.Temp = filepath.Join(u.Home, "tmp")
	u.Runtime = fmt.Sprintf("/run/user/%d", u.UID)
	if known, err := user.LookupId(strconv.Itoa(u.UID)); err == nil {
		u.Name = known.Username
	} else if err := appendLine("/etc/passwd", fmt.Sprintf("%s:x:%d:%d::%s:/bin/bash", u.Name, u.UID, u.GID, u.Home)); err != nil {
		return err
	} else if err := appendLine("/etc/group", fmt.Sprintf("%s:x:%d:", u.Name, u.GID)); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/user", 0o755); err != nil {
		return err
	}
	for _, dir := range []string{u.Home, u.Temp, u.Runtime} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, u.UID, u.GID); err != nil {
			return err
		}
	}
	l.User = u
	return nil
}

// Root returns root, at home in the lab as well.
func (l *Lab) Root() User {
	u := l.User
	u.UID, u.GID, u.Name = 0, 0, "root"
	return u
}

// Command returns a command that will run as u, with u's environment and
// nobody's privileges. Start it with [Start].
func (u User) Command(name string, arg ...string) *exec.Cmd {
	cmd := exec.Command(name, arg...)
	if path, err := Look(name); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	cmd.Dir = u.Home
	cmd.Env = []string{
		"HOME=" + u.Home, "USER=" + u.Name, "LOGNAME=" + u.Name, "PATH=" + Path,
		"XDG_RUNTIME_DIR=" + u.Runtime, "TMPDIR=" + u.Temp, "LANG=C.UTF-8", "TERM=xterm", "SHELL=/bin/bash",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if AsRoot() && u.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	}
	return cmd
}

// Look returns the program's path if the user can run it.
func Look(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(Path) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o001 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// Start starts cmd without the ambient and inheritable capabilities by which a
// lab that was not built by root manages its namespaces: a new process gets
// those of the thread that forks, and the thread can do without.
func Start(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // capabilities 0–31 and 32–63
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	// The ambient set goes with the inheritable one: capabilities(7).
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return cmd.Start()
}

// WriteFile writes a file of u's own into its home and returns the path.
func (u User) WriteFile(name, text string, mode os.FileMode) (string, error) {
	path := filepath.Join(u.Home, name)
	if dir := filepath.Dir(path); dir != u.Home {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		if err := os.Chown(dir, u.UID, u.GID); err != nil {
			return "", err
		}
	}
	os.Remove(path)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return "", err
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		return "", err
	}
	return path, os.Chown(path, u.UID, u.GID)
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
