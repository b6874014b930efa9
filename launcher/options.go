package launcher

import (
	"log/slog"
	"syscall"
	"time"

	"adit/config"
)

// Options is one run of one command.
type Options struct {
	Config *config.Config   // file, environment and flags, already laid over each other
	Outer  []*config.Config // tunnels that this one goes through, the outermost first
	Argv   []string         // the command; Argv[0] is looked for in PATH

	Expose      Exposed       // what of the command's the tunnel reaches
	AsRoot      bool          // map the user to uid 0 inside
	StopTimeout time.Duration // between TERM and KILL when adit has to end the command. If zero, DefaultStopTimeout
	PcapInner   string        // file for a capture of the clear side; "" none
	PcapOuter   string        // file for a capture of the sealed side; "" none
	NoOffload   bool          // the kernel is to segment and merge nothing
	StatusFD    int           // descriptor for JSON lines; -1 none

	LogLevel  slog.Level
	LogFormat string // "text" or "json"
	LogFile   string // "" is standard error
	Quiet     bool   // no warnings

	// Notify is told what the user should see while the command is being
	// started or runs. It is called by one goroutine at a time. If nil,
	// notices are discarded.
	Notify func(Notice)
}

// Exposed says which ports that the command listens on are reached from the tunnel.
// The zero Exposed lets nobody in.
type Exposed struct {
	All bool     // every port of TCP and UDP
	TCP []uint16 // these ports of TCP
	UDP []uint16
}

// DefaultStopTimeout is how long a command has to end after TERM.
const DefaultStopTimeout = 10 * time.Second

// A NoticeKind says what a Notice is.
type NoticeKind int

const (
	Warning  NoticeKind = iota // something is not as the user may think
	Waiting                    // the command waits for Text; shown on a terminal only
	WaitOver                   // what was shown as Waiting can be erased
)

// A Notice is one line for the user.
type Notice struct {
	Kind NoticeKind
	Text string
}

// A Result is how the command ended.
type Result struct {
	Code   int            // its exit status
	Signal syscall.Signal // the signal that killed it; 0 if none. Code is then 128+Signal
}

// Exit statuses of adit's own; see docs/adit.1.
const (
	CodeNotReady  = 124 // the tunnel was not usable in time
	CodeFailed    = 125 // adit itself failed
	CodeCannotRun = 126 // the command cannot be executed
	CodeNotFound  = 127 // the command was not found
)

// An Error is a failure of adit, not of the command: what was being done, why
// it failed, and what to type next.
type Error struct {
	Code  int
	Err   error
	Hints []string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }
