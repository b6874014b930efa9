package netstack

import (
	"sync"
	"time"
)

// A deadline is a point in time that may be moved, and a channel that is closed
// while it has passed. The zero deadline never passes.
type deadline struct {
	mu    sync.Mutex // guards the fields below
	timer *time.Timer
	done  chan struct{}
}

// set moves the deadline to t. The zero Time means never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.done // the timer has fired: it is about to close the channel
	}
	d.timer = nil
	if d.done == nil || isClosed(d.done) {
		d.done = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		done := d.done
		d.timer = time.AfterFunc(wait, func() { close(done) })
		return
	}
	close(d.done)
}

// passed returns a channel that is closed when the deadline has passed. It is
// a new one after the deadline was moved away from a time that had passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		d.done = make(chan struct{})
	}
	return d.done
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
