package assembly

import (
	"bytes"
	"fmt"
	"os"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain has goroutines that are left behind fail.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftBehind(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines are left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leftBehind returns what goroutines of a connection do that do not end.
func leftBehind() string {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(patience); ; <-tick.C {
		var all bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
		var left bytes.Buffer
		for stack := range bytes.SplitSeq(all.Bytes(), []byte("\n\n")) {
			ours := bytes.Contains(stack, []byte("internal/assembly")) || bytes.Contains(stack, []byte("relay.(*Relay)"))
			if ours && !bytes.Contains(stack, []byte("TestMain")) {
				left.Write(stack)
			}
		}
		if left.Len() == 0 || time.Now().After(late) {
			return left.String()
		}
	}
}
