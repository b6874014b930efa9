package config

import (
	"slices"
	"testing"
)

func TestClosestForgivesASlip(t *testing.T) {
	names := []string{"run", "shell", "check", "Address", "AllowedIPs", "genkey", "genpsk"}
	for _, tt := range []struct{ word, want string }{
		{"rnu", "run"}, {"rn", "run"}, {"runn", "run"}, {"RUN", "run"},
		{"chekc", "check"}, {"Adress", "Address"}, {"AllowedIP", "AllowedIPs"}, {"allowdips", "AllowedIPs"},
		{"genky", "genkey"},
		{"curl", ""}, {"bash", ""}, {"r", ""}, {"", ""}, {"Colour", ""}, {"ssh", ""},
	} {
		if got := Closest(tt.word, slices.Values(names)); got != tt.want {
			t.Errorf("Closest(%q): got %q, want %q", tt.word, got, tt.want)
		}
	}
}
