package launcher

//lint:file-ignore U1000 entry_linux_*.s reads these

// What the program's entry point (entry_linux_*.s) needs before there is a Go
// runtime: with less than this the runtime does not start or dies early. It
// reserves some 730 MB of addresses, which cost nothing, whatever it uses, and
// some 75 MB of data. What a run needs beyond that is asked for by checkRoom.
var (
	entryLeastSpace uint64 = 768 << 20 // bytes, RLIMIT_AS
	entryLeastData  uint64 = 96 << 20  // bytes, RLIMIT_DATA
	entryLeastFiles uint64 = 16        // RLIMIT_NOFILE
)
