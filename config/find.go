package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// testOnlySystemDir is where wg-quick looks for a name.
var testOnlySystemDir = "/etc/wireguard"

// A NotFoundError says where a name was looked for in vain.
type NotFoundError struct {
	Name  string
	Tried []string // paths, in order
	Err   error    // fs.ErrNotExist, or why the last one could not be looked at
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no configuration named %s: tried %s: %v", quote(e.Name), strings.Join(e.Tried, ", "), e.Err)
}

// Unwrap returns the cause.
func (e *NotFoundError) Unwrap() error { return e.Err }

// Find returns the path of a configuration: nameOrPath itself if it has a slash
// or ends in .conf, else NAME.conf in $XDG_CONFIG_HOME/adit (by default
// ~/.config/adit) or in /etc/wireguard. getenv is os.Getenv. The error of a
// name is a *NotFoundError; whether a path exists is not looked at.
func Find(nameOrPath string, getenv func(string) string) (path string, err error) {
	if nameOrPath == "" {
		return "", errors.New("the name of the configuration is empty")
	}
	if strings.Contains(nameOrPath, "/") || strings.HasSuffix(nameOrPath, ".conf") {
		return nameOrPath, nil
	}
	notFound := &NotFoundError{Name: nameOrPath, Err: fs.ErrNotExist}
	for _, dir := range []string{userDir(getenv), testOnlySystemDir} {
		if dir == "" {
			continue
		}
		path := filepath.Join(dir, nameOrPath+".conf")
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		notFound.Tried = append(notFound.Tried, path)
		if !errors.Is(err, fs.ErrNotExist) {
			// /etc/wireguard is root's on most machines: not "no such file".
			notFound.Err = errors.Unwrap(err)
		}
	}
	return "", notFound
}

// userDir returns the user's own folder of configurations, "" if it is unknown.
// A relative $XDG_CONFIG_HOME is invalid and ignored, as its specification says.
func userDir(getenv func(string) string) string {
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "adit")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "adit")
	}
	return ""
}
