package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

// A versionReport is what adit version --json prints.
type versionReport struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (a *adit) version(c *cli.Context) error {
	if c.Command.Name == "version" {
		if err := noArguments(c); err != nil {
			return err
		}
	}
	r := versionReport{version, runtime.Version(), runtime.GOOS, runtime.GOARCH}
	if c.Bool("json") {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return a.ui.print(string(text) + "\n")
	}
	return a.ui.print(fmt.Sprintf("adit %s (%s, %s/%s)\n", r.Version, r.Go, r.OS, r.Arch))
}
