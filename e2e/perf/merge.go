package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// merge makes one report of the JSON of several runs, which each measured some
// of the cases. Of a case that is in two the later one counts. Where and when
// is that of the first.
func merge(files []string) (*report, error) {
	var whole *report
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		r := new(report)
		if err := json.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if whole == nil {
			whole = r
			continue
		}
		for _, x := range r.Results {
			whole.take(x)
		}
	}
	return whole, nil
}

// take adds a result, or replaces the one of that name.
func (r *report) take(x result) {
	for i := range r.Results {
		if r.Results[i].Name == x.Name {
			r.Results[i] = x
			return
		}
	}
	r.Results = append(r.Results, x)
}

// mergeMain is what the rig does when it is asked to merge: it measures nothing.
func mergeMain(o options) error {
	r, err := merge(o.merge)
	if err != nil {
		return err
	}
	fmt.Println(r.where())
	fmt.Println()
	for _, x := range r.Results {
		writeResult(os.Stdout, x, false)
	}
	return r.write(o)
}
