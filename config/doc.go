// Package config turns a wg-quick file into a [Config], with errors that name
// the file, the line and the key.
package config
