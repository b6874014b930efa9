package broker

import "time"

// closedPause is the time between two looks at what the program has closed: longer
// than a socket is on its way from one process to another.
const closedPause = 2 * time.Second

// watchClosed sees to it that a dial whose socket is copied (dial.fd) ends when the
// program closes that socket: the kernel, which would have ended it, sees the copy.
// One goroutine looks, as long as there are such dials.
func (b *Broker) watchClosed() {
	if b.cfg.Closed == nil {
		return
	}
	s := &b.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched {
		return
	}
	s.watched = true
	s.running.Go(func() {
		// Most dials are over before the first look, and none is looked for.
		suspects, pause := make(map[*dial]bool), closedPause
		for {
			select {
			case <-time.After(pause):
			case <-b.ctx.Done():
				return
			}
			begin := time.Now()
			if suspects = b.endOrphaned(suspects); suspects == nil {
				return
			}
			// However many descriptors there are, a fiftieth of the time.
			pause = max(closedPause, 50*time.Since(begin))
		}
	})
}

// endOrphaned ends the dials whose socket was found closed before, and is again: once
// may mean that it was just between two processes. It returns all that go on, of
// which true are those found closed now, nil if nothing is left to look at.
func (b *Broker) endOrphaned(before map[*dial]bool) map[*dial]bool {
	s := &b.streams
	old := make(map[uint64]bool)
	s.mu.Lock()
	after := make(map[*dial]bool)
	for _, d := range s.dials {
		if d.fd < 0 {
			continue
		}
		after[d] = false
		if _, known := before[d]; known {
			old[d.ino] = true
		}
	}
	s.watched = len(after) > 0
	s.mu.Unlock()
	if len(after) == 0 {
		return nil
	}
	if len(old) == 0 {
		return after
	}
	closed := b.cfg.Closed(old)
	for d := range after {
		switch {
		case !closed[d.ino]:
		case before[d]:
			b.log.Debug("connect to be closed", "addr", d.far)
			d.cancel(nil)
		default:
			after[d] = true
		}
	}
	return after
}
