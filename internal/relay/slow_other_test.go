//go:build !linux || noloop || 386

package relay

import "testing"

var slowOnLoop map[string]func(t *testing.T, most int64) slowly
