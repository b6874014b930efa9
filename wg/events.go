package wg

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// An EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	HandshakeStarted EventKind = iota + 1 // an initiation was sent; Attempt counts them
	HandshakeGaveUp                       // nobody answered for 90 s; a packet to the peer starts again
	SessionUp                             // a handshake is complete
	SessionExpired                        // the session is too old and there is no newer one
	EndpointChanged                       // the peer is reached, or is now reached, at Endpoint
	Resolved                              // the endpoint's name has addresses
	ResolveFailed                         // Err says why it has none
)

// String returns the kind in words.
func (k EventKind) String() string {
	switch k {
	case HandshakeStarted:
		return "handshake started"
	case HandshakeGaveUp:
		return "handshake gave up"
	case SessionUp:
		return "session up"
	case SessionExpired:
		return "session expired"
	case EndpointChanged:
		return "endpoint changed"
	case Resolved:
		return "endpoint resolved"
	case ResolveFailed:
		return "endpoint not resolved"
	}
	return "unknown event"
}

// An Event is something that happened to a peer.
type Event struct {
	Time      time.Time
	Peer      PublicKey
	Kind      EventKind
	Endpoint  netip.AddrPort   // where the peer is; zero if unknown
	Attempt   int              // HandshakeStarted: 1 for the first since the last session. ResolveFailed: in a row
	Addresses []netip.AddrPort // Resolved, HandshakeStarted: all that are tried
	Err       error            // ResolveFailed
}

// Subscribe calls f for every event from now on. f is called on the engine's
// goroutines, perhaps on two at once: it must return soon and must not call
// SetPeers or NetworkChanged. A call that is about to begin when cancel is
// called may still come.
func (e *Engine) Subscribe(f func(Event)) (cancel func()) {
	s := &subscriber{f}
	e.subMu.Lock()
	defer e.subMu.Unlock()
	e.subs = append(slices.Clone(e.subs), s)
	return func() {
		e.subMu.Lock()
		defer e.subMu.Unlock()
		e.subs = slices.DeleteFunc(slices.Clone(e.subs), func(t *subscriber) bool { return t == s })
	}
}

type subscriber struct{ f func(Event) }

func (e *Engine) publish(events []Event) {
	e.subMu.Lock()
	subs := e.subs
	e.subMu.Unlock()
	now := time.Now()
	for _, ev := range events {
		ev.Time = now
		e.logEvent(ev)
		for _, s := range subs {
			s.f(ev)
		}
	}
}

func (e *Engine) logEvent(ev Event) {
	log := e.log.With("peer", ev.Peer.Short())
	switch ev.Kind {
	case HandshakeStarted:
		log.Debug("handshake started", "endpoint", ev.Addresses, "attempt", ev.Attempt)
	case SessionUp:
		log.Info("session up", "endpoint", ev.Endpoint)
	case ResolveFailed:
		level := slog.LevelDebug
		if ev.Attempt == 1 {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "endpoint not resolved", "err", ev.Err)
	case HandshakeGaveUp:
		log.Warn("handshake gave up: nobody answers", "endpoint", ev.Endpoint)
	default:
		log.Debug(ev.Kind.String(), "endpoint", ev.Endpoint)
	}
}
