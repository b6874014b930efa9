package wg

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

var update = flag.Bool("update", false, "record testdata/transcripts.json anew, with wireguard-go as the peer")

const transcriptFile = "testdata/transcripts.json"

// A transcript is a conversation with wireguard-go, as it happened once. Our
// ephemeral keys, indices and time are fixed, so we have to say the same bytes
// again; what wireguard-go said is only played back.
type transcript struct {
	Name      string
	Initiator bool // we are
	PSK       string
	Lines     []transcriptLine
}

type transcriptLine struct {
	Ours   bool
	Packet string `json:",omitempty"` // the IP packet carried
	Bytes  string
}

func fixedKey(first byte) PrivateKey {
	k := PrivateKey{b: [32]byte{first, 31: 1}}
	k.clamp()
	return k
}

// newFixedCore returns a core without chance: its n-th ephemeral is n, its n-th
// index is n.
func newFixedCore() *core {
	n := byte(0)
	return newCore(fixedKey(0xaa), func(b []byte) {
		clear(b)
		n++
		b[0] = n
	}, func(Instant) time.Time { return time.Unix(1700000000, 123456789) })
}

func (tr *transcript) peer() Peer {
	p := Peer{PublicKey: fixedKey(0xbb).Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}
	hex.Decode(p.PresharedKey.b[:], []byte(tr.PSK))
	return p
}

// A speaker is our side of a transcript.
type speaker struct {
	t    *testing.T
	core *core
	out  *output
	now  Instant
}

func newSpeaker(t *testing.T, tr *transcript) *speaker {
	c := newFixedCore()
	s := &speaker{t: t, core: c, now: simStart}
	s.out = &output{room: Room(1420), pool: &sync.Pool{New: func() any { return packet.NewBatch(Room(1420)) }}}
	if err := c.setPeers(s.now, []Peer{tr.peer()}, tr.Initiator, s.out); err != nil {
		t.Fatal(err)
	}
	return s
}

// said returns what the core wants to send.
func (s *speaker) said() (msgs [][]byte) {
	s.core.advance(s.now, s.out)
	for _, b := range s.out.send {
		for i := range b.Len() {
			msgs = append(msgs, append([]byte(nil), b.Packet(i)...))
		}
	}
	s.out.reset()
	return msgs
}

// hear gives the core a datagram and returns the packet in it.
func (s *speaker) hear(d []byte) []byte {
	b := packet.NewBatch(packet.Room{})
	copy(b.Append(len(d)), d)
	b.SetPath(0, &packet.Path{Remote: outsideB})
	s.core.receive(s.now, b, s.out)
	return b.Packet(0)
}

func (s *speaker) seal(pkt []byte) []byte {
	b := packet.NewBatch(Room(1420))
	copy(b.Append(len(pkt)), pkt)
	s.core.seal(s.now, b, nil)
	return b.Packet(0)
}

// §5.4: byte for byte what wireguard-go understood, and answered.
func TestTranscriptsWithWireGuardGo(t *testing.T) {
	if *update {
		recordTranscripts(t)
	}
	raw, err := os.ReadFile(transcriptFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []transcript
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 {
		t.Fatalf("%d transcripts, want both roles with and without preshared key", len(all))
	}
	for _, tr := range all {
		t.Run(tr.Name, func(t *testing.T) {
			s := newSpeaker(t, &tr)
			said := s.said()
			for i, l := range tr.Lines {
				switch {
				case l.Ours && l.Packet != "":
					pkt, _ := hex.DecodeString(l.Packet)
					said = append(said, s.seal(pkt))
					fallthrough
				case l.Ours:
					if len(said) == 0 {
						t.Fatalf("line %d: we say nothing, want %s", i, l.Bytes)
					}
					if got := hex.EncodeToString(said[0]); got != l.Bytes {
						t.Fatalf("line %d: we say\n%s, want\n%s", i, got, l.Bytes)
					}
					said = said[1:]
				default:
					d, _ := hex.DecodeString(l.Bytes)
					if got := hex.EncodeToString(s.hear(d)); got != l.Packet {
						t.Fatalf("line %d: we understand %q, want %q", i, got, l.Packet)
					}
					said = append(said, s.said()...)
				}
			}
			if len(said) > 0 {
				t.Fatalf("we say more than was recorded: %x", said)
			}
		})
	}
}

func recordTranscripts(t *testing.T) {
	var all []transcript
	for _, initiator := range []bool{true, false} {
		for _, psk := range []string{"", hexOf((&[32]byte{7, 7, 31: 7})[:])} {
			tr := transcript{Name: "responder", Initiator: initiator, PSK: psk}
			if initiator {
				tr.Name = "initiator"
			}
			if psk != "" {
				tr.Name += " with preshared key"
			}
			record(t, &tr)
			all = append(all, tr)
		}
	}
	raw, err := json.MarshalIndent(all, "", "\t")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(transcriptFile), 0o755)
	}
	if err == nil {
		err = os.WriteFile(transcriptFile, append(raw, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func record(t *testing.T, tr *transcript) {
	network := wgtest.NewNetwork(1)
	ours := network.Listen(outsideA)
	theirs := tr.peer()
	peer := newGoPeer(t, network.Listen(outsideB), fixedKey(0xbb), Peer{
		PublicKey: fixedKey(0xaa).Public(), PresharedKey: theirs.PresharedKey,
		AllowedIPs: allowed(insideA), Endpoint: endpointAt(outsideA)})
	defer peer.tr.Close()
	s := newSpeaker(t, tr)
	say := func(msgs ...[]byte) {
		for _, m := range msgs {
			tr.Lines = append(tr.Lines, transcriptLine{Ours: true, Bytes: hexOf(m)})
			ours.Send(m, outsideB, 0)
		}
	}
	batch := packet.NewBatch(packet.Room{})
	listen := func() {
		if err := ours.Read(batch); err != nil {
			t.Fatal(err)
		}
		for i := range batch.Len() {
			l := transcriptLine{Bytes: hexOf(batch.Packet(i))}
			l.Packet = hexOf(s.hear(batch.Packet(i)))
			tr.Lines = append(tr.Lines, l)
		}
	}
	back := wgtest.UDP(insideB, insideA, 33, []byte("back"))
	if tr.Initiator {
		say(s.said()...)
		listen() // response
		say(s.said()...)
	} else {
		peer.tun.Outbound <- back
		listen() // initiation
		say(s.said()...)
		listen() // the packet
		say(s.said()...)
	}
	there := wgtest.UDP(insideA, insideB, 33, []byte("there"))
	m := s.seal(there)
	tr.Lines = append(tr.Lines, transcriptLine{Ours: true, Packet: hexOf(there), Bytes: hexOf(m)})
	ours.Send(m, outsideB, 0)
	if got := <-peer.tun.Inbound; string(got) != string(there) {
		t.Fatalf("wireguard-go understood %x, want %x", got, there)
	}
	peer.tun.Outbound <- back
	listen()
}
