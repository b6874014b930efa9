package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"

	"golang.org/x/sys/unix"
)

func TestDeviceCarriesTrafficToAndFromWireguardGo(t *testing.T) {
	p := enterPair(t)
	p.tunnel(t)
	p.sh(t, p.a, pingB)
	p.sh(t, p.b, pingA)
	// Both counted the same bytes, and nothing is under way.
	p.eventually(t, p.a, `
		read _ rx tx < <(wg show wga transfer); read _ rx2 tx2 < <(wg show wgb transfer)
		echo "$rx $tx, $rx2 $tx2" >&2
		[[ $rx -gt 500 && $rx == $tx2 && $tx == $rx2 ]]`)
	p.sh(t, p.a, `read _ at < <(wg show wga latest-handshakes); now=$(date +%s); (( at > now - 60 && at <= now + 1 ))`)
}

func TestDeviceTakesEveryChangeLive(t *testing.T) {
	p := enterPair(t)
	_, b := p.tunnel(t)
	p.sh(t, p.a, pingB)

	t.Run("listen port", func(t *testing.T) {
		p.sh(t, p.a, "wg set wga listen-port 1001; [[ $(wg show wga listen-port) == 1001 ]]")
		p.sh(t, p.a, pingB) // and the far end follows
		p.sh(t, p.b, `[[ $(wg show wgb endpoints) == *"10.88.0.1:1001" ]]`)
		p.sh(t, p.b, pingA)
	})
	t.Run("port in use", func(t *testing.T) {
		_, stderr, code := p.run(t, p.a, "python3 -c 'import socket,os,subprocess,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind((\"\",1002)); sys.exit(subprocess.call([\"wg\",\"set\",\"wga\",\"listen-port\",\"1002\",\"fwmark\",\"7\"]))'")
		if code == 0 || !strings.Contains(stderr, "Address already in use") {
			t.Errorf("got status %d, %q, want EADDRINUSE", code, stderr)
		}
		p.sh(t, p.a, "[[ $(wg show wga listen-port) == 1001 && $(wg show wga fwmark) == off ]] && "+pingB)
	})
	t.Run("fwmark", func(t *testing.T) {
		p.sh(t, p.a, "wg set wga fwmark 0x1234; [[ $(wg show wga fwmark) == 0x1234 ]]")
		// Marked datagrams find no way, so it is the mark that they have.
		p.sh(t, p.a, "ip rule add fwmark 0x1234 unreachable")
		if _, _, code := p.run(t, p.a, "ping -c 1 -W 1 10.99.0.2"); code == 0 {
			t.Error("the datagrams have no mark")
		}
		p.sh(t, p.a, "wg set wga fwmark 0; [[ $(wg show wga fwmark) == off ]]")
		p.sh(t, p.a, "ip rule del fwmark 0x1234; "+pingB)
	})
	t.Run("private key", func(t *testing.T) {
		fresh := peer.NewKey()
		p.sh(t, p.a, fmt.Sprintf("wg set wga private-key <(echo %s); [[ $(wg show wga public-key) == %s ]]", fresh.Private, fresh.Public))
		if _, _, code := p.run(t, p.a, "ping -c 1 -W 1 10.99.0.2"); code == 0 {
			t.Error("a peer that does not know the new key answers")
		}
		p.sh(t, p.b, fmt.Sprintf("wg set wgb peer %s allowed-ips 10.99.0.1/32,fd99::1/128", fresh.Public))
		p.eventually(t, p.a, pingB)
	})
	t.Run("no private key", func(t *testing.T) {
		before := p.sh(t, p.a, "wg show wga private-key")
		p.sh(t, p.a, `wg set wga private-key /dev/null; [[ $(wg show wga public-key) == "(none)" ]]`)
		if _, _, code := p.run(t, p.a, "ping -c 1 -W 1 10.99.0.2"); code == 0 {
			t.Error("it speaks without a key")
		}
		p.sh(t, p.a, "wg set wga private-key <(echo "+before+")")
		p.eventually(t, p.a, pingB)
	})
	t.Run("preshared key", func(t *testing.T) {
		psk := peer.NewPresharedKey()
		p.sh(t, p.a, fmt.Sprintf("wg set wga peer %s preshared-key <(echo %s); [[ $(wg show wga preshared-keys) == *%[2]s ]]", b.Public, psk))
		p.sh(t, p.b, fmt.Sprintf("wg set wgb peer $(wg show wga public-key) preshared-key <(echo %s)", psk))
		p.sh(t, p.a, "ip link set wga down; ip link set wga up") // a new handshake
		p.eventually(t, p.a, pingB)
	})
	t.Run("peer removed and added", func(t *testing.T) {
		p.sh(t, p.a, fmt.Sprintf("wg set wga peer %s remove; [[ -z $(wg show wga peers) ]]", b.Public))
		if _, _, code := p.run(t, p.a, "ping -c 1 -W 1 10.99.0.2"); code == 0 {
			t.Error("a removed peer answers")
		}
		// At its address of IPv4: wireguard-go, once it has sent to one, sends to what is left
		// of an address of IPv6 when only four of its bytes are copied (conn/bind_std.go, Send,
		// whose addresses come from a pool), until it takes another from the pool.
		psk := p.sh(t, p.b, "wg show wgb preshared-keys | grep ^$(wg show wga public-key) | cut -f2")
		p.sh(t, p.a, fmt.Sprintf("wg set wga peer %s preshared-key <(echo %s) allowed-ips 10.99.0.2/32,fd99::2/128 endpoint 10.88.0.2:2000", b.Public, psk))
		p.eventually(t, p.a, pingB)
	})
	t.Run("persistent keepalive", func(t *testing.T) {
		p.sh(t, p.a, "wg set wga peer "+b.Public+" persistent-keepalive 1")
		p.eventually(t, p.a, "read _ rx tx < <(wg show wga transfer); old=${old:-$tx}; sleep 1.2; read _ rx tx < <(wg show wga transfer); (( tx > old ))")
		p.sh(t, p.a, "wg set wga peer "+b.Public+" persistent-keepalive off; [[ $(wg show wga persistent-keepalive) == *off ]]")
	})
}

