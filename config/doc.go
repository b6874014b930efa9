// Package config turns a wg-quick file into a [Config], with errors that name
// the file, the line and the key. It asks nothing of the machine but, in
// [Find], which files there are.
//
//	config.go   the structs: what a tunnel is
//	parse.go    lines and sections
//	key.go      the table of keys, shared by Parse and Set
//	value.go    what stands behind a key: prefixes, endpoints, ports
//	option.go   adit's own options: #adit: lines and the values of flags
//	set.go      --set
//	finish.go   what only the whole can tell: families, notes about DNS
//	print.go    the effective configuration
//	find.go     from a name to a file; near.go: what a misspelt word was meant to be
//	error.go    Error, Note, and what may be quoted in them
//
// A file is data that may come from a stranger: no hook is run, an option that
// widens what leaves the tunnel is not among those that a file may set, and no
// text made here holds a key, even one that was mistyped.
//
// See wg(8) and wg-quick(8) for the format.
package config
