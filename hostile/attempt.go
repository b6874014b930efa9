package hostile

import (
	"maps"
	"slices"
	"syscall"
)

// An Attempt is one way in which a program may try to get out.
type Attempt struct {
	Name     string // unique
	Category string
	Does     string // one line

	// Expect says what should come of it. Of a mode that it does not name, its
	// category does.
	Expect Modes
	// Control says who gets out by it where there is no adit: the negative
	// control must see it.
	Control Who
	// Alone is an attempt after which the run may not go on: it has a run of its
	// own.
	Alone bool
	// First is an attempt that looks for what is adit's: others begin when it has
	// ended, as it might find theirs.
	First bool
	// Patient is an attempt that may take long: a race.
	Patient bool
	// C is an attempt of the C program.
	C bool
	// ByRoot is one that takes no more than root's power over files: what has no
	// namespace of its own leaves that to root.
	ByRoot bool

	id     int // place in the list, from 1
	nested uintptr
	try    func(*World) Result
}

// ID returns the number of the attempt, which its canaries carry.
func (a *Attempt) ID() int { return a.id }

// Who is a set of those who may run the list.
type Who int

const (
	User Who = 1 << iota // an ordinary user
	Caps                 // root with the capabilities of a container
	Root                 // root

	Nobody    Who = 0
	Powerful      = Caps | Root
	Everybody     = User | Caps | Root
)

// attempts is the list. It is put together late: some attempts start others.
var attempts []*Attempt

func init() {
	attempts = slices.Concat(
		packetAttempts, fastOpenAttempts, loopbackAttempts, optionAttempts, escapeAttempts(), groupAttempts, rawAttempts,
		familyAttempts, protocolAttempts, doorAttempts, descriptorAttempts, handedAttempts, nameAttempts, resolverAttempts,
		namespaceAttempts, filterAttempts, processAttempts, linkAttempts, mountAttempts, knobAttempts,
		raceAttempts, lifeAttempts, cAttempts,
	)
	for i, a := range attempts {
		a.id = i + 1
	}
}

// All returns the list.
func All() []*Attempt { return slices.Clone(attempts) }

// In reports whether the attempt means anything in a mode. In "", where there is
// no adit, those do that are of the control.
func (a *Attempt) In(mode string) bool {
	if mode == "" {
		return a.Control != Nobody
	}
	return a.Expect[mode].Kind != Nothing
}

// Find returns the attempt of that name, nil if there is none.
func Find(name string) *Attempt {
	for _, a := range attempts {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// nested returns a with the process of the attempt in new namespaces of its
// own, in which it has every capability.
func nested(flags uintptr, a *Attempt) *Attempt {
	a.nested = flags | syscall.CLONE_NEWUSER
	return a
}

// category gives all of list that category, and what is to come of them to those
// that say nothing else of a mode.
func category(name string, usual Modes, list ...*Attempt) []*Attempt {
	for _, a := range list {
		a.Category = name
		own := a.Expect
		a.Expect = maps.Clone(usual)
		maps.Copy(a.Expect, own)
	}
	return list
}
