package launcher

import (
	"os/exec"
	"testing"
)

func TestChildThatHasEndedAndIsNotReapedIsAChild(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if childless() {
		t.Error("childless with a child")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !childless() {
		t.Error("not childless with no child")
	}
}
