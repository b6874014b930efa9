package launcher

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A copy of a socket that no process has is kept for a while, as the socket may be on its
// way; of a crowd of them a much shorter one.
func TestCrowdOfKeptSocketsIsLetGoSooner(t *testing.T) {
	for _, row := range []struct {
		kept int
		gone bool
	}{{crowd / 4, false}, {crowd, true}} {
		l := newLender()
		l.keeps = true
		old := keptSocket{fd: -1, since: time.Now().Add(-inFlight / 4), out: true}
		for i := range row.kept {
			l.kept[uint64(1)<<40+uint64(i)] = old // no inode that there is
		}
		l.sweep = row.kept
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ino := l.keep(fd)
		unix.Close(fd)
		if _, there := l.kept[ino]; !there {
			t.Error("the one that is being handed out is let go")
		}
		want := row.kept
		if row.gone {
			want = 0
		}
		if got := len(l.kept) - 1; got != want {
			t.Errorf("of %d, gone for %v, %d are kept, want %d", row.kept, inFlight/4, got, want)
		}
		l.Close()
	}
}

// A look costs what all kept sockets cost, and is for at least an eighth more of them.
// Of a crowd that has gone, no more than half of one comes in between.
func TestHowSeldomKeptSocketsAreLookedThrough(t *testing.T) {
	for n, want := range map[int]int{0: 64, 40: 80, crowd / 2: crowd, crowd: crowd + crowd/2, 4 * crowd: 4*crowd + crowd/2, 8 * crowd: 9 * crowd} {
		if got := sweepAt(n); got != want {
			t.Errorf("after a look that found %d: the next one at %d, want %d", n, got, want)
		}
	}
}
