package launcher

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"adit/wg"
)

func TestLogLinesLookLikeEverythingThatAditSays(t *testing.T) {
	var b bytes.Buffer
	log := NewLogger(&b, "text", slog.LevelInfo).With("mode", "namespace")
	log.Info("handshake", "peer", "abcdefgh", "err", errors.New("two words"))
	log.Warn("slow")
	log.Debug("not asked for")
	want := "adit: handshake mode=namespace peer=abcdefgh err=\"two words\"\nadit: warning: slow mode=namespace\n"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNoKeyIsLogged(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		key, psk := wg.NewPrivateKey(), wg.NewPresharedKey()
		NewLogger(&b, format, slog.LevelInfo).Info("x", "key", key, "psk", psk, "group", slog.GroupValue(slog.Any("k", key)))
		if bytes.Contains(b.Bytes(), []byte(key.Base64())) || bytes.Contains(b.Bytes(), []byte(psk.Base64())) {
			t.Errorf("%s: a key is in the log: %s", format, b.Bytes())
		}
	}
}
