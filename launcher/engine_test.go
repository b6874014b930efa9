package launcher

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTestEngine returns an engine without processes, whose reports go nowhere.
func newTestEngine() *engine {
	e := &engine{l: new(launch), log: slog.New(slog.DiscardHandler), reports: json.NewEncoder(io.Discard)}
	e.child = newChild(e.report)
	e.starting, e.cancel = context.WithCancelCause(context.Background())
	return e
}

// soon returns a channel that is closed when f has returned.
func soon(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// wantSoon fails if done is not closed within a time that no load explains.
func wantSoon(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: it is still not so after ten seconds", what)
	}
}

// A testFront is the other end of an engine's control socket.
type testFront struct {
	t    *testing.T
	enc  *json.Encoder
	conn net.Conn
	over <-chan struct{} // closed when the engine takes no more orders
}

func newTestFront(t *testing.T, e *engine) *testFront {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	over := soon(func() { e.takeOrders(json.NewDecoder(theirs)) })
	return &testFront{t, json.NewEncoder(ours), ours, over}
}

func (f *testFront) order(sig syscall.Signal) {
	f.t.Helper()
	if err := f.enc.Encode(order{Signal: sig}); err != nil {
		f.t.Fatal(err)
	}
}

func TestSignalBeforeTheCommandRunsGivesUpTheStart(t *testing.T) {
	e := newTestEngine()
	front := newTestFront(t, e)
	front.order(unix.SIGWINCH) // ends nothing
	front.order(unix.SIGTERM)
	wantSoon(t, "the start is given up", e.starting.Done())
	if cause := context.Cause(e.starting); cause != (abort{unix.SIGTERM}) {
		t.Errorf("the cause is %v, want SIGTERM", cause)
	}
	front.conn.Close()
	wantSoon(t, "the orders are over", front.over)
	if cause := context.Cause(e.starting); cause != (abort{unix.SIGTERM}) {
		t.Errorf("the front's end has changed the cause to %v", cause)
	}
	if want := []syscall.Signal{unix.SIGWINCH, unix.SIGTERM}; !slices.Equal(e.child.pending, want) {
		t.Errorf("%v is kept for a command that runs after all, want %v", e.child.pending, want)
	}
}

func TestFrontThatIsGoneGivesUpTheStart(t *testing.T) {
	e := newTestEngine()
	front := newTestFront(t, e)
	front.conn.Close()
	wantSoon(t, "the start is given up", e.starting.Done())
	if cause := context.Cause(e.starting); cause != (abort{}) {
		t.Errorf("the cause is %v, want none but the front's end", cause)
	}
	wantSoon(t, "the orders are over", front.over)
}

func TestOrderThatIsNoneCountsAsTheFrontsEnd(t *testing.T) {
	e := newTestEngine()
	front := newTestFront(t, e)
	io.WriteString(front.conn, "go on!\n")
	wantSoon(t, "the start is given up", e.starting.Done())
	wantSoon(t, "the orders are over", front.over)
}

// A start that was given up is the front's to explain: by the signal, if there
// was one, and not by what failed because of it.
func TestCauseOfAGivenUpStartIsTheSignal(t *testing.T) {
	e := newTestEngine()
	if err := e.firstCause(io.EOF); err != io.EOF {
		t.Errorf("before: got %v, want the error itself", err)
	}
	e.cancel(abort{unix.SIGINT})
	if err := e.firstCause(io.EOF); err != (abort{unix.SIGINT}) {
		t.Errorf("got %v, want SIGINT", err)
	}
}
