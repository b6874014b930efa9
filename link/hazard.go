package link

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// brokenGSO reports whether a kernel of this release corrupts datagrams that
// are sent with UDP_SEGMENT and are all of one size: 7.0 to 7.1.4
// (https://github.com/tailscale/tailscale/issues/19777). A distribution may
// have corrected its 7.0; that cannot be told from the name.
func brokenGSO(release string) bool {
	var v [3]int
	for i := range v {
		digits := strings.IndexFunc(release, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(release)
		}
		n, err := strconv.Atoi(release[:digits])
		if err != nil {
			break
		}
		v[i] = n
		release = release[digits:]
		if !strings.HasPrefix(release, ".") {
			break
		}
		release = release[1:]
	}
	return v[0] == 7 && (v[1] == 0 || v[1] == 1 && v[2] <= 4)
}

// kernelRelease returns what uname -r prints.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
