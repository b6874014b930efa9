package link

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// watched starts to watch a new TUN, without some capabilities, and returns
// what is told, and the end.
func watched(t *testing.T, s *space, without ...int) (tun *TUN, told <-chan bool, ended <-chan error) {
	t.Helper()
	s.do("make a TUN", func() error {
		f, err := OpenTUN("tun0", 1420)
		if err != nil {
			return err
		}
		tun, err = NewTUN(f, DeviceOptions{MTU: 1420})
		return err
	})
	t.Cleanup(func() { tun.Close() })
	toldc, endedc := make(chan bool, 16), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	home := s.open()
	go func() {
		// At home in s: never unlocked, so that the thread ends with it.
		runtime.LockOSThread()
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			endedc <- err
			return
		}
		defer home.Close()
		for _, c := range without {
			dropCapability(t, c)
		}
		endedc <- tun.Watch(ctx, func(up bool) {
			// Sockets are made of what is told: they belong here.
			at, err1 := os.Stat("/proc/thread-self/ns/net")
			want, err2 := home.Stat()
			if err1 != nil || err2 != nil || !os.SameFile(at, want) {
				t.Error("told in another namespace than its own")
			}
			toldc <- up
		})
	}()
	return tun, toldc, endedc
}

// dropCapability takes one of 0–31 from the effective set of this thread.
func dropCapability(t *testing.T, c int) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Error(err)
	}
	sets[0].Effective &^= 1 << c
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Error(err)
	}
}

func wantTold(t *testing.T, told <-chan bool, want bool) {
	t.Helper()
	select {
	case got := <-told:
		if got != want {
			t.Fatalf("told up %v, want %v", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("not told that up is %v", want)
	}
}

func wantMTU(t *testing.T, tun *TUN, want int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); tun.MTU() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("got an MTU of %d, want %d", tun.MTU(), want)
		}
	}
}

func wantEnd(t *testing.T, ended <-chan error, want error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("still watching")
	}
}

// setTUN does something to tun0.
func setTUN(f func(netlink.Link) error) func() error {
	return func() error {
		l, err := netlink.LinkByName("tun0")
		if err != nil {
			return err
		}
		return f(l)
	}
}

func TestInterfaceIsFollowedUpAndDownAndToAnotherMTU(t *testing.T) {
	s := newSpace(t)
	tun, told, ended := watched(t, s)
	wantTold(t, told, false)
	s.do("up", setTUN(netlink.LinkSetUp))
	wantTold(t, told, true)
	s.do("MTU", setTUN(func(l netlink.Link) error { return netlink.LinkSetMTU(l, 34736) }))
	wantMTU(t, tun, 34736)
	s.do("down", setTUN(netlink.LinkSetDown))
	wantTold(t, told, false)
	s.do("delete", setTUN(netlink.LinkDel))
	wantEnd(t, ended, net.ErrClosed)
	if len(told) > 0 {
		t.Errorf("told once too often: up %v", <-told)
	}
}

func TestInterfaceIsFollowedIntoAnotherNamespace(t *testing.T) {
	followElsewhere(t)
}

// Who may not listen to other namespaces looks there every second.
func TestInterfaceIsFollowedElsewhereByLooking(t *testing.T) {
	followElsewhere(t, unix.CAP_NET_BROADCAST)
}

func followElsewhere(t *testing.T, without ...int) {
	t.Helper()
	s, other := newSpace(t), newSpace(t)
	tun, told, ended := watched(t, s, without...)
	wantTold(t, told, false)
	s.do("up", setTUN(netlink.LinkSetUp))
	wantTold(t, told, true)
	ns := other.open()
	defer ns.Close()
	s.do("move", setTUN(func(l netlink.Link) error { return netlink.LinkSetNsFd(l, int(ns.Fd())) }))
	wantTold(t, told, false) // moving takes it down
	other.do("up", setTUN(netlink.LinkSetUp))
	wantTold(t, told, true)
	other.do("MTU", setTUN(func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) }))
	wantMTU(t, tun, 1300)
	other.do("delete", setTUN(netlink.LinkDel))
	wantEnd(t, ended, net.ErrClosed)
}

// open returns a descriptor of s.
func (s *space) open() (ns *os.File) {
	s.t.Helper()
	s.do("open the namespace", func() (err error) {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns
}

// netns.sh, "there aren't circular reference loops": who watches an interface
// does not keep the namespace alive that the interface was moved to.
func TestNamespaceOfAMovedInterfaceMayEnd(t *testing.T) {
	s := newSpace(t)
	_, told, ended := watched(t, s)
	wantTold(t, told, false)
	var ns *os.File
	made := make(chan error, 1) // the one result
	go func() {
		runtime.LockOSThread() // never unlocked: ns alone keeps the namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	s.do("move", setTUN(func(l netlink.Link) error { return netlink.LinkSetNsFd(l, int(ns.Fd())) }))
	s.do("gone", func() error {
		if _, err := netlink.LinkByName("tun0"); err == nil {
			return errors.New("the interface was not moved")
		}
		return nil
	})
	ns.Close()
	wantEnd(t, ended, net.ErrClosed)
}

func TestClosedTUNIsNotWatched(t *testing.T) {
	s := newSpace(t)
	tun, told, ended := watched(t, s)
	wantTold(t, told, false)
	tun.Close()
	wantEnd(t, ended, net.ErrClosed)
}

func TestMarkIsOnWhatIsSent(t *testing.T) {
	s := newSpace(t)
	var u *UDP
	s.do("listen", func() (err error) {
		u, err = ListenUDP(UDPOptions{Mark: 0xdeadbeef})
		return err
	})
	defer u.Close()
	want := func(want uint32) {
		t.Helper()
		var got int
		var err error
		u.file.control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK) })
		if err != nil || uint32(got) != want {
			t.Errorf("got mark %#x, %v, want %#x", uint32(got), err, want)
		}
	}
	want(0xdeadbeef)
	if err := u.SetMark(0); err != nil {
		t.Error(err)
	}
	want(0)
}
