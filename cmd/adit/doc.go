// Adit sends one command through a WireGuard tunnel, without root.
//
//	adit run -c wg0.conf -- curl https://example.com
//
// This package is the only one that knows the terminal: flags, words, exit
// statuses. What it does lies in adit/launcher, adit/config, adit/gateway,
// adit/device and adit/hostile.
//
//	main.go, app.go    the program and its commands
//	option.go, load.go from flags, environment and file to a configuration
//	run.go, check.go, doctor.go, serve.go, serve_peer.go, device.go, leaktest.go,
//	demo.go, keys.go, setup.go, completion.go, version.go: the commands
//	typed.go           what was typed, and how it was meant
//	quiet.go           no wake-ups of Go's runtime, in what make build builds
//	count.go           goroutines and heap, in the binary of e2e/soak alone
//	ui.go, words.go    every word that the user sees, but help.go's
//	help.go            the texts of --help
package main
