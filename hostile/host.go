package hostile

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// onLoopback is where a packet was seen that goes from one address of loopback to
// another.
const onLoopback = "lo, between its own addresses"

// A Host is the watch outside while the attempts are made.
type Host struct {
	World World // what the attempts aim at; its Mode is the caller's to set

	victim  *exec.Cmd
	leash   io.Closer // the victim's standard input
	capture *capture
	why     error // why there is no capture
	files   []*os.File
	ears    []ear
	hearing sync.WaitGroup // the ears' goroutines, and one for each connection
	closing sync.Once

	mu   sync.Mutex // guards seen
	seen map[Sighting]bool
}

// A Sighting is something of an attempt's that was seen where it should not be.
type Sighting struct {
	Mark
	Where string
}

// Watch opens listeners on the host's addresses and, where it may, a capture, and
// starts the victim. command returns this program with
// arguments, as the user whose attempts they are. What else w holds, the addresses
// of a laboratory, is taken over. Sockets of the file system are made in dir.
func Watch(w World, dir string, command func(args ...string) *exec.Cmd) (*Host, error) {
	var token [tokenLen / 2]byte
	rand.Read(token[:])
	w.Token = hex.EncodeToString(token[:])
	// Of this thread: the first one may be elsewhere.
	w.NetNS, w.UserNS, w.MountNS = inode("/proc/thread-self/ns/net"), inode("/proc/thread-self/ns/user"), inode("/proc/thread-self/ns/mnt")
	w.Domain = cmp.Or(w.Domain, "invalid") // nobody has a name in it: RFC 2606
	h := &Host{World: w, seen: make(map[Sighting]bool)}
	h.findAddresses()
	h.World.Path = filepath.Join(dir, "host")
	h.World.Abstract = "@adit-" + w.Token + "-host"
	h.World.Private = filepath.Join(dir, "private")
	if err := errors.Join(h.listen(), h.listenEverywhere(), h.ListenUnix(h.World.Path), h.ListenUnix(h.World.Abstract),
		h.listenUnix(h.World.Private, 0o700)); err != nil {
		h.Close()
		return nil, err
	}
	h.capture, h.why = openCapture(h.sawPacket)
	if err := h.startVictim(command(VictimWord, filepath.Join(dir, "victim"), "@adit-"+w.Token+"-victim")); err != nil {
		h.Close()
		return nil, fmt.Errorf("start the victim: %w", err)
	}
	h.leaveOpen()
	return h, nil
}

// findAddresses finds the host's own addresses and the interface that has them.
// A host without any has its loopback.
func (h *Host) findAddresses() {
	w := &h.World
	links, _ := net.Interfaces()
	for _, l := range links {
		addrs, _ := l.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || l.Flags&net.FlagUp == 0 || !p.Addr().IsGlobalUnicast() {
				continue
			}
			if p.Addr().Is4() && !w.Host4.IsValid() {
				w.Host4, w.Link, w.Name, w.LinkMAC = p.Addr(), l.Index, l.Name, l.HardwareAddr.String()
			}
			if p.Addr().Is6() && !w.Host6.IsValid() {
				w.Host6 = p.Addr()
			}
		}
	}
	if !w.Host4.IsValid() {
		w.Host4, w.Link, w.Name = netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1, "lo"
	}
}

func (h *Host) sawBytes(b []byte, where string) {
	if m, ok := h.World.findCanary(b); ok {
		h.saw(Sighting{m, where})
	}
}

func (h *Host) sawPacket(etherType uint16, pkt []byte, where string) {
	if where == "lo" && betweenLoopbacks(etherType, pkt) {
		where = onLoopback
	}
	for _, m := range h.World.find(etherType, pkt) {
		h.saw(Sighting{m, where})
	}
}

func (h *Host) saw(s Sighting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[s] = true
}

// startVictim starts the victim and learns what it has.
func (h *Host) startVictim(cmd *exec.Cmd) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	h.leash = stdin
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	h.victim = cmd
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, &h.World.Victim)
}

// leaveOpen opens descriptors for the process inside to inherit. What cannot be
// opened is left out.
func (h *Host) leaveOpen() {
	h.World.Inherited = make(map[string]int)
	leave := func(name string, fd int, err error) {
		if err != nil {
			return
		}
		h.World.Inherited[name] = 3 + len(h.files)
		h.files = append(h.files, os.NewFile(uintptr(fd), name))
	}
	socket := func(name string, family, kind int) {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		leave(name, fd, err)
	}
	file := func(name, path string) {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		leave(name, fd, err)
	}
	socket("udp", unix.AF_INET, unix.SOCK_DGRAM)
	socket("packet", unix.AF_PACKET, unix.SOCK_RAW)
	socket("netlink", unix.AF_NETLINK, unix.SOCK_RAW)
	file("netns", "/proc/thread-self/ns/net")
	file("directory", "/run")
	fd, err := unix.PidfdOpen(h.World.Victim.PID, 0)
	leave("pidfd", fd, err)
	if r, err := newRing(); err == nil {
		unix.CloseOnExec(r.fd)
		leave("ring", r.fd, nil)
	}
	if fd, err := queue(); err == nil {
		leave("queue", fd, nil)
	}
}

// queue returns a unix socket in whose queue there are UDP sockets.
func queue() (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pair[0])
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(pair[1])
		return -1, err
	}
	defer unix.Close(udp)
	for range 16 { // more than there are runs
		if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(udp), nil, 0); err != nil {
			break
		}
	}
	return pair[1], nil
}

// Inherit returns the files that the process inside is to inherit, from
// descriptor 3 on.
func (h *Host) Inherit() []*os.File { return h.files }

// Captures reports whether packets are captured, and why not. After Close it knows
// of a capture that has ended early, too.
func (h *Host) Captures() (bool, error) { return h.capture != nil && h.why == nil, h.why }

// Lost returns how many packets the capture had no room for. Call it after
// Close.
func (h *Host) Lost() int {
	if h.capture == nil {
		return 0
	}
	return int(h.capture.lost)
}

// Close ends the watch and returns what it has seen, sorted. It waits for what
// connections that are open still bring.
func (h *Host) Close() []Sighting {
	h.closing.Do(h.close)
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Sighting
	for s := range h.seen {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Sighting) int {
		return cmp.Or(a.ID-b.ID, cmp.Compare(a.Key, b.Key), cmp.Compare(a.Where, b.Where))
	})
	return list
}

func (h *Host) close() {
	if h.capture != nil {
		h.why = h.capture.close()
	}
	if h.leash != nil {
		h.leash.Close()
	}
	if h.victim != nil {
		late := time.AfterFunc(5*time.Second, func() { h.victim.Process.Signal(syscall.SIGKILL) })
		h.victim.Wait()
		late.Stop()
	}
	for _, e := range h.ears {
		e.SetDeadline(time.Now().Add(lastWords))
	}
	h.hearing.Wait()
	for _, e := range h.ears {
		e.Close()
	}
	for _, f := range h.files {
		f.Close()
	}
	os.Remove(h.World.Victim.Path)
}
