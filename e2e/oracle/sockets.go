package oracle

import (
	"bytes"
	"os"
)

// UDPSockets returns how many UDP sockets are open in the network namespace of
// the calling thread, by proc_net(5).
func UDPSockets() int {
	n := 0
	for _, file := range []string{"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"} {
		if b, err := os.ReadFile(file); err == nil {
			n += bytes.Count(b, []byte("\n")) - 1 // the heading
		}
	}
	return n
}
