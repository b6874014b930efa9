package main

import (
	"context"
	"os"

	"adit/hostile"
	"adit/launcher"
)

// version is set by the Makefile.
var version = "devel"

func main() {
	// A process of adit's own must not get as far as the options.
	if launcher.Main(os.Args) {
		return
	}
	hostile.Main(os.Args) // nor one of leaktest's
	a := &adit{
		ui:     newUI(os.Stdout, os.Stderr, os.Getenv),
		in:     os.Stdin,
		getenv: os.Getenv,
		exe:    os.Executable,
		launch: launcher.Run,
		probe:  launcher.Probe,
		trial:  func(ctx context.Context, t *hostile.Trial) (*hostile.Report, error) { return t.Do(ctx) },
		ctx:    context.Background(),
	}
	launcher.DieLike(a.main(byName(os.Args)))
}
