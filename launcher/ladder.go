package launcher

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// What --mode auto does where a mode cannot be had, and what is said there. An
// attempt is made only then: where namespaces work, it costs nothing.

// A modeError is the cause of an error that lies in a mode: another mode may do.
type modeError struct {
	mode string
	err  error
}

func (e *modeError) Error() string { return "mode " + e.mode + ": " + e.err.Error() }
func (e *modeError) Unwrap() error { return e.err }

// refusedMode returns the mode in which the reason of err lies: it is forbidden or
// not there. "" if that is not so, as where something is used up, which is no
// reason to be content with less.
func refusedMode(err error) string {
	var m *modeError
	if !errors.As(err, &m) || remedies(err) != nil && !errors.Is(err, unix.ENOSPC) {
		return ""
	}
	return m.mode
}

// fallbacks returns the first mode below namespace that works here, after a run
// with namespaces has failed with cause. If that does not lie in the mode, it is
// the error.
func fallbacks(ctx context.Context, cause error) (mode string, err error) {
	if refusedMode(cause) == "" {
		return "", cause
	}
	refusals := []error{cause}
	for _, m := range modes[1:] {
		_, err := m.probe(ctx)
		switch {
		case err == nil:
			return m.name, nil
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case refusedMode(err) == "":
			return "", err
		}
		refusals = append(refusals, err)
	}
	return "", errNoMode(refusals)
}

// tryMode makes the attempt of one mode, for a run that asks for that mode.
func tryMode(ctx context.Context, name string) (detail string, err error) {
	for _, m := range modes {
		if m.name == name {
			return m.probe(ctx)
		}
	}
	return "", errNoSuchMode(name)
}

// withOther adds to the refusal of a mode that was asked for, or to that of a
// command which the mode does not cover, what to type for the strongest other mode
// that works. Where none does and there is no other hint, it is what the others
// want.
func withOther(ctx context.Context, err error, again func(options string) string) error {
	refused := refusedMode(err)
	var e *Error
	if refused == "" || !errors.As(err, &e) {
		return err
	}
	other, wanted := otherMode(ctx, refused)
	more := *e
	switch {
	case other != "" && len(e.Hints) > 0:
		more.Hints = append(slices.Clip(e.Hints), "or "+sayOther(again("--mode="+other)))
	case other != "":
		more.Hints = []string{sayOther(again("--mode=" + other))}
	case len(e.Hints) == 0:
		more.Hints = wanted
	}
	return &more
}

// otherMode returns the strongest mode that works here but one. If none does it is
// "", and wanted are the hints of all.
func otherMode(ctx context.Context, but string) (name string, wanted []string) {
	for _, m := range modes {
		if m.name == but {
			continue
		}
		_, err := m.probe(ctx)
		if err == nil {
			return m.name, nil
		}
		for _, h := range hintsOf(err) {
			if !slices.Contains(wanted, h) {
				wanted = append(wanted, h)
			}
		}
	}
	return "", wanted
}
