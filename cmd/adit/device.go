package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"adit/device"
	"adit/launcher"

	"github.com/urfave/cli/v2"
)

// deviceName is the name under which this binary is adit device: what wg-quick
// starts has no other arguments than the interface.
const deviceName = "wireguard-adit"

// byName returns the arguments that stand for a call under another name.
func byName(args []string) []string {
	if len(args) == 0 || filepath.Base(args[0]) != deviceName {
		return args
	}
	if slices.Equal(args[1:], []string{"--version"}) { // as wireguard-go has it
		return []string{"adit", "version"}
	}
	return append([]string{"adit", "device"}, args[1:]...)
}

func deviceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "foreground", Aliases: []string{"f"}, Usage: "stay in the foreground"},
		noOffloadFlag(),
	}
}

// device is adit device: a WireGuard interface for this machine.
func (a *adit) device(c *cli.Context) error {
	w, err := deviceArguments(c)
	if err != nil {
		return err
	}
	w.foreground = w.foreground || a.getenv(device.EnvForeground) == "1"
	tell := device.TellParent()
	err = a.beDevice(w, tell)
	switch {
	case err == nil:
		return nil
	case tell(err): // the parent has the words
		a.result = launcher.Result{Code: launcher.CodeFailed}
		return nil
	}
	return deviceFailure(w.name, err)
}

// beDevice is the interface, or starts the process that is.
func (a *adit) beDevice(w deviceWords, tell func(error) bool) error {
	tun, name, err := a.deviceTUN(w.name)
	if err != nil {
		return err
	}
	socket, err := a.deviceSocket(name)
	if err != nil {
		tun.Close()
		return err
	}
	if !w.foreground {
		defer tun.Close()
		level := a.getenv("LOG_LEVEL")
		if err := device.Detach(tun, socket, level == "" || level == "silent"); err != nil {
			socket.Close()
			return err
		}
		return nil
	}
	ctx, stop := signal.NotifyContext(a.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return device.Run(ctx, device.Options{
		TUN: tun, Socket: socket, Logger: deviceLogger(a.getenv("LOG_LEVEL")), Ready: func() { tell(nil) },
		NoOffload: w.noOffload,
	})
}

// deviceWords is what the words of adit device say.
type deviceWords struct {
	name                  string
	foreground, noOffload bool
}

// deviceArguments reads the words of adit device. Options may stand behind the
// name of the interface.
func deviceArguments(c *cli.Context) (w deviceWords, err error) {
	w.foreground, w.noOffload = c.Bool("foreground"), c.Bool("no-offload")
	var names []string
	for _, word := range c.Args().Slice() {
		switch {
		case word == "-f" || word == "--foreground":
			w.foreground = true
		case word == "--no-offload":
			w.noOffload = true
		case strings.HasPrefix(word, "-"):
			return w, msgUnknownOption.fail(word, "adit device")
		default:
			names = append(names, word)
		}
	}
	switch {
	case len(names) == 0:
		return w, msgNoInterface.fail()
	case len(names) > 1:
		return w, msgUnexpected.fail("device", names[1])
	case !isInterfaceName(names[0]):
		return w, msgInterface.fail(names[0])
	}
	w.name = names[0]
	return w, nil
}

// isInterfaceName reports whether the kernel would take the name for an
// interface: dev_valid_name in net/core/dev.c.
func isInterfaceName(s string) bool {
	return s != "" && len(s) < 16 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r")
}

func (a *adit) deviceTUN(name string) (*os.File, string, error) {
	fd := a.getenv(device.EnvTUN)
	if fd == "" {
		tun, real, err := device.OpenTUN(name)
		if err != nil {
			return nil, name, err
		}
		return tun, real, nil
	}
	tun, real, err := device.InheritTUN(fd)
	if err != nil {
		return nil, name, fmt.Errorf("%s: %w", device.EnvTUN, err)
	}
	return tun, real, nil
}

func (a *adit) deviceSocket(name string) (*device.Socket, error) {
	if fd := a.getenv(device.EnvSocket); fd != "" {
		socket, err := device.InheritSocket(fd, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", device.EnvSocket, err)
		}
		return socket, nil
	}
	return device.Listen(name)
}

// deviceLogger returns the logger of wireguard-go's LOG_LEVEL.
func deviceLogger(level string) *slog.Logger {
	switch level {
	case "silent":
		return slog.New(slog.DiscardHandler)
	case "verbose", "debug":
		return launcher.NewLogger(os.Stderr, "text", slog.LevelDebug)
	}
	return launcher.NewLogger(os.Stderr, "text", slog.LevelError)
}

// deviceFailure says what to do about an interface that cannot be made.
func deviceFailure(name string, err error) error {
	other := "sudo adit device " + otherName(name)
	var open *fs.PathError
	switch {
	case errors.As(err, &open) && open.Path == "/dev/net/tun" && !errors.Is(err, fs.ErrPermission):
		return msgDeviceTUN.because(err, name)
	case errors.Is(err, fs.ErrPermission):
		return msgDeviceRoot.because(err, name, shellWords([]string{"sudo", "adit", "device", name}))
	case errors.Is(err, syscall.EBUSY):
		return msgDeviceBusy.because(err, name, other)
	case errors.Is(err, syscall.EINVAL):
		return msgDeviceOther.because(err, name, other)
	case errors.Is(err, syscall.EADDRINUSE):
		return msgDeviceLive.because(err, name, other)
	}
	return msgDevice.because(err, name)
}

// otherName returns the name with the next number.
func otherName(name string) string {
	base := strings.TrimRight(name, "0123456789")
	n, _ := strconv.Atoi(name[len(base):])
	return base + strconv.Itoa(n+1)
}
