// Package e2e proves the promises of adit from outside: the real binary, run by
// an ordinary user, real programs, and a WireGuard peer that is not ours. It
// holds tests only.
//
// The tests run on a host of their own, made of namespaces (package lab), so
// that the machine is unchanged; without root, and without user namespaces to
// take its place, they are skipped with the reason. ADIT_REQUIRE=namespace
// makes that a failure.
//
//	main_test.go      entering the lab, building what the tests run
//	world_test.go     the picture: host, server, services; configurations
//	run_test.go       running commands, with and without adit
//	controls_test.go  negative controls: the oracle sees what leaks
//	programs_test.go  every program of the matrix, and no leak meanwhile;
//	                  programs_modes_test.go: in the modes without namespaces, with those of
//	                  programs_more_test.go
//	ssh_test.go       ssh and who owns its configuration
//	traffic_test.go   big files, many connections, datagrams, families
//	contract_test.go  exit status, identity, environment, descriptors, pipes
//	signals_test.go   signals to adit and to its group
//	tty_test.go       Ctrl-C, Ctrl-Z, fg, window size
//	hostile_test.go   by the back door: aliases, late daemons, keys
//	hostile_attempts_test.go  the list of package hostile, inside and as the control
//	leaktest_test.go  the same by adit leaktest
//	names_test.go     DNS, and resolvers that must not be asked
//	leaks_test.go     what stays closed: dead peer, other networks, the host
//	stream_test.go    talking with a command that runs
//	killed_test.go    who dies when whom is killed
//	kill_*_test.go    the same at each step of a run (package hold), and at any time
//	exhaust*_test.go  runs that lack something
//	nested_test.go    tunnels inside each other
//	roam_test.go      a peer that restarts or moves
//	veth_test.go      the same without /dev/net/tun
//	mode_test.go      which mode is used where something is forbidden, and what is said;
//	                  confinement_test.go: such places, made by e2e/confine
//	offload_test.go   the same with packets that pass the kernel one by one
//	refused_test.go   what cannot work, and says so
//	leftovers_test.go nothing stays, and how long it takes
//	root_test.go      the caller is root
//	device*_test.go   adit device: by wg and wg-quick, and against each other
package e2e
