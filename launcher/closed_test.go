package launcher

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket is open as long as any process below has it, and closed as soon as none has.
func TestClosedSocketsAreThoseThatNobodyHas(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	inodes := make(map[uint64]bool)
	var inode [2]uint64
	for i, fd := range pair {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		inode[i] = st.Ino
		inodes[st.Ino] = true
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	// The shell's child has it, and the shell itself no more.
	cmd := exec.Command("sh", "-c", "cat <&3 & exec 3<&-; echo; wait")
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	closed := closedSockets(inodes)
	if !closed[inode[0]] || closed[inode[1]] || len(closed) != 1 {
		t.Errorf("got %v, want only %d, which this process alone has", closed, inode[0])
	}
	ours.Close() // the end for cat
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if closed := closedSockets(inodes); !closed[inode[1]] {
		t.Errorf("got %v, want %d among them, which nobody has any more", closed, inode[1])
	}
}

// Of a process that cannot be looked into nobody knows what it has.
func TestNothingIsClosedThatCannotBeLookedFor(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip(err)
	}
	b, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	// What its user may execute and not read is not dumpable.
	secret := filepath.Join(t.TempDir(), "cat")
	if err := os.WriteFile(secret, b, 0o111); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(secret)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // root may read it; so this thread is not quite root
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		unix.SetfsuidRetUid(4321)
		defer unix.SetfsuidRetUid(0)
	}
	const nobodys = 1 << 40 // an inode that no socket has
	if closed := closedSockets(map[uint64]bool{nobodys: true}); len(closed) != 0 {
		t.Errorf("got %v, want nothing said of it", closed)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if closed := closedSockets(map[uint64]bool{nobodys: true}); !closed[nobodys] {
		t.Error("when that process has ended, it is not closed either")
	}
}
