package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A statusWriter writes the JSON lines of --status-fd. A nil statusWriter
// writes nothing.
type statusWriter struct {
	f   *os.File
	enc *json.Encoder
}

// A statusLine is one line of --status-fd.
type statusLine struct {
	Event  string    `json:"event"` // mode, ready, handshake, down, exit
	Time   time.Time `json:"time"`
	Mode   string    `json:"mode,omitempty"`
	Peer   string    `json:"peer,omitempty"`
	PID    int       `json:"pid,omitempty"`
	Code   *int      `json:"code,omitempty"`
	Signal int       `json:"signal,omitempty"`
	Origin string    `json:"origin,omitempty"` // of exit: tool or command
	Error  string    `json:"error,omitempty"`
}

func newStatusWriter(fd int) (*statusWriter, error) {
	if fd < 0 {
		return nil, nil
	}
	// A copy: the descriptor itself is the caller's, to close or to use again.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("--status-fd %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(own), "status")
	return &statusWriter{f, json.NewEncoder(f)}, nil
}

// report writes the line that belongs to r, if one does.
func (s *statusWriter) report(r *report, mode string) {
	if s == nil {
		return
	}
	line := statusLine{Event: r.Event, Time: time.Now()}
	switch r.Event {
	case eventMode:
		line.Mode = mode
	case eventHandshake, eventDown:
		line.Peer = r.Text
	case eventStarted:
		line.Event, line.PID = "ready", r.PID
	default:
		return
	}
	s.enc.Encode(line)
}

// exit writes the last line, how it ended and whether the command or adit did,
// and closes our copy of the descriptor.
func (s *statusWriter) exit(res Result, err error) {
	if s == nil {
		return
	}
	line := statusLine{Event: "exit", Time: time.Now(), Origin: "command", Code: &res.Code, Signal: int(res.Signal)}
	if err != nil {
		code := CodeFailed
		var e *Error
		if errors.As(err, &e) {
			code = e.Code
		}
		line.Origin, line.Code, line.Error = "tool", &code, err.Error()
	}
	s.enc.Encode(line)
	s.f.Close()
}
