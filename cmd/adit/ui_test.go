package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"adit/launcher"
)

func TestLongWaitShowsOneLineThatIsErased(t *testing.T) {
	waiting := launcher.Notice{Kind: launcher.Waiting, Text: "waiting for 192.0.2.1:51820"}
	over := launcher.Notice{Kind: launcher.WaitOver}
	for _, tt := range []struct {
		name     string
		terminal bool
		quiet    bool
		wait     time.Duration
		want     string
	}{
		{"a short wait says nothing", true, false, statusAfter - 1, ""},
		{"a long wait says one line and erases it", true, false, statusAfter + 1, "adit: waiting for 192.0.2.1:51820\r\x1b[K"},
		{"nothing where it cannot be erased", false, false, time.Hour, ""},
		{"nothing when told to be quiet", true, true, time.Hour, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			var b strings.Builder
			u := &ui{err: &b, terminal: tt.terminal, quiet: tt.quiet}
			u.notice(waiting)
			time.Sleep(tt.wait)
			synctest.Wait()
			u.notice(over)
			time.Sleep(time.Hour)
			if got := b.String(); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
			}
		})
	}
}

func TestWordsDoNotRunIntoTheStatusLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		u := &ui{err: &b, terminal: true}
		u.notice(launcher.Notice{Kind: launcher.Waiting, Text: "waiting"})
		time.Sleep(time.Second)
		synctest.Wait()
		u.warn("something")
		if got, want := b.String(), "adit: waiting\r\x1b[Kadit: warning: something\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
