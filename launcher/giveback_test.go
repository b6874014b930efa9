package launcher

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dropping what can be written to, or has no file, would lose it.
func TestOnlyWhatCanBeReadAgainIsGivenBack(t *testing.T) {
	smaps := ""
	for _, m := range []struct{ line, anonymous string }{
		{"00400000-00b1d000 r-xp 00000000 fe:00 1234   /usr/bin/adit", "0"},
		{"00b1d000-01330000 r--p 0071d000 fe:00 1234   /usr/bin/adit", "0"},
		{"01330000-01394000 rw-p 00f30000 fe:00 1234   /usr/bin/adit", "0"},
		{"01394000-033d8000 rw-p 00000000 00:00 0", "12"},
		{"7f0000000000-7f0000001000 r--s 00000000 fe:00 99   /shared", "0"},
		{"7f0000002000-7f0000003000 r-xs 00000000 fe:00 99   /shared", "0"},
		{"7f0000004000-7f0000005000 ---p 00000000 fe:00 99   /guard", "0"},
		{"7f0000006000-7f0000007000 r--p 00000000 fe:00 98   /lib/relocated.so", "4"},
		{"7f4479420000-7f4479422000 r-xp 00000000 00:00 0   [vdso]", "0"},
		{"7f4479430000-7f4479440000 r--p 00000000 00:00 0", "0"},
	} {
		smaps += m.line + "\nSize: 4 kB\nRss: 4 kB\nAnonymous: " + m.anonymous + " kB\nVmFlags: rd ex mr mw me\n"
	}
	want := []addressRange{{0x400000, 0xb1d000}, {0xb1d000, 0x1330000}}
	if got := codeRanges(smaps + "nonsense\n"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestGivingBackFreesMostOfTheExecutable(t *testing.T) {
	touchAll(t)
	before := residentFile(t)
	giveBackBy("/proc/self/smaps")()
	if after := residentFile(t); after > before/2 {
		t.Errorf("%d kB of files were resident, and %d are", before, after)
	}
}

// The command of a system's root can mount something of its own where the keeper
// reads of its memory.
func TestNobodyElseSaysWhatIsGivenBack(t *testing.T) {
	data, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(data)
	data[0] = 1
	name := filepath.Join(t.TempDir(), "smaps")
	if err := os.Symlink("/proc/self/smaps", name); err != nil {
		t.Fatal(err)
	}
	giveBack := giveBackBy(name)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	at := uintptr(unsafe.Pointer(&data[0]))
	forged := fmt.Sprintf("%x-%x r--p 00000000 fe:00 1234   /usr/bin/adit\nAnonymous: 0 kB\n", at, at+uintptr(len(data)))
	if err := os.WriteFile(name, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	giveBack()
	if data[0] != 1 {
		t.Error("a page of data was thrown away by the word of a file that came later")
	}
}

// touchAll reads every page of the executable's code.
func touchAll(t *testing.T) {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	page := make([]byte, 1)
	for _, r := range codeRanges(string(smaps)) {
		for at := r.start; at < r.end; at += uintptr(os.Getpagesize()) {
			if _, err := mem.ReadAt(page, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// residentFile returns how much of files is in this process's memory, in kB.
func residentFile(t *testing.T) (kB int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			fmt.Sscan(rest, &kB)
		}
	}
	return kB
}
