package launcher

import (
	"os"

	"adit/link"
	"adit/packet"
	"adit/wg"
)

// capture puts the decorator of --pcap inner=F around the device, if asked.
func (t *tunnel) capture(d packet.Device) (packet.Device, error) {
	w, err := t.openPcap(t.e.l.PcapInner)
	if w == nil || err != nil {
		return d, err
	}
	return link.PcapDevice(d, w), nil
}

// captureOuter puts the decorator of --pcap outer=F around the transport.
func (t *tunnel) captureOuter(tr wg.Transport) (wg.Transport, error) {
	w, err := t.openPcap(t.e.l.PcapOuter)
	if w == nil || err != nil {
		return tr, err
	}
	return link.PcapTransport(tr, w), nil
}

// openPcap makes the file of a capture; nil for no name. Packets may hold
// secrets: the file is the user's alone.
func (t *tunnel) openPcap(name string) (*link.PcapWriter, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, doing("--pcap", err)
	}
	t.closers.add(f)
	w, err := link.NewPcapWriter(f)
	if err != nil {
		return nil, doing("--pcap "+name, err)
	}
	t.captures = append(t.captures, w)
	return w, nil
}

// warnOfCaptures says which captures are not of the whole run.
func (t *tunnel) warnOfCaptures() {
	for _, w := range t.captures {
		if err := w.Err(); err != nil {
			t.e.warn(warnCapture + err.Error())
		}
	}
}
