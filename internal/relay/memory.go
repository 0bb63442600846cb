package relay

import (
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"strconv"
)

const (
	minDefaultBuffers = 64 << 20
	assumedMemory     = 8 << 30 // where the system does not tell
)

// DefaultBuffers returns how many bytes may be held in memory for stalled sides where
// nothing else is set: an eighth of what the process may use.
func DefaultBuffers() int64 {
	return defaultBuffers(debug.SetMemoryLimit(-1), systemMemory())
}

// defaultBuffers goes by Go's limit if there is one, which Caddy takes from the
// container's or the machine's memory unless GOMEMLIMIT says it.
func defaultBuffers(limit, system int64) int64 {
	memory := limit
	if limit == math.MaxInt64 {
		memory = system
	}
	return max(memory/8, minDefaultBuffers)
}

// systemMemory returns how much memory the machine has.
func systemMemory() int64 {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return assumedMemory
	}
	return parseMemory(info)
}

// parseMemory reads the total from the text of /proc/meminfo.
func parseMemory(info []byte) int64 {
	for line := range bytes.Lines(info) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[0]) != "MemTotal:" || string(fields[2]) != "kB" {
			continue
		}
		if kilobytes, err := strconv.ParseInt(string(fields[1]), 10, 53); err == nil && kilobytes > 0 {
			return kilobytes << 10
		}
	}
	return assumedMemory
}
