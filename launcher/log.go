package launcher

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// NewLogger returns a logger that writes lines of the given format, "json" or
// else text, to w: text as "adit: message key=value", the form of everything
// that adit says.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(&textHandler{w: w, mu: new(sync.Mutex), level: level})
}

// A textHandler writes records as lines for people. A record is one Write.
type textHandler struct {
	w     io.Writer
	mu    *sync.Mutex // one record at a time
	level slog.Level
	attrs string // of WithAttrs, as they are written
	group string
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("adit: ")
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(r.Message)
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(h.format(a))
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

func (h *textHandler) format(a slog.Attr) string {
	v := a.Value.Resolve().String()
	if strings.ContainsAny(v, " \t\n\"=") {
		v = `"` + strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(v) + `"`
	}
	return " " + h.group + a.Key + "=" + v
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		c.attrs += h.format(a)
	}
	return &c
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	return &c
}
