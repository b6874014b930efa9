package broker

import (
	"testing"

	"adit/internal/goroutines"
)

func TestMain(m *testing.M) { goroutines.Main(m) }
