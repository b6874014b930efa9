package launcher

import (
	"slices"
	"testing"
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
