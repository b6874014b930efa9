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
// writes nothing. Who does not read them must not keep the command's end from
// being seen: a goroutine writes, until exit.
type statusWriter struct {
	f     *os.File
	lines chan []byte   // from report and exit, which closes it, to write; room for many a reader's pause
	done  chan struct{} // closed when all lines have been written
}

// statusPatience is how long exit waits for a reader of the last lines.
const statusPatience = time.Second

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
	s := &statusWriter{os.NewFile(uintptr(own), "status"), make(chan []byte, 64), make(chan struct{})}
	go s.write()
	return s, nil
}

// write writes the lines until there will be no more.
func (s *statusWriter) write() {
	defer close(s.done)
	for b := range s.lines {
		s.f.Write(b)
	}
	s.f.Close()
}

// put hands a line over. One for which there is no room within patience is lost.
func (s *statusWriter) put(line statusLine, patience time.Duration) {
	b, err := json.Marshal(line)
	if err != nil {
		return
	}
	b = append(b, '\n')
	select {
	case s.lines <- b:
		return
	default:
	}
	select {
	case s.lines <- b:
	case <-time.After(patience):
	}
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
	s.put(line, 0)
}

// exit writes the last line, how it ended and whether the command or adit did,
// and closes our copy of the descriptor, unless nobody reads.
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
	s.put(line, statusPatience)
	close(s.lines)
	select {
	case <-s.done:
	case <-time.After(statusPatience):
	}
}
