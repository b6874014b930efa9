package wg

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretKeysNeverPrint(t *testing.T) {
	private, psk := NewPrivateKey(), NewPresharedKey()
	secrets := []string{private.Base64(), psk.Base64(), hex.EncodeToString(private.b[:]), hex.EncodeToString(psk.b[:]),
		fmt.Sprint(private.b), fmt.Sprint(psk.b), string(private.b[:]), string(psk.b[:])}
	var out bytes.Buffer
	for _, v := range []any{private, psk, &private, &psk, Peer{PresharedKey: psk}, &Peer{PresharedKey: psk},
		Config{PrivateKey: private, Peers: []Peer{{PresharedKey: psk}}}, []PrivateKey{private}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for i, s := range secrets {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(s)) {
			t.Errorf("secret %d was printed", i)
		}
	}
	if !strings.Contains(out.String(), hidden) {
		t.Error("nothing says that a key is hidden")
	}
}

func TestKeysSurviveBase64(t *testing.T) {
	private, psk := NewPrivateKey(), NewPresharedKey()
	if k, err := ParsePrivateKey(private.Base64()); err != nil || !k.Equal(private) {
		t.Errorf("the private key came back different: %v", err)
	}
	if k, err := ParsePresharedKey(psk.Base64()); err != nil || k.b != psk.b {
		t.Errorf("the preshared key came back different: %v", err)
	}
	if k, err := ParsePublicKey(private.Public().String()); err != nil || k != private.Public() {
		t.Errorf("the public key came back different: %v", err)
	}
}

// RFC 7748 §6.1: Bob's key pair.
func TestPublicKeys(t *testing.T) {
	var k PrivateKey
	hex.Decode(k.b[:], []byte("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
	public := k.Public()
	if got := hexOf(public[:]); got != "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f" {
		t.Errorf("Bob's public key is %s", got)
	}
}

func TestBadKeysAreRefusedWithoutBeingQuoted(t *testing.T) {
	good := NewPrivateKey().Base64()
	for _, bad := range []string{"", "x", good[:43], good + "=", good[:42] + "==", good[:43] + "-",
		strings.Repeat("=", 44), "\n" + good[1:], good[:20] + "\n" + good[21:], strings.Repeat("é", 22)} {
		for _, parse := range []func(string) error{
			func(s string) error { _, err := ParsePrivateKey(s); return err },
			func(s string) error { _, err := ParsePublicKey(s); return err },
			func(s string) error { _, err := ParsePresharedKey(s); return err },
		} {
			err := parse(bad)
			if err == nil {
				t.Errorf("%q was taken for a key", bad)
			} else if len(bad) > 8 && strings.Contains(err.Error(), bad[:8]) {
				t.Errorf("the error quotes the key: %v", err)
			}
		}
	}
}

func TestZeroKeys(t *testing.T) {
	k, psk := NewPrivateKey(), NewPresharedKey()
	if k.IsZero() || psk.IsZero() || k.Public().IsZero() {
		t.Fatal("a random key is zero")
	}
	k.Zero()
	psk.Zero()
	if !k.IsZero() || !psk.IsZero() {
		t.Fatal("Zero left something")
	}
}
