package launcher

import (
	"fmt"
	"os"
	"strings"
)

// isTap reports whether major is that of macvtap or ipvtap devices, which the
// kernel chooses when it starts (proc(5), /proc/devices).
func isTap(major uint32) bool {
	b, err := os.ReadFile("/proc/devices")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(b)) {
		var n uint32
		var name string
		if _, err := fmt.Sscan(line, &n, &name); err == nil && n == major &&
			(strings.HasSuffix(name, "tap") || name == "tapchr") {
			return true
		}
	}
	return false
}
