// Adit sends one command through a WireGuard tunnel, without root.
//
//	adit run -c wg0.conf -- curl https://example.com
//
// This package is the only one that knows the terminal: flags, words, exit
// statuses. What it does lies in adit/launcher, adit/config and adit/gateway.
//
//	main.go, app.go    the program and its commands
//	option.go, load.go from flags, environment and file to a configuration
//	run.go …           one file for every command
//	ui.go, words.go    every word that the user sees, but help.go's
//	help.go            the texts of --help
package main
