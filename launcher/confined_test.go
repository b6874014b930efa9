package launcher

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"

	"adit/config"
)

func TestWhatHasNoEffectInAModeIsSaid(t *testing.T) {
	for _, tt := range []struct {
		mode   string
		dns    config.DNSMode
		search string
		expose Exposed
		want   string
	}{
		{mode: "seccomp", search: "corp.test", want: warnSearch},
		{mode: "seccomp", search: "corp.test", dns: config.DNSHost, want: warnSearch},
		{mode: "seccomp", search: "corp.test", dns: config.DNSOff},
		{mode: "preload", search: "corp.test"},
		{mode: "preload", expose: Exposed{UDP: []uint16{53}}, want: warnExposedUDP},
		{mode: "preload", expose: Exposed{TCP: []uint16{53}}},
		{mode: "preload", expose: Exposed{All: true}},
		{mode: "seccomp", expose: Exposed{UDP: []uint16{53}}},
	} {
		var said bytes.Buffer
		e := newTestEngine()
		e.reports, e.l.Expose = json.NewEncoder(&said), tt.expose
		cfg := &config.Config{DNS: []netip.Addr{netip.MustParseAddr("10.9.0.1")}}
		cfg.Options.DNSMode = tt.dns
		if tt.search != "" {
			cfg.DNSSearch = []string{tt.search}
		}
		tun := &tunnel{e: e, cfg: cfg, confined: &confined{mode: tt.mode}}
		tun.warnOfMode()
		var r report
		json.Unmarshal(said.Bytes(), &r)
		if r.Text != tt.want || r.Text != "" && r.Event != eventWarning {
			t.Errorf("%+v: got %q", tt, said.String())
		}
	}
}
