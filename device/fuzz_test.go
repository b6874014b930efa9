package device

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"adit/wg"
)

// Operations as any client may write them, one after the other: no panic, and
// what the device then says of itself, written back into a new one, makes the
// same device. https://www.wireguard.com/xplatform/#configuration-protocol
func FuzzOperations(f *testing.F) {
	f.Add([]byte("set=1\nprivate_key=" + hexB + "\nlisten_port=1\nfwmark=7\nreplace_peers=true\npublic_key=" + hexA +
		"\npreshared_key=" + hexB + "\nendpoint=[fe80::1%eth0]:9\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n" +
		"allowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.0/8\nallowed_ip=::ffff:10.1.0.0/112\nprotocol_version=1\n\nget=1\n\n"))
	f.Add([]byte("set=1\npublic_key=" + hexA + "\nupdate_only=true\nremove=true\npublic_key=" + hexB + "\nallowed_ip=0.0.0.0/0\n\nset=1\n\n"))
	f.Add([]byte("get=1\nx=y\n\nset=1\nno line\n\nset=1\ncut"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newState()
		for r := bufio.NewReaderSize(bytes.NewReader(text), maxLine); ; {
			line, err := readLine(r)
			if err != nil {
				break
			}
			if line == "get=1" && readGet(r) != nil {
				break
			}
			if line != "set=1" {
				continue
			}
			c, err := readSet(r)
			if err != nil {
				var op *opError
				if !errors.As(err, &op) || op.errno == 0 {
					t.Fatalf("%v has no number", err)
				}
				continue
			}
			s.apply(c)
		}
		wantSameState(t, s)
	})
}

// wantSameState fails unless a device that is told what s says of itself says
// the same.
func wantSameState(t *testing.T, s *state) {
	t.Helper()
	r := s.report(wg.Status{})
	once := appendReport(nil, &r)
	var lines []string
	for line := range strings.Lines(string(once)) {
		key, _, _ := strings.Cut(line, "=")
		switch key {
		case "last_handshake_time_sec", "last_handshake_time_nsec", "rx_bytes", "tx_bytes":
		default:
			lines = append(lines, line)
		}
	}
	again := newState()
	c, err := readSet(bufio.NewReaderSize(io.MultiReader(strings.NewReader(strings.Join(lines, "")), strings.NewReader("\n")), maxLine))
	if err != nil {
		t.Fatalf("what get says, set refuses: %v\n%s", err, once)
	}
	again.apply(c)
	r = again.report(wg.Status{})
	if twice := appendReport(nil, &r); !bytes.Equal(once, twice) {
		t.Fatalf("one device says\n%s\nand another that was told so\n%s", once, twice)
	}
}
