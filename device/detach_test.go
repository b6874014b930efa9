package device

import (
	"slices"
	"testing"
)

// What the caller has set of the same names is not what the background reads: it
// would open descriptors that it does not have, or start the next process, which
// would start the next.
func TestBackgroundReadsWhatIsHandedToItAlone(t *testing.T) {
	got := handedOver([]string{"HOME=/root", "WG_PROCESS_FOREGROUND=0", "WG_TUN_FD=", "WG_UAPI_FD=9", "ADIT_DEVICE_READY_FD=1", "WG_TUN_FDS=7", "WG_PROCESS_FOREGROUND=", "LOG_LEVEL=error"})
	want := []string{"HOME=/root", "WG_TUN_FDS=7", "LOG_LEVEL=error", "WG_TUN_FD=3", "WG_UAPI_FD=4", "ADIT_DEVICE_READY_FD=5", "WG_PROCESS_FOREGROUND=1"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