func TestDeviceMovesAllowedIPsBetweenPeers(t *testing.T) {
	p := enterPair(t)
	p.device(t, p.a, "wga")
	one, two := peer.NewKey().Public, peer.NewKey().Public
	want := func(ofOne, ofTwo string) {
		t.Helper()
		if got := p.sh(t, p.a, "wg show wga allowed-ips"); got != one+"\t"+ofOne+"\n"+two+"\t"+ofTwo {
			t.Errorf("got %q, want %q and %q", got, ofOne, ofTwo)
		}
	}
	p.sh(t, p.a, "wg set wga private-key <(wg genkey) peer "+one+" allowed-ips 10.1.0.0/16,10.2.0.0/16,fd00::/8 peer "+two)
	want("10.1.0.0/16 10.2.0.0/16 fd00::/8", "(none)")
	p.sh(t, p.a, "wg set wga peer "+two+" allowed-ips 10.2.3.4/16,::/0")
	want("10.1.0.0/16 fd00::/8", "10.2.0.0/16 ::/0")
	p.sh(t, p.a, "wg set wga peer "+one+" allowed-ips ''")
	want("(none)", "10.2.0.0/16 ::/0")

	// The prefix that takes one away is newer than most wg(8).
	p.sh(t, p.a, fmt.Sprintf(`python3 - <<'EOF'
import socket, base64
s = socket.socket(socket.AF_UNIX); s.connect("%s")
s.sendall(b"set=1\npublic_key=" + base64.b64decode("%s").hex().encode() + b"\nallowed_ip=-10.2.0.0/16\nallowed_ip=-10.9.0.0/16\n\n")
assert s.recv(100) == b"errno=0\n\n"
EOF`, socketPath("wga"), two))
	want("(none)", "::/0")
}

