package launcher

import (
	"context"
	"os"
)

// startStage starts the stage in the mode that was asked for or, where that was
// left to us, in the strongest that works here.
func (e *engine) startStage(ctx context.Context) (err error) {
	last := e.cfgs[len(e.cfgs)-1]
	again := againWith(e.cfgs, e.l.argv())
	if isConfined(e.l.Mode) {
		if _, err := tryMode(ctx, e.l.Mode); err != nil {
			return withOther(ctx, err, again)
		}
	}
	e.auto = e.l.Mode == modeAuto
	if e.auto {
		e.l.Mode = "namespace"
		err = maybePowerless(ctx)
	}
	if err == nil {
		e.stage, err = startStage(e.l, last)
	}
	if err == nil {
		return nil
	}
	if os.Getppid() != e.l.PID {
		// With the front its process group is gone, which a child cannot join then:
		// EPERM, as where namespaces are forbidden.
		return abort{}
	}
	if !e.auto {
		return withOther(ctx, err, again)
	}
	return e.startLower(ctx, err)
}

// startLower starts the stage in the strongest mode below namespace that works here,
// and says so. cause is why namespace does not.
func (e *engine) startLower(ctx context.Context, cause error) (err error) {
	if e.l.Mode, err = fallbacks(ctx, cause); err != nil {
		return err
	}
	e.warn(uncovered(e.l.Mode))
	e.stage, err = startStage(e.l, e.cfgs[len(e.cfgs)-1])
	return err
}

// fallBack gives up a stage whose namespaces were made and could not be furnished,
// as where a kernel has neither TUN nor veth.
func (e *engine) fallBack(ctx context.Context, cause error) error {
	e.child.forget()
	old := e.stage
	err := e.startLower(ctx, cause)
	old.close()
	if err != nil {
		e.stage = old // closed
		return err
	}
	e.child.watch(e.stage.pid, e.stage.sock.hangUp)
	return nil
}

// maybePowerless makes the attempt of namespaces where they can perhaps be made and
// are of no use then, as AppArmor does it: that would be found out too late for
// another mode.
func maybePowerless(ctx context.Context) error {
	if thisMachine().read(apparmorSwitch) != "1" {
		return nil
	}
	_, err := probeNamespace(ctx)
	return err
}
