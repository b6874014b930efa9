package selftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"adit/e2e/lab"
)

// patience is how long a test waits for what should happen at once, on a
// machine that has other things to do.
const patience = 20 * time.Second

// A host is one network namespace of a test.
type host struct {
	t    *testing.T
	name string // for failures
	ns   *lab.Namespace
}

// newHost makes a namespace with lo up, in which the kernel says nothing of its
// own accord: no duplicate detection, no router solicitation, no link-local
// address. It is gone when the test is.
func newHost(t *testing.T, name string) *host {
	t.Helper()
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	h := &host{t, name, ns}
	for _, key := range []string{"accept_dad", "accept_ra", "router_solicitations"} {
		h.sysctl("ipv6/conf/default/"+key, "0")
	}
	h.sysctl("ipv6/conf/all/accept_dad", "0")
	h.sysctl("ipv6/conf/default/addr_gen_mode", "1")
	h.ip("link set lo up")
	return h
}

// do calls f in h's namespace and fails the test if f does.
func (h *host) do(f func() error) {
	h.t.Helper()
	if err := h.ns.Do(f); err != nil {
		h.t.Fatalf("%s: %v", h.name, err)
	}
}

// sysctl writes /proc/sys/net/KEY.
func (h *host) sysctl(key, value string) {
	h.t.Helper()
	h.do(func() error { return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0) })
}

// try runs a program on h and returns what it says and whether it succeeded.
// It is killed after a minute.
func (h *host) try(stdin, name string, args ...string) (string, error) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	if path, err := lab.Look(name); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	cmd.Env = append(os.Environ(), "PATH="+lab.Path, "LANG=C", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.ns.Do(cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		err = errors.New("still running after a minute")
	}
	if err != nil {
		err = fmt.Errorf("on %s: %s %s: %w\n%s", h.name, name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), err
}

// run is try for what must succeed.
func (h *host) run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.try("", name, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// ip runs ip(8) with the words of the line.
func (h *host) ip(format string, args ...any) {
	h.t.Helper()
	h.run("ip", strings.Fields(fmt.Sprintf(format, args...))...)
}

// nft gives nft(8) a file of commands.
func (h *host) nft(commands string) {
	h.t.Helper()
	if _, err := h.try(commands, "nft", "-f", "-"); err != nil {
		h.t.Fatal(err)
	}
}

// cable lays a veth pair, both ends up. They have link-local addresses, from
// which neighbours are asked for (RFC 4861 §7.2.2), and which nobody announces.
func cable(a *host, nameA string, b *host, nameB string) {
	a.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(b.ns.Fd())}
	a.do(func() error { return netlink.LinkAdd(veth) })
	a.ip("link set %s up", nameA)
	b.ip("link set %s up", nameB)
	a.ip("addr add fe80::a/64 dev %s nodad", nameA)
	b.ip("addr add fe80::b/64 dev %s nodad", nameB)
}

// move gives an interface of h to another host. It is down there, and without
// addresses.
func (h *host) move(link string, to *host) {
	h.t.Helper()
	h.do(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		return netlink.LinkSetNsFd(l, to.ns.Fd())
	})
}

// eventually waits until ok, which is asked again and again, holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not after %v: %s", patience, what)
		}
	}
}

// during asks again and again for that long whether ok still holds.
func during(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !ok() {
			t.Fatalf("within %v no longer: %s", d, what)
		}
	}
}