func TestDeviceTakesWholeConfigurations(t *testing.T) {
	p := enterPair(t)
	_, b := p.tunnel(t)
	p.sh(t, p.a, pingB)
	file := filepath.Join(p.Dir, "wga.conf")
	t.Cleanup(func() { os.Remove(file) })

	// showconf, then setconf: the same device.
	before := p.sh(t, p.a, "umask 077; wg showconf wga | tee "+file)
	p.sh(t, p.a, "wg setconf wga "+file)
	if after := p.sh(t, p.a, "wg showconf wga"); after != before {
		t.Errorf("after setconf it is\n%s\nwant\n%s", after, before)
	}
	p.eventually(t, p.a, pingB)

	// syncconf leaves alone what stays: the session, and so the counters.
	more := peer.NewKey().Public
	at := p.sh(t, p.a, "wg show wga latest-handshakes")
	p.sh(t, p.a, fmt.Sprintf("printf '[Peer]\\nPublicKey = %s\\nAllowedIPs = 10.55.0.0/16\\n' >> %s; wg syncconf wga %[2]s", more, file))
	if got := p.sh(t, p.a, "wg show wga peers"); got != b.Public+"\n"+more {
		t.Errorf("after syncconf: peers %q", got)
	}
	if got := p.sh(t, p.a, "wg show wga latest-handshakes"); !strings.HasPrefix(got, at) {
		t.Errorf("after syncconf: handshakes %q, had %q", got, at)
	}
	p.sh(t, p.a, "head -n -3 "+file+" > "+file+".1; wg syncconf wga "+file+".1; rm "+file+".1; [[ $(wg show wga peers | wc -l) == 1 ]]")
	p.sh(t, p.a, "wg addconf wga <(printf '[Peer]\\nPublicKey = "+more+"\\n'); [[ $(wg show wga peers | wc -l) == 2 ]]")
	p.sh(t, p.a, pingB)
	p.sh(t, p.a, "wg show all dump | awk -F'\\t' 'NF != 5 && NF != 9 { exit 1 }'")
}

func TestDeviceThatIsDownIsSilentAndFreesItsPort(t *testing.T) {
	p := enterPair(t)
	p.tunnel(t)
	p.sh(t, p.a, pingB)
	const bindPort = `python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("", 1000))'`
	if _, _, code := p.run(t, p.a, bindPort); code == 0 {
		t.Error("the port is free while the device is up")
	}
	sent := p.sh(t, p.a, "wg show wga transfer | cut -f3")
	p.sh(t, p.a, "ip link set wga down")
	p.eventually(t, p.a, bindPort)
	p.sh(t, p.a, "[[ $(wg show wga transfer | cut -f3) == "+sent+" && $(wg show wga listen-port) == 1000 ]]")
	p.sh(t, p.a, "ip link set wga up")
	p.eventually(t, p.a, pingB)
	p.sh(t, p.a, "(( $(wg show wga transfer | cut -f3) > "+sent+" ))")
}

// The outer datagrams are larger than the cable's frames: the kernel cuts them.
// The last is the largest that fits a datagram of IPv4.
func TestDeviceFollowsTheMTU(t *testing.T) {
	p := enterPair(t)
	p.tunnel(t)
	p.sh(t, p.a, "[[ $(ip link show wga) == *' mtu 1420 '* ]]")
	for _, mtu := range []int{1280, 9000, 34736, 65507 - 32} {
		for _, end := range []struct {
			ns   *lab.Namespace
			name string
		}{{p.a, "wga"}, {p.b, "wgb"}} {
			p.sh(t, end.ns, fmt.Sprintf("ip link set %s mtu %d", end.name, mtu))
		}
		p.eventually(t, p.a, fmt.Sprintf("ping -M do -c 3 -i 0.05 -W 2 -s %d 10.99.0.2", mtu-28))
		p.sh(t, p.b, fmt.Sprintf("ping -6 -M do -c 3 -i 0.05 -W 2 -s %d fd99::1", mtu-48))
	}
}

func TestDeviceGoesWhereItsInterfaceGoes(t *testing.T) {
	p := enterPair(t)
	p.tunnel(t)
	inner, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	p.sh(t, p.a, fmt.Sprintf("ip link set wga netns /proc/%d/fd/%d", os.Getpid(), inner.Fd()))
	p.sh(t, inner, "ip addr add 10.99.0.1/24 dev wga; ip addr add fd99::1/64 dev wga nodad; ip link set wga up mtu 1300")
	p.eventually(t, inner, pingB) // by the cable of a, where the socket stayed
	p.sh(t, inner, "ping -M do -c 1 -W 2 -s 1272 10.99.0.2")
}

