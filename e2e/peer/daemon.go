package peer

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
)

// daemonRole is argv[0] of the process that [Daemon] describes.
const daemonRole = "e2e-wireguard-go-daemon"

// Daemon returns a command that is wireguard-go as its own users run it, in
// the foreground: an interface of that name, configured by wg(8) through
// /var/run/wireguard/NAME.sock. SIGTERM ends it.
func Daemon(name string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", name)
	cmd.Args[0] = daemonRole
	cmd.Env = append(os.Environ(), "GORACE=", "GOCOVERDIR=")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	return cmd
}

// serveSocket owns the device until it is told to end, or the interface or
// the socket's file goes.
func serveSocket(name string) error {
	term := make(chan os.Signal, 1) // one is enough to end
	signal.Notify(term, unix.SIGTERM)
	t, err := tun.CreateTUN(name, device.DefaultMTU)
	if err != nil {
		return err
	}
	dev := device.NewDevice(t, conn.NewDefaultBind(), logger(daemonRole+" "+name))
	defer dev.Close()
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		return fmt.Errorf("listen for wg: %w", err)
	}
	socket, err := ipc.UAPIListen(name, file)
	if err != nil {
		return fmt.Errorf("listen for wg: %w", err)
	}
	defer socket.Close()
	removed := make(chan struct{}) // closed when there is no socket any more
	go func() {
		defer close(removed)
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			go dev.IpcHandle(c)
		}
	}()
	select {
	case <-term:
	case <-dev.Wait():
	case <-removed:
	}
	return nil
}
