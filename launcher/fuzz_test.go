package launcher

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"adit/wg"
)

// What the engine is told at its start comes out of what it was told.
func FuzzLaunches(f *testing.F) {
	whole, _ := json.Marshal(launch{
		Configs: []sentConfig{{PrivateKey: wg.NewPrivateKey().Base64()}}, Argv: [][]byte{[]byte("\xff"), nil}, Mode: "namespace", PGID: 7,
	})
	f.Add(whole)
	f.Add([]byte(`{"Configs":[{"Config":{"Peers":[{}]},"Preshared":[]}],"Argv":["eA=="]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l launch
		if json.Unmarshal(b, &l) != nil {
			return
		}
		for i := range l.Configs {
			l.Configs[i].receive()
		}
		if len(l.argv()) != len(l.Argv) {
			t.Fatal("an argument is lost")
		}
		once, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var again launch
		if err := json.Unmarshal(once, &again); err != nil {
			t.Fatal(err)
		}
		if twice, _ := json.Marshal(again); !bytes.Equal(once, twice) {
			t.Fatalf("%s was told and %s came", once, twice)
		}
	})
}

// The stage and its socket: any bytes are a message, or an error.
func FuzzStageMessages(f *testing.F) {
	f.Add([]byte(`{"Addresses":["10.0.0.1/24"],"MTU":1420,"DNS":["fd00::1%x"]}`))
	f.Add([]byte(`{"Device":"tun","Errno":13}`))
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > maxMessage {
			return
		}
		var want, got stageConfig
		wanted := json.Unmarshal(b, &want)
		ours, theirs := seqpacketPair(t)
		defer ours.close()
		defer theirs.close()
		if _, err := theirs.c.Write(b); err != nil {
			t.Skip(err) // more than the socket takes
		}
		files, err := ours.receive(&got)
		if (err == nil) != (wanted == nil) || len(files) != 0 || wanted == nil && !reflect.DeepEqual(want, got) {
			t.Fatalf("%q came as %+v, %v; want %+v, %v", b, got, err, want, wanted)
		}
		var r stageReport
		json.Unmarshal(b, &r)
	})
}

func seqpacketPair(t *testing.T) (a, b *seqpacket) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = newSeqpacket(fds[0]); err != nil {
		t.Fatal(err)
	}
	if b, err = newSeqpacket(fds[1]); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// --status-fd: whatever is reported, each line is one JSON object.
func FuzzStatusLines(f *testing.F) {
	f.Add(eventMode, "namespace (tun)", 1, "x\ny")
	f.Add(eventHandshake, "\xff\u2028", -1, "")
	f.Fuzz(func(t *testing.T, event, text string, code int, failure string) {
		file, err := os.Create(filepath.Join(t.TempDir(), "status"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		s, err := newStatusWriter(int(file.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		s.report(&report{Event: event, Text: text, PID: code}, text)
		s.exit(Result{Code: code}, errors.New(failure))
		b, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); n++ {
			var line statusLine
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Event == "" {
				t.Fatalf("%q: %v", lines.Bytes(), err)
			}
		}
		if n == 0 || n > 2 {
			t.Fatalf("%d lines of two reports", n)
		}
	})
}

// Whatever stands in the file beside the lock, a time stamp comes out of it only
// if it was saved with the key.
func FuzzLockFiles(f *testing.F) {
	key := wg.NewPrivateKey()
	f.Add([]byte{})
	f.Add(make([]byte, timestampLen+32))
	f.Fuzz(func(t *testing.T, content []byte) {
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
		k, err := lockKey(key)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		k.f.WriteAt(content, 0)
		if ts := k.last(); ts != [timestampLen]byte{} {
			t.Fatalf("%x is the stamp %x", content, ts)
		}
		k.save([timestampLen]byte{1})
		if ts := k.last(); ts != [timestampLen]byte{1} {
			t.Fatalf("what was saved over %x is %x", content, ts)
		}
	})
}

// proc(5): mountinfo has a path in each line that counts; nsswitch.conf(5): the
// hosts line is ours, once, whatever there was; and asking again changes nothing.
func FuzzFilesOfTheHost(f *testing.F) {
	f.Add("22 1 8:1 / /run/a\\040b rw - tmpfs x rw\n")
	f.Add("passwd: files\n hosts : files mymachines resolve [!UNAVAIL=return] myhostname dns")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if m.path == "" || strings.Count(m.path, "\\") > strings.Count(text, "\\") {
				t.Fatalf("%q has the mount %+v", text, m)
			}
		}
		once := ownNsswitch(text)
		if again := ownNsswitch(once); again != once {
			t.Fatalf("%q is made %q, and again %q", text, once, again)
		}
		if !strings.HasSuffix(once, " dns\n") {
			t.Fatalf("%q does not end with our hosts line", once)
		}
	})
}
