//go:build 386 || arm

package hostile

// tryFastHighAddress is of machines with more memory than that.
func tryFastHighAddress(*World) Result { return missing("memory beyond 4 GiB") }
