package launcher

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"adit/wg"

	"golang.org/x/sys/unix"
)

// A keyLock is held while a key is in use: the same key twice would make the
// peer send now to the one and now to the other. Its file keeps the time stamp
// of the last initiation, so that a clock that was set back does not lock us
// out (the peer takes only later ones, whitepaper §5.1). A code that only who has
// the private key can make goes with it: a stamp of the far future, planted by
// somebody else, would make the peer deaf to the key for as long.
type keyLock struct {
	mu   sync.Mutex
	f    *os.File
	seal []byte // the key of the code
}

// timestampLen is the length of a TAI64N label.
const timestampLen = 12

// lockKey takes the lock of a key. The file's name is a hash, so that it tells
// nobody who the tunnel's peer is.
func lockKey(private wg.PrivateKey) (*keyLock, error) {
	public := private.Public()
	dir, err := runtimeDir()
	if err != nil {
		return nil, failed(err, hintRuntime)
	}
	sum := sha256.Sum256(append([]byte("adit key lock "), public[:]...))
	path := filepath.Join(dir, "key-"+hex.EncodeToString(sum[:8]))
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		e := doing("open "+path, err)
		if e.Hints == nil {
			e.Hints = []string{hintRuntime}
		}
		return nil, e
	}
	f := os.NewFile(uintptr(fd), path)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, doing("lock "+path, err)
		}
		return nil, errKeyInUse(public)
	}
	mac := hmac.New(sha256.New, []byte(private.Base64()))
	mac.Write([]byte("adit time stamp"))
	return &keyLock{f: f, seal: mac.Sum(nil)}, nil
}

// last returns the stored time stamp, zero if there is none of ours.
func (k *keyLock) last() (ts [timestampLen]byte) {
	var stored [timestampLen + sha256.Size]byte
	if _, err := k.f.ReadAt(stored[:], 0); err != nil {
		return ts
	}
	copy(ts[:], stored[:])
	if !hmac.Equal(stored[timestampLen:], k.code(ts)) {
		return [timestampLen]byte{}
	}
	return ts
}

// save stores the time stamp of an initiation.
func (k *keyLock) save(ts [timestampLen]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.f.WriteAt(append(ts[:], k.code(ts)...), 0)
}

func (k *keyLock) code(ts [timestampLen]byte) []byte {
	mac := hmac.New(sha256.New, k.seal)
	mac.Write(ts[:])
	return mac.Sum(nil)
}

// floodGap is how far apart two initiations of one key must be: a responder
// takes at most fifty in a second from it and drops the others in silence
// (INITIATIONS_PER_SECOND of Linux), which would cost us five seconds.
const floodGap = 25 * time.Millisecond

// settle waits until an initiation of this run cannot follow one of the run
// before it too closely. The stamp itself is too coarse to tell; the file's
// time of change is not.
func (k *keyLock) settle() {
	st, err := k.f.Stat()
	if err != nil || st.Size() == 0 {
		return
	}
	if since := time.Since(st.ModTime()); since >= 0 && since < floodGap {
		time.Sleep(floodGap - since)
	}
}

// Close gives the lock back.
func (k *keyLock) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.f.Close()
}

// runtimeDir returns the directory of our runtime files, and makes it:
// $XDG_RUNTIME_DIR/adit, else /run/adit for root, else /tmp/adit-UID. It must be
// ours, not a link, and closed to others: in /tmp anybody could have made it.
func runtimeDir() (string, error) {
	uid := os.Getuid()
	var candidates []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		candidates = append(candidates, filepath.Join(dir, "adit"))
	}
	if uid == 0 {
		candidates = append(candidates, "/run/adit")
	}
	candidates = append(candidates, "/tmp/adit-"+strconv.Itoa(uid))
	var first error
	for _, dir := range candidates {
		err := ownDir(dir, uid)
		if err == nil {
			return dir, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", fmt.Errorf("make a directory for runtime files: %w", first)
}

// ownDir makes dir unless it is there, and checks it.
func ownDir(dir string, uid int) error {
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		// Whatever the umask: a directory that its owner cannot enter would
		// stay so.
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	case !errors.Is(err, os.ErrExist):
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory", dir)
	case int(st.Uid) != uid:
		return fmt.Errorf("%s belongs to user %d", dir, st.Uid)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%s is open to other users", dir)
	}
	return nil
}