func TestDeviceEndsAndLeavesNothing(t *testing.T) {
	p := enterPair(t)
	for _, c := range []struct{ name, script string }{
		{"interface deleted", "ip link delete wga"},
		{"socket removed", "rm " + socketPath("wga")},
		{"socket moved away", "mv " + socketPath("wga") + " /run/wga.moved && rm /run/wga.moved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := p.device(t, p.a, "wga")
			p.sh(t, p.a, c.script)
			if code, sig := wait(t, cmd); code != 0 {
				t.Errorf("ended with status %d, signal %v", code, sig)
			}
			p.wantNoSocket(t, "wga")
			p.sh(t, p.a, "! ip link show wga 2>/dev/null")
		})
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			p.end(t, p.device(t, p.a, "wga"), sig)
			p.wantNoSocket(t, "wga")
			p.sh(t, p.a, "! ip link show wga 2>/dev/null")
		})
	}
}

func TestDeviceReplacesAStaleSocketAndRefusesALiveOne(t *testing.T) {
	p := enterPair(t)
	first := p.device(t, p.a, "wga")
	_, stderr, code := p.run(t, p.a, "adit device wga")
	if code != 125 || !strings.Contains(stderr, "it is in use") || strings.Count(stderr, "adit: error:") != 1 {
		t.Errorf("the same interface: status %d, %q", code, stderr)
	}
	_, stderr, code = p.run(t, p.b, "adit device wga") // elsewhere, and with the same socket
	if code != 125 || !strings.Contains(stderr, "another process is this interface") {
		t.Errorf("the same socket: status %d, %q", code, stderr)
	}
	p.sh(t, p.b, "! ip link show wga 2>/dev/null")
	p.sh(t, p.a, "wg show wga")

	first.Process.Kill()
	first.Wait()
	if _, err := os.Lstat(socketPath("wga")); err != nil {
		t.Fatalf("a killed process removed its socket: %v", err)
	}
	p.device(t, p.a, "wga")
}

func TestDeviceGoesToTheBackground(t *testing.T) {
	p := enterPair(t)
	p.sh(t, p.a, "umask 0; WG_TUN_FD= WG_UAPI_FD= adit device wga") // unset or empty is the same
	// At once: no waiting.
	p.sh(t, p.a, "wg set wga listen-port 1000; ip link set wga up; [[ $(wg show wga listen-port) == 1000 ]]")
	p.sh(t, p.a, "[[ $(stat -c %a "+socketPath("wga")+") == 700 && $(stat -c %a /var/run/wireguard) == 755 ]]")
	p.sh(t, p.a, "ip link delete wga")
	p.eventually(t, p.a, runsNone+"'adit devic[e] wga'")
	p.wantNoSocket(t, "wga")

	for script, want := range map[string]string{
		"adit device eth0":                            "it is no TUN",
		"WG_TUN_FD=999 adit device wga -f":            ": WG_TUN_FD: fcntl: bad file descriptor\n",
		"WG_TUN_FD=3 adit device wga -f 3</dev/null":  ": WG_TUN_FD: not a TUN device",
		"WG_UAPI_FD=3 adit device wga -f 3</dev/null": ": WG_UAPI_FD: descriptor 3: getsockopt: socket operation on non-socket\n",
	} {
		_, stderr, code := p.run(t, p.a, script)
		if code != 125 || !strings.Contains(stderr, want) || strings.Count(stderr, "adit: error:") != 1 {
			t.Errorf("%s: status %d, %q, want 125 and %q", script, code, stderr, want)
		}
		p.sh(t, p.a, "! ip link show wga 2>/dev/null")
	}
}

