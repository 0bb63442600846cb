//go:build !noloop && !386

package relay

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestRenegotiatedTLSIsNotOnTheLoop has an upstream that may ask for another
// handshake, in which crypto/tls has to wait.
func TestRenegotiatedTLSIsNotOnTheLoop(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{})
	config := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, Renegotiation: tls.RenegotiateOnceAsClient}
	ours := tls.Client(f.Relay.upstream.conn.(net.Conn), config)
	theirs := tls.Server(f.upstream, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	shaken := make(chan error, 1)
	go func() { shaken <- theirs.Handshake() }()
	if err := errors.Join(ours.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	f.Relay.upstream.conn, f.upstream = ours, theirs
	f.run()
	mustWrite(t, f.client, maskedText("hi"))
	mustRead(t, f.upstream, maskedText("hi"))
	if f.place.loop != nil {
		t.Error("on the loop")
	}
	f.client.Close()
	f.upstream.Close()
	f.end(t)
}

// TestEarlyAnswerBehindABlockedCloseFrame has an upstream that takes nothing
// when it is to be sent a close frame, and a client whose own came early.
func TestEarlyAnswerBehindABlockedCloseFrame(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{CloseTimeout: 30 * time.Second, EarlyFromClient: maskedClose(1012, "")})
	ours := f.Relay.upstream.conn.(*net.TCPConn)
	filled := fill(t, ours)
	f.End(restart, goingAway)
	f.run()
	mustReadClose(t, f.client, restart) // the loop has begun
	begin := time.Now()
	mustRead(t, f.upstream, make([]byte, filled))
	mustReadClose(t, f.upstream, goingAway)
	mustWrite(t, f.upstream, closeFrame(goingAway.Code, ""))
	wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("ended after %v, for the client's close frame was not seen", took)
	}
}

// fill writes zeros until the socket takes no more, and returns how many.
func fill(t *testing.T, c *net.TCPConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	total, zeros := 0, make([]byte, 64<<10)
	// What is on its way to the peer makes room once more.
	for quiet := 0; quiet < 3; quiet++ {
		if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		err := raw.Write(func(fd uintptr) bool {
			n, err := syscall.Write(int(fd), zeros)
			if n > 0 {
				total += n
				quiet = 0
			}
			return err != nil && !errors.Is(err, syscall.EAGAIN)
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("filling a socket: %v", err)
		}
	}
	return total
}

// TestWithoutDescriptorsThereAreGoroutines is not parallel, for it takes the
// process's descriptors.
func TestWithoutDescriptorsThereAreGoroutines(t *testing.T) {
	if _, err := pickLoop(); err != nil {
		t.Skip(err)
	}
	for _, spare := range []uint64{0, 1} {
		f := onTLS(t, Config{EarlyFromClient: maskedText("early")})
		mustWrite(t, f.client, maskedText("hi"))
		withDescriptors(t, spare, func() { f.run() })
		if f.place.loop != nil {
			t.Error("on the loop")
		}
		mustRead(t, f.upstream, append(maskedText("early"), maskedText("hi")...))
		mustWrite(t, f.upstream, text("ho"))
		mustRead(t, f.client, text("ho"))
		f.client.Close()
		f.upstream.Close()
		f.end(t)
	}
}

// withDescriptors calls do while the process can open so many more.
func withDescriptors(t *testing.T, spare uint64, do func()) {
	t.Helper()
	var fill []int
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lower := limit
	lower.Cur = 1024
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, fd := range fill {
			_ = syscall.Close(fd)
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	for {
		fd, err := syscall.Dup(1)
		if err != nil {
			break
		}
		fill = append(fill, fd)
	}
	for range spare {
		_ = syscall.Close(fill[len(fill)-1])
		fill = fill[:len(fill)-1]
	}
	do()
}
