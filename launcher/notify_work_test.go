package launcher

import (
	"testing"
	"time"

	"adit/broker"
)

// A call that says when it waits, and is held up before, does not hold up others: they are
// received after a moment all the same.
func TestOthersAreReceivedWhileACallIsHeldUp(t *testing.T) {
	b, err := broker.New(broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	// With no listener, whoever receives finds that it is all over.
	n := &notifier{fd: -1, broker: b, needed: make(chan struct{}), over: make(chan struct{})}
	c := &call{}
	received := false
	n.do(&work{call: c}, func(_ *notifier, c *call) outcome {
		if c.ctx == nil {
			return outcome{waits: true, says: true}
		}
		select {
		case <-n.over:
			received = true
		case <-time.After(10 * time.Second):
		}
		return outcome{}
	})
	if !received {
		t.Error("nobody receives for ten seconds")
	}
}

// Nor does one hold them up that does not know that it waits.
func TestOthersAreReceivedWhileACallLasts(t *testing.T) {
	b, err := broker.New(broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n := &notifier{fd: -1, broker: b, needed: make(chan struct{}), over: make(chan struct{}), active: make(map[int]*work)}
	received, calls := 0, 0
	n.calls = map[int32]handler{1: func(*notifier, *call) outcome {
		if calls++; calls == 1 {
			return outcome{} // one before it, that does not last
		}
		select {
		case <-n.over:
			received++
		case <-time.After(10 * time.Second):
		}
		return outcome{}
	}}
	n.take(&notifRequest{nr: 1})
	n.take(&notifRequest{nr: 1})
	if received != 1 {
		t.Error("nobody receives for ten seconds")
	}
}
