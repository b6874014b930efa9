// Package suite is what every suite of end-to-end tests begins with: a TestMain
// that builds adit, moves the tests into a lab of their own, and says what it
// had to skip.
//
//	main.go    building, entering the lab, running the tests there
//	skip.go    tests that cannot run here, said and counted
//	program.go starting programs on a machine, and hearing from them
package suite
