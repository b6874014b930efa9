package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// wg-quick knows a program by its name alone.
func TestNameOfTheProgramMakesItADevice(t *testing.T) {
	for typed, want := range map[string]string{
		"wireguard-adit wg0":                   "adit device wg0",
		"/usr/local/bin/wireguard-adit -f wg0": "adit device -f wg0",
		"wireguard-adit --version":             "adit version",
		"wireguard-adit":                       "adit device",
		"adit run true":                        "adit run true",
		"/opt/wireguard-adit/adit run true":    "/opt/wireguard-adit/adit run true",
		"":                                     "",
	} {
		if got := byName(strings.Fields(typed)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %q, want %q", typed, got, want)
		}
	}
}

// The contract has "adit device NAME [-f]", wireguard-go has -f first.
func TestOptionsOfADeviceMayStandBeforeOrBehindTheName(t *testing.T) {
	for typed, want := range map[string]deviceWords{
		"wg0": {}, "-- wg0": {},
		"-f wg0": {foreground: true}, "wg0 -f": {foreground: true},
		"--foreground wg0": {foreground: true}, "wg0 --foreground": {foreground: true},
		"--no-offload wg0": {noOffload: true}, "wg0 --no-offload": {noOffload: true},
		"-f wg0 --no-offload": {foreground: true, noOffload: true},
	} {
		want.name = "wg0"
		var got deviceWords
		app := &cli.App{Flags: deviceFlags(), Action: func(c *cli.Context) (err error) {
			got, err = deviceArguments(c)
			return err
		}}
		if err := app.Run(append([]string{"device"}, strings.Fields(typed)...)); err != nil || got != want {
			t.Errorf("adit device %s: got %+v, %v, want %+v", typed, got, err, want)
		}
	}
}

func TestNamesOfInterfacesAreThoseOfTheKernel(t *testing.T) {
	for name, want := range map[string]bool{
		"wg0": true, "wg%d": true, "a.b-c_d": true, strings.Repeat("x", 15): true,
		"": false, ".": false, "..": false, "a/b": false, "a:1": false, "a b": false, strings.Repeat("x", 16): false,
	} {
		if got := isInterfaceName(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// As wireguard-go's: errors only, unless asked.
func TestLogLevelOfADevice(t *testing.T) {
	for level, want := range map[string][2]bool{ // debug, error
		"": {false, true}, "error": {false, true}, "verbose": {true, true}, "debug": {true, true}, "silent": {false, false},
	} {
		log := deviceLogger(level)
		ctx := context.Background()
		if got := [2]bool{log.Enabled(ctx, slog.LevelDebug), log.Enabled(ctx, slog.LevelError)}; got != want {
			t.Errorf("LOG_LEVEL=%s: logs debug and error: got %v, want %v", level, got, want)
		}
	}
}
