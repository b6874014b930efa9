package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEveryNameOfADirectoryIsFound(t *testing.T) {
	mounts := parseMounts(`22 1 8:1 / / rw - ext4 /dev/sda rw
23 22 0:20 / /run rw - tmpfs tmpfs rw
24 22 0:20 / /host/run rw - tmpfs tmpfs rw
25 22 0:20 /systemd /srv/of\040systemd rw - tmpfs tmpfs rw
26 22 0:21 / /other rw - tmpfs tmpfs rw
27 22 8:1 /run /disk/run rw - ext4 /dev/sda rw
28 23 0:20 /runner /run/runner rw - tmpfs tmpfs rw
29 22 8:1 / /mnt/root rw - ext4 /dev/sda rw
`)
	tests := []struct {
		dir  string
		want []string
	}{
		{"/run/nscd", []string{"/run/nscd", "/host/run/nscd"}},
		{"/run/systemd", []string{"/run/systemd", "/host/run/systemd", "/srv/of systemd"}},
		{"/var/cache", []string{"/var/cache", "/mnt/root/var/cache"}},
	}
	for _, tt := range tests {
		if got := namesOf(tt.dir, mounts); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.dir, got, tt.want)
		}
	}
}

// A daemon that is just being started again must not leave the others unmasked.
func TestWhatCannotBeMaskedKeepsNoOtherFromIt(t *testing.T) {
	mounts := parseMounts("22 1 8:1 / / rw - ext4 /dev/sda rw\n23 22 8:1 / /alias rw - ext4 /dev/sda rw\n")
	failing := map[string]error{"/nowhere": unix.ENOMEM, "/alias/nowhere": unix.ENOENT, "/other": unix.EBUSY}
	var asked []string
	err := maskEach([]string{"/nowhere", "/other", "/last"}, mounts, func(name string) error {
		asked = append(asked, name)
		return failing[name]
	})
	if want := []string{"/nowhere", "/alias/nowhere", "/other", "/alias/other", "/last", "/alias/last"}; !slices.Equal(asked, want) {
		t.Errorf("got %q, want %q", asked, want)
	}
	if !errors.Is(err, unix.ENOMEM) || !errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v, want what became of /nowhere and /other, and not of an alias", err)
	}
}

// A daemon may make its directory anew while we mask it. The files of the mask
// must not come to stand in the directory of the host, whose /etc/resolv.conf may
// lead there: root's run could write it.
func TestMaskWritesNothingIntoADirectoryThatIsMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "resolve")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // the daemon
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := os.Remove(dir); errors.Is(err, unix.ENOTEMPTY) {
				t.Errorf("something of the mask is in the host's directory: %v", err)
				return
			}
			os.Mkdir(dir, 0o755)
		}
	}()
	done := make(chan error, 1)
	masks := 0
	go func() { // its thread and its mount namespace end with it
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		begin := time.Now()
		tried := func() bool { // on a busy machine the daemon may be faster for long
			took := time.Since(begin)
			return took > time.Second && masks > 0 || took > 30*time.Second
		}
		for err == nil && !tried() {
			mask(dir, "ours") // comes too late again and again
			if b, err := os.ReadFile(dir + "/resolv.conf"); err == nil && string(b) == "ours" {
				masks++
			}
		}
		done <- err
	}()
	err := <-done
	close(stop)
	<-stopped
	if errors.Is(err, unix.EPERM) {
		t.Skip("no mount namespace: ", err)
	}
	if err != nil || masks == 0 {
		t.Errorf("got %d masks, %v, want some", masks, err)
	}
}