// A supervisor may make the interface and the socket, as for wireguard-go.
func TestDeviceTakesDescriptorsFromItsEnvironment(t *testing.T) {
	p := enterPair(t)
	script := filepath.Join(p.Dir, "supervisor.py")
	t.Cleanup(func() { os.Remove(script) })
	text := `
import fcntl, os, socket, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"wga", 0x0001 | 0x1000 | 0x4000))  # TUN, no PI, virtio
os.makedirs("/var/run/wireguard", exist_ok=True)
s = socket.socket(socket.AF_UNIX); s.bind("` + socketPath("wga") + `"); s.listen()
os.set_inheritable(tun, True); os.set_inheritable(s.fileno(), True)
os.environ.update(WG_TUN_FD=str(tun), WG_UAPI_FD=str(s.fileno()), WG_PROCESS_FOREGROUND="1")
os.execv(sys.argv[1], ["adit", "device", "ignored"])
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", script, p.adit)
	p.foreground(t, p.a, "wga", cmd)
	p.sh(t, p.a, "ip link set wga mtu 1300 up; wg set wga listen-port 1000; [[ $(wg show wga listen-port) == 1000 ]]")
	p.end(t, cmd, syscall.SIGTERM)
	p.wantNoSocket(t, "wga")
}

// No timer of the device's ticks. A thread that runs is switched to: a device
// that looked every second would be at least three times in three seconds.
func TestIdleDeviceDoesNotWakeUp(t *testing.T) {
	p := enterPair(t)
	cmd := p.device(t, p.a, "wga")
	p.sh(t, p.a, "wg set wga private-key <(wg genkey) peer "+peer.NewKey().Public+" endpoint 10.88.0.2:9; ip link set wga up")
	// What follows the beginning: routes, and the runtime's own housekeeping.
	p.eventually(t, p.a, fmt.Sprintf(`
		woken() { cat /proc/%d/task/*/status | awk '/^voluntary/ { n += $2 } END { print n }'; }
		before=$(woken); sleep 3; after=$(woken); echo "$before $after" >&2; (( after - before < 3 ))`, cmd.Process.Pid))
}

func TestDeviceIsRefusedToUsers(t *testing.T) {
	w := enter(t)
	if !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	r := do(t, w.User.Command(w.adit, "device", "wga"))
	if r.code != 125 || !strings.Contains(r.stderr, "needs CAP_NET_ADMIN") || !strings.Contains(r.stderr, "adit: hint: sudo adit device wga") {
		t.Errorf("got status %d, %q", r.code, r.stderr)
	}
}

// The whole of it as wg-quick does it: a default route for both families with
// a table and a mark of its own, and the firewall's rules.
func TestWgQuickUpAndDown(t *testing.T) {
	p := enterPair(t)
	suite.Need(t, "wg-quick", "nft", "sysctl")
	far := peer.NewKey()
	near := peer.NewKey()
	p.wireguardGo(t, p.b, "wgb")
	p.sh(t, p.b, fmt.Sprintf(`wg set wgb private-key <(echo %s) listen-port 2000 peer %s allowed-ips 10.99.0.1/32,fd99::1/128
		ip addr add 10.99.0.2/24 dev wgb; ip addr add fd99::2/64 dev wgb nodad; ip link set wgb up
		ip addr add 198.51.100.1/32 dev lo; ip addr add 2001:db8::1/128 dev lo nodad`, far.Private, near.Public))
	file := filepath.Join(p.Dir, "wgq0.conf")
	t.Cleanup(func() { os.Remove(file) })
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.99.0.1/24, fd99::1/64\nMTU = 1400\nPostUp = touch %s.hook\n"+
		"[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 10.88.0.2:2000\n", near.Private, file, far.Public)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file + ".hook") })
	const rules = "ip -4 rule; ip -6 rule; nft list ruleset; ip -4 route show table all; ip -6 route show table all; ls /var/run/wireguard; ip -o link"
	p.eventually(t, p.a, "[[ -z $(ip -6 -o addr show tentative) ]]") // the kernel's own addresses have their routes by then
	before := p.sh(t, p.a, rules)
	const quick = "export WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-adit; wg-quick "
	p.sh(t, p.a, quick+"up "+file)
	p.sh(t, p.a, "[[ -e "+file+".hook && $(ip link show wgq0) == *' mtu 1400 '* && $(wg show wgq0 fwmark) == 0xca6c ]]")
	p.eventually(t, p.a, "ping -c 3 -i 0.05 -W 2 198.51.100.1 && ping -6 -c 3 -i 0.05 -W 2 2001:db8::1")
	p.sh(t, p.a, "ping -c 1 -W 2 10.88.0.2") // the local network is still there

	p.sh(t, p.a, quick+"down "+file)
	p.eventually(t, p.a, runsNone+"'wireguard-adi[t] wgq0'")
	if after := p.sh(t, p.a, rules); after != before {
		t.Errorf("wg-quick down left\n%s\nthere was\n%s", after, before)
	}
}
